"""Distances of spike trains, as elephant computes them; a train is a neuron in a sample, its unit of time a step."""

from __future__ import annotations

from typing import Literal

import numpy as np

from neurocompile.extras import needing
from neurocompile.ir.ops import Array

__all__ = ["Distance", "distance_of"]

Distance = Literal["victor-purpura", "van-rossum"]

_TRAINS = 2000


def distance_of(recorded: Array, expected: Array, kind: Distance) -> tuple[float | None, int]:
    """The mean distance of the trains that fire on either side, and of how many (evenly chosen, 2000 at most).

    Args:
        recorded: how often neurons fired, ``[N, T, *shape]``.
        expected: likewise.
        kind: Victor and Purpura's with a cost of 1 a step, or van Rossum's with a time constant of one step.

    Raises:
        ToolFailed: if elephant is not installed.
    """
    with needing(extra="distance"):
        import quantities
        from elephant.spike_train_dissimilarity import van_rossum_distance, victor_purpura_distance
        from neo import SpikeTrain

    trains = [
        np.abs(np.moveaxis(each.reshape(*each.shape[:2], -1), 1, 2)).reshape(-1, each.shape[1])
        for each in (recorded, expected)
    ]
    fires = np.flatnonzero((trains[0] + trains[1]).any(1))
    if not len(fires):
        return None, 0
    chosen = fires[np.unique(np.linspace(0, len(fires) - 1, min(len(fires), _TRAINS)).astype(np.int64))]
    second, steps = quantities.s, expected.shape[1]
    whole = 0.0
    for at in chosen:
        pair = [SpikeTrain(np.repeat(np.arange(steps), each[at]) * second, t_stop=steps * second) for each in trains]
        if kind == "victor-purpura":
            whole += float(victor_purpura_distance(pair, 1.0 / second)[0, 1])
        else:
            whole += float(van_rossum_distance(pair, 1.0 * second)[0, 1])
    return whole / len(chosen), len(chosen)
