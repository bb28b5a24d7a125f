"""What is wrong with a recording, once it is aligned: spikes missing, extra, doubled, a few steps off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurocompile.ir.ops import Array

__all__ = ["REACH_STEPS", "Damage", "damage_of"]

REACH_STEPS = 3
"""A missing spike and one too many of the same neuron, so many steps apart at most, are one that was displaced."""


@dataclass(frozen=True)
class Damage:
    """Of one layer; shares are of the spikes that are expected.

    Attributes:
        expected_spikes: of the program.
        recorded_spikes: within its samples.
        missing_share: neither in their step nor near it.
        extra_share: recorded where none is expected, and none is missing nearby.
        doubled_share: recorded once more than they should.
        displaced_share: recorded up to three steps too early or too late.
        displaced_steps: how far these are off, on average.
        rate_difference: recorded spikes against expected ones, as a share (0.1: ten percent too many).
        distance: between spike trains, on average; None if it was not asked for, or nothing fires.
        distance_trains: how many trains (a neuron in a sample) it is the average of.
    """

    expected_spikes: int
    recorded_spikes: int
    missing_share: float
    extra_share: float
    doubled_share: float
    displaced_share: float
    displaced_steps: float
    rate_difference: float
    distance: float | None = None
    distance_trains: int = 0


def damage_of(recorded: Array, expected: Array) -> Damage:
    """Compare how often neurons fired with how often they should have.

    Args:
        recorded: aligned, ``[N, T, *shape]``.
        expected: likewise.
    """
    found, wanted = (np.abs(each.reshape(*each.shape[:2], -1)).astype(np.int16) for each in (recorded, expected))
    there, due = int(found.sum(dtype=np.int64)), int(wanted.sum(dtype=np.int64))
    met = np.minimum(found, wanted)
    missing, spare = wanted - met, found - met
    displaced = steps = 0
    for size in range(1, REACH_STEPS + 1):
        for lag in (-size, size):
            pairs = _paired(missing, spare, lag)
            displaced += pairs
            steps += pairs * size
    doubled = int(np.minimum(spare, np.where(wanted > 0, spare, np.maximum(found - 1, 0))).sum(dtype=np.int64))
    extra = int(spare.sum(dtype=np.int64)) - doubled
    of = max(1, due)
    return Damage(
        expected_spikes=due,
        recorded_spikes=there,
        missing_share=int(missing.sum(dtype=np.int64)) / of,
        extra_share=extra / of,
        doubled_share=doubled / of,
        displaced_share=displaced / of,
        displaced_steps=steps / displaced if displaced else 0.0,
        rate_difference=there / of - 1.0 if due else 0.0,
    )


def _paired(missing: Array, spare: Array, lag: int) -> int:
    """Take away the pairs of a missing spike and a spare one ``lag`` steps later; returns how many."""
    if abs(lag) >= missing.shape[1]:
        return 0
    steps = missing.shape[1] - abs(lag)
    at, of = slice(max(0, -lag), max(0, -lag) + steps), slice(max(0, lag), max(0, lag) + steps)
    pairs = np.minimum(missing[:, at], spare[:, of])
    missing[:, at] -= pairs
    spare[:, of] -= pairs
    return int(pairs.sum(dtype=np.int64))
