"""Cutting layers into blocks, one for each core: the fewest that keep all limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.ir.placed import Bounds, Excess, Resource
from neurocompile.mapping.fields import BoxSums, Interval, outer
from neurocompile.mapping.layers import Layer

__all__ = ["Cut", "cut_layers"]

Needs: TypeAlias = dict[Resource, Array]
Shape = tuple[int, ...]

_SHORT_AXIS = 64


@dataclass(frozen=True, eq=False)
class Cut:
    """A layer in blocks of ``block`` neurons an axis (the last of an axis may be shorter), with what each needs.

    ``intervals`` are the blocks' intervals along each axis; ``needs[resource]`` is an array over the blocks.
    """

    layer: Layer
    block: Shape
    intervals: tuple[tuple[Interval, ...], ...]
    needs: Needs

    @property
    def cores(self) -> int:
        """How many blocks."""
        return prod(map(len, self.intervals))


def cut_layers(layers: Sequence[Layer], bounds: Bounds, weight_bits: int) -> tuple[list[Cut], list[Excess]]:
    """Cut every layer so that each block keeps all bounds.

    A neuron takes one output axon for each core that it reaches, so readers are cut before those that they read;
    around loops again, into more blocks each time, until nothing changes. What is best for a reader may cost those
    that it reads more than it saves. So this is done twice, once for the fewest cores of each layer and once with a
    price on axons, and the better of both is taken.

    Returns:
        The cuts, in the order of the layers, and what single neurons take above a core's bounds. Such a bound is
        given up for its layer: the cuts are then the least that the other bounds ask for.
    """
    plans = [_settled(layers, _Work(bounds, weight_bits, None))]
    if "output axons" in bounds:
        plans.append(_settled(layers, _Work(bounds, weight_bits, bounds["output axons"])))
    return min(plans, key=lambda plan: (len(plan[1]), sum(cut.cores for cut in plan[0])))


def _settled(layers: Sequence[Layer], work: _Work) -> tuple[list[Cut], list[Excess]]:
    unsettled = True
    while unsettled:
        unsettled = False
        for layer in reversed(layers):
            unsettled |= work.settle(layer, layers)
    return [work.cuts[layer.name] for layer in layers], list(work.excesses(layers))


@dataclass
class _Work:
    bounds: Bounds
    weight_bits: int
    axons_per_core: int | None
    cuts: dict[str, Cut] = field(default_factory=dict)
    given_up: dict[str, dict[Resource, Excess]] = field(default_factory=dict)
    fanouts: dict[tuple[str, str], Array] = field(default_factory=dict)

    def settle(self, layer: Layer, layers: Sequence[Layer]) -> bool:
        """Cut a layer for its readers as they are cut now; False if it is already cut well enough."""
        before = self.cuts.get(layer.name)
        outputs = BoxSums(self._fanout(layer, layers))
        if before is not None:
            needs = {**before.needs, "output axons": outputs.over(before.intervals)}
            if _within(needs, self._bounds(layer)).all():
                self.cuts[layer.name] = Cut(layer, before.block, before.intervals, needs)
                return False
        least = 1 if before is None else before.cores + 1
        found = self._cheapest(layer, outputs, least)
        if found is None:
            self._give_up(layer, outputs)
            found = self._cheapest(layer, outputs, 1)
            assert found is not None  # one neuron a core keeps all that is left
        self.cuts[layer.name] = found
        for source in layer.on_chip:
            self.fanouts[layer.name, source] = layer.sources[source].fanout(found.intervals)
        return True

    def excesses(self, layers: Sequence[Layer]) -> list[Excess]:
        """What was given up, in the order of the layers."""
        return [excess for layer in layers for excess in self.given_up.get(layer.name, {}).values()]

    def _bounds(self, layer: Layer) -> Bounds:
        lost = self.given_up.get(layer.name, {})
        return {resource: bound for resource, bound in self.bounds.items() if resource not in lost}

    def _fanout(self, layer: Layer, layers: Sequence[Layer]) -> Array:
        """How many cores each neuron reaches, as far as its readers are cut, in the layer's space."""
        total = np.zeros(layer.space, np.int64)
        for reader in layers:
            seen = self.fanouts.get((reader.name, layer.name))
            if seen is not None:
                total += seen.reshape(layer.space)
        return total

    def _give_up(self, layer: Layer, outputs: BoxSums) -> None:
        """Note what the neurons need, each on a core of its own, and give up the bounds that this exceeds."""
        alone = _needs(layer, [_chunks(n, 1) for n in layer.space], outputs, self.weight_bits)
        lost = self.given_up.setdefault(layer.name, {})
        for resource, bound in self._bounds(layer).items():
            most = int(alone[resource].max())
            if most > bound:
                lost[resource] = Excess(layer.name, resource, most, bound)

    def _cheapest(self, layer: Layer, outputs: BoxSums, least: int) -> Cut | None:
        """The cut into the fewest blocks, at least ``least``, that keeps all bounds; None if there is none.

        With ``axons_per_core`` the blocks' input axons count too, as the cores whose output axons they fill. Among
        equals it is the cut with the fewest input axons in all, then the one with the least memory.
        """
        best: Cut | None = None
        lowest: tuple[int, ...] = ()
        per_core = self.axons_per_core or 1
        for cut in self._candidates(layer, outputs, least):
            # The candidates come by rising number of cores: from here on, cores alone cost more than the best cut.
            if best is not None and cut.cores * per_core > lowest[0]:
                break
            if _within(cut.needs, self._bounds(layer)).all():
                axons = layer.axons_from_cores(cut.intervals) if self.axons_per_core else 0
                totals = (int(cut.needs[resource].sum()) for resource in ("input axons", "synapse memory"))
                price = (cut.cores * per_core + axons, cut.cores, *totals)
                if best is None or price < lowest:
                    best, lowest = cut, price
        return best

    def _candidates(self, layer: Layer, outputs: BoxSums, least: int) -> Iterator[Cut]:
        """Cuts into at least so many blocks by rising number, without many of those that break a bound."""
        sizes = [_sizes(n) for n in layer.space]
        cores = outer([-(-n // along) for n, along in zip(layer.space, sizes)])
        possible = cores >= least
        probes: tuple[Callable[[int], int], ...] = (lambda chunks: 0, lambda chunks: (chunks - 1) // 2)
        for probe in probes:
            # One block of each cut, at a corner and in the middle: what these exceed need not be looked at in full.
            intervals = [[_chunk(n, int(b), probe(-(-n // b))) for b in along] for n, along in zip(layer.space, sizes)]
            needs = _needs(layer, intervals, outputs, self.weight_bits, exact=False)
            possible &= _within(needs, self._bounds(layer))
        choices = np.argwhere(possible)
        for choice in choices[np.argsort(cores[possible], kind="stable")]:
            block = tuple(int(along[i]) for along, i in zip(sizes, choice))
            chunks = tuple(_chunks(n, b) for n, b in zip(layer.space, block))
            yield Cut(layer, block, chunks, _needs(layer, chunks, outputs, self.weight_bits))


def _needs(
    layer: Layer, intervals: Sequence[Sequence[Interval]], outputs: BoxSums, weight_bits: int, exact: bool = True
) -> Needs:
    """What boxes need of each resource; where not ``exact``, at least so much."""
    return {
        "neurons": outer([np.array([stop - start for start, stop in along]) for along in intervals]),
        "synapse memory": layer.memory_bytes(intervals, weight_bits),
        "input axons": layer.input_axons(intervals, exact),
        "output axons": outputs.over(intervals),
    }


def _within(needs: Needs, bounds: Bounds) -> Array:
    kept = np.ones(needs["neurons"].shape, bool)
    for resource, bound in bounds.items():
        kept &= needs[resource] <= bound
    return kept


def _sizes(n: int) -> Array:
    """Block sizes to try along an axis: all of them, or of a long axis those that cut it most evenly."""
    every = np.arange(1, n + 1)
    return every if n <= _SHORT_AXIS else np.unique(-(-n // every))


def _chunk(n: int, size: int, number: int) -> Interval:
    return number * size, min((number + 1) * size, n)


def _chunks(n: int, size: int) -> tuple[Interval, ...]:
    return tuple(_chunk(n, size, number) for number in range(-(-n // size)))
