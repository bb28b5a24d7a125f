"""Packing: blocks of several layers on one core, where all of them together keep its limits.

What a core has once has to do for all of its neurons: their decays and refractory times (its profiles of compartments),
their thresholds, and the formats of their lists of synapses. All else adds up. The blocks that take most come first,
each goes to the core that it fills most; a few other orders are tried, and the one with the fewest cores is taken.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from neurocompile.ir.ops import Array, Integrator, Neuron, Op
from neurocompile.ir.placed import SoftReset
from neurocompile.limits import Limits

__all__ = ["Piece", "Profiles", "packed", "profiles_of"]

_ORDERS = 24
_FEW = 400


@dataclass(frozen=True)
class Profiles:
    """What a core keeps once for neurons of a kind: decays and refractory times, thresholds, formats of lists."""

    compartments: frozenset[Hashable]
    thresholds: frozenset[Hashable]
    formats: frozenset[Hashable]

    def __or__(self, other: Profiles) -> Profiles:
        """Those of two layers on one core."""
        return Profiles(
            self.compartments | other.compartments, self.thresholds | other.thresholds, self.formats | other.formats
        )

    def within(self, limits: Limits) -> bool:
        """Whether a core keeps so many."""
        counts = (
            (len(self.compartments), limits.compartment_profiles),
            (len(self.thresholds), limits.threshold_profiles),
            (len(self.formats), limits.synapse_formats),
        )
        return all(most is None or count <= most for count, most in counts)


@dataclass(frozen=True, eq=False)
class Piece:
    """A block: what it needs of each resource where it shares a core, as parts of what a core has, and its profiles."""

    needs: Array
    profiles: Profiles


def profiles_of(op: Op, formats: frozenset[Hashable], soft_reset: SoftReset | None = None) -> Profiles:
    """Those of the neurons or integrators of an integer graph's layer, whose lists have such ``formats``.

    Of the two compartments of a ``soft_reset`` the first never fires, and the second keeps nothing; weights that
    subtract have a format for each of their exponents.
    """
    if isinstance(op, Integrator):
        return Profiles(frozenset({(each, "never fires") for each in _values(op.decay)}), frozenset({None}), formats)
    assert isinstance(op, Neuron)
    if soft_reset is not None:
        integrates = {(each, "passed on") for each in _values(op.decay)}
        subtract = {("subtracts", exponent) for _, exponent in soft_reset.weights}
        thresholds = frozenset({None, *_values(op.threshold)})
        return Profiles(frozenset({*integrates, "joined"}), thresholds, formats | subtract)
    how = (op.refractory, op.deaf, op.reset, op.strict, op.max_spikes)
    decays = {(v, i, *how) for v, i in _pairs(op.decay, op.current_decay)}
    return Profiles(frozenset(decays), frozenset(_values(op.threshold)), formats)


def packed(pieces: Sequence[Piece], limits: Limits) -> list[list[int]]:
    """Which pieces share cores: for each core their numbers, in order; cores by their first piece."""
    if not pieces:
        return []
    needs = np.stack([piece.needs for piece in pieces])
    largest, total = needs.max(1), needs.sum(1)
    orders = [np.argsort(-size, kind="stable") for size in (largest, total, *needs.T)]
    if len(pieces) <= _FEW:
        numbers = np.random.default_rng(0)
        orders += [np.argsort(-largest * numbers.uniform(0.7, 1.0, len(pieces))) for _ in range(_ORDERS)]
    least = int(np.ceil(needs.sum(0).max() - 1e-9))
    best: list[list[int]] = []
    profiles = [piece.profiles for piece in pieces]
    fit = [each.within(limits) for each in profiles]  # what is too much for any core shares none
    for order in orders:
        found = _filled(order.tolist(), needs, profiles, fit, limits)
        if not best or len(found) < len(best):
            best = found
        if len(best) <= least:
            break
    return sorted((sorted(own) for own in best), key=lambda own: own[0])


def _filled(
    order: Sequence[int], needs: Array, profiles: Sequence[Profiles], fit: Sequence[bool], limits: Limits
) -> list[list[int]]:
    cores: list[list[int]] = []
    kept: list[Profiles] = []
    used = np.zeros(needs.shape)
    for number in order:
        after = used[: len(cores)] + needs[number]
        fits = (after <= 1 + 1e-12).all(1) & fit[number]
        fullest = np.where(fits, after.max(1), -1.0)
        for core in np.argsort(-fullest, kind="stable").tolist():
            if fullest[core] < 0:
                continue
            both = kept[core] | profiles[number]
            if both.within(limits):
                cores[core].append(number)
                kept[core], used[core] = both, after[core]
                break
        else:
            used[len(cores)] = needs[number] if fit[number] else np.inf
            cores.append([number])
            kept.append(profiles[number])
    return cores


def _values(array: Array) -> list[float]:
    return [float(each) for each in np.unique(array)]


def _pairs(one: Array, other: Array) -> list[tuple[float, ...]]:
    both = np.stack([each.reshape(-1) for each in np.broadcast_arrays(one, other)], 1)
    return [tuple(map(float, each)) for each in np.unique(both, axis=0)]
