"""Cutting layers into blocks, one for each core: the fewest that keep all limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TypeAlias

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.ir.placed import Bounds, Excess, Resource
from neurocompile.mapping.chips import on_chips
from neurocompile.mapping.cuts import Cut, Needs, Silicon
from neurocompile.mapping.fields import BoxSums, Interval, outer
from neurocompile.mapping.layers import Layer

__all__ = ["Known", "cut_layers", "cut_once"]

Known: TypeAlias = dict[tuple[str, tuple[bool, ...], tuple[tuple[Interval, ...], ...]], Needs]
"""What boxes of a layer, with halos along some axes, need whoever reads them."""
Shape = tuple[int, ...]

_SHORT_AXIS = 64


def cut_layers(
    layers: Sequence[Layer], bounds: Bounds, silicon: Silicon, chip: int | None = None, known: Known | None = None
) -> tuple[list[Cut], list[Excess]]:
    """Cut every layer so that each block keeps all bounds.

    A neuron takes one output axon for each core that it reaches, so readers are cut before those that they read;
    around loops again, into more blocks each time, until nothing changes. What is best for a reader may cost those
    that it reads more than it saves. So this is done twice, once for the fewest cores of each layer and once with a
    price on axons, and the better of both is taken.

    An axon that leaves its chip may take slots more. Cores are taken in order, ``chip`` of them a chip (None: all are
    on one). Where such slots are too many, as many as its worst block has too few are kept free in a layer, and the
    network is cut again. In the end each layer gives them back if the network then takes fewer cores and still fits.

    Args:
        layers: in order.
        bounds: of a core.
        silicon: how a core keeps synapses.
        chip: the cores of a chip.
        known: what blocks need, kept for a cut of the same layers with other bounds.

    Returns:
        The cuts, in the order of the layers, and what single neurons take above a core's bounds. Such a bound is
        given up for its layer: the cuts are then the least that the other bounds ask for.
    """
    start, kept = _Work(bounds, silicon, None, inside={} if known is None else known), dict[str, int]()
    plan, held = _better(layers, start, kept), bounds.get("output axons")
    if not silicon.leaving or chip is None or held is None:
        return plan
    while missing := _missing(plan, silicon, chip, held):
        kept |= {name: max(share, kept.get(name, 0) + 1) for name, (_, share) in missing.items()}
        if any(kept[name] > 3 * held // 4 for name in missing):
            return plan[0], [
                *plan[1],
                *(Excess(name, "output axons", most, held) for name, (most, _) in missing.items()),
            ]
        plan = _better(layers, start, kept)
    for layer in reversed(layers):
        if layer.name in kept and _size(plan)[1] <= _TO_BE_TRIED_AGAIN:
            less = {name: slots for name, slots in kept.items() if name != layer.name}
            other = _better(layers, start, less)
            if _size(other) < _size(plan) and not _missing(other, silicon, chip, held):
                plan, kept = other, less
    return plan


def cut_once(layers: Sequence[Layer], bounds: Bounds, silicon: Silicon, known: Known) -> tuple[list[Cut], list[Excess]]:
    """The same for the fewest cores of each layer alone, on one chip."""
    return _settled(layers, _Work(bounds, silicon, None, inside=known))


_Plan: TypeAlias = tuple[list[Cut], list[Excess]]
_TO_BE_TRIED_AGAIN = 3000
"""Cores of a network that is cut again for each layer: a larger one takes minutes."""


def _size(plan: _Plan) -> tuple[int, int]:
    return len(plan[1]), sum(cut.cores for cut in plan[0])


def _better(layers: Sequence[Layer], start: _Work, kept: Mapping[str, int]) -> _Plan:
    """The better of a cut for the fewest cores of each layer, and one with a price on axons."""
    plan, price = _settled(layers, start.anew(kept)), start.bounds.get("output axons")
    return plan if price is None else min(plan, _settled(layers, start.anew(kept, price)), key=_size)


def _missing(plan: _Plan, silicon: Silicon, chip: int, held: int) -> dict[str, tuple[int, int]]:
    """The layers of which a block has too few slots for axons that leave its chip, in whatever row chips take blocks.

    With each what the worst of its blocks needs, and how many to keep free so that one with as many axons that leave,
    of as many in all, would just do; in the row where fewest layers are missing slots.
    """
    cuts, excesses = plan
    if sum(cut.cores for cut in cuts) <= chip:
        return {}
    lost = {excess.layer for excess in excesses if excess.resource == "output axons"}
    best: dict[str, tuple[int, int]] | None = None
    for _, leaves in on_chips(cuts, silicon.axons, chip):
        found = {}
        for cut, axons in zip(cuts, leaves):
            slots = silicon.leaving * axons
            needed = cut.needs["output axons"] + slots
            worst = np.unravel_index(needed.argmax(), needed.shape)
            if needed[worst] > held and cut.layer.name not in lost:
                found[cut.layer.name] = int(needed[worst]), int(-(-held * slots[worst] // needed[worst]))
        if best is None or len(found) < len(best):
            best = found
    return best or {}


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
    silicon: Silicon
    axons_per_core: int | None
    kept: Mapping[str, int] = field(default_factory=dict)
    cuts: dict[str, Cut] = field(default_factory=dict)
    given_up: dict[str, dict[Resource, Excess]] = field(default_factory=dict)
    fanouts: dict[tuple[str, str], Array] = field(default_factory=dict)
    inside: Known = field(default_factory=dict)

    def settle(self, layer: Layer, layers: Sequence[Layer]) -> bool:
        """Cut a layer for its readers as they are cut now; False if it is already cut well enough."""
        before = self.cuts.get(layer.name)
        outputs = self._outputs(layer, layers)
        if before is not None:
            axons = self._input_axons(layer, before.intervals)
            needs = {**before.needs, "output axons": outputs.over(before.intervals), "input axons": axons}
            if _within(needs, self._bounds(layer)).all():
                self.cuts[layer.name] = replace(before, needs=needs)
                return False
        least = 1 if before is None else before.cores + 1
        most = self._most_channel_blocks(layer, layers)
        found = self._cheapest(layer, outputs, least, most) or self._cheapest(layer, outputs, least)
        if found is None:
            self._give_up(layer, outputs)
            found = self._cheapest(layer, outputs, 1)
            assert found is not None  # one neuron a core keeps all that is left
        self._take(layer, found)
        return True

    def _take(self, layer: Layer, cut: Cut) -> None:
        self.cuts[layer.name] = cut
        shared = self.silicon.axons.shared
        for source in layer.on_chip:
            reached = layer.places[source] if source in shared else layer.sources[source]
            self.fanouts[layer.name, source] = reached.fanout(cut.intervals)

    def excesses(self, layers: Sequence[Layer]) -> list[Excess]:
        """What was given up, in the order of the layers."""
        return [excess for layer in layers for excess in self.given_up.get(layer.name, {}).values()]

    def _bounds(self, layer: Layer) -> Bounds:
        lost = self.given_up.get(layer.name, {})
        found = {resource: bound for resource, bound in self.bounds.items() if resource not in lost}
        if "output axons" in found:
            found["output axons"] -= self.kept.get(layer.name, 0)
        return found

    def _atoms(self, layer: Layer) -> int:
        """How many of a layer's neurons may share an axon; 0: each has its own."""
        return self.silicon.axons.atoms if layer.name in self.silicon.axons.shared else 0

    def _input_axons(
        self, layer: Layer, intervals: Sequence[Sequence[Interval]], exact: bool = True,
        shared: Mapping[str, int] | None = None,
    ) -> Array:  # fmt: skip
        """Those of boxes, ``shared`` as :meth:`_shared` says; and those by which their neurons reach themselves."""
        heard = layer.input_axons(intervals, exact, self._shared(layer) if shared is None else shared)
        return np.asarray(heard + layer.axons_to_itself(intervals, self._atoms(layer)))

    def _shared(self, layer: Layer) -> dict[str, int]:
        """The sources of a layer whose neurons share axons, and into how many blocks their channels are cut."""
        found = {}
        for source in layer.sources:
            if source in self.silicon.axons.shared:
                cut = self.cuts.get(source)
                blocks = len(cut.intervals[0]) if cut else 1
                # The host's neurons are one block; those of a layer that is still to be cut can be in few.
                channels = cut.block[0] if cut else 1 if source in layer.on_chip else layer.sources[source].shape[0]
                found[source] = blocks * -(-channels // self.silicon.axons.atoms)
        return found

    def _most_channel_blocks(self, layer: Layer, layers: Sequence[Layer]) -> int | None:
        """Into how many blocks its channels may be cut for the input axons of those that read it; None: any."""
        bound = self.bounds.get("input axons")
        if layer.name not in self.silicon.axons.shared or bound is None:
            return None
        most = None
        for reader in layers:
            cut = self.cuts.get(reader.name)
            if cut is None or layer.name not in reader.places or "input axons" not in self._bounds(reader):
                continue
            others = self._input_axons(reader, cut.intervals, shared={**self._shared(reader), layer.name: 0})
            own = np.maximum(reader.places[layer.name].axons(cut.intervals, True), 1)
            here = max(1, int(((bound - others) // own).min()))
            most = here if most is None else min(most, here)
        return most

    def _outputs(self, layer: Layer, layers: Sequence[Layer]) -> _Outputs:
        """How many slots each neuron takes, as far as its readers are cut, in the layer's space; or each place."""
        axons, atoms = self.silicon.axons, self._atoms(layer)
        shape = (1, *layer.space[1:]) if atoms else layer.space
        total = np.full(shape, 0 if layer.soft_reset is None else 1)
        for reader in layers:
            seen = self.fanouts.get((reader.name, layer.name))
            if seen is not None:
                total += seen.reshape(shape)
        slots = BoxSums(total * axons.slots.get(layer.name, 1))
        return _Outputs(slots, atoms)

    def _give_up(self, layer: Layer, outputs: _Outputs) -> None:
        """Note what the neurons need, each on a core of its own, and give up the bounds that this exceeds."""
        halo = (False,) * len(layer.space)
        alone = self._needs(layer, [_chunks(n, 1) for n in layer.space], outputs, halo)
        lost = self.given_up.setdefault(layer.name, {})
        for resource, bound in self._bounds(layer).items():
            most = int(alone[resource].max())
            if most > bound:
                lost[resource] = Excess(layer.name, resource, most, bound)

    def anew(self, kept: Mapping[str, int], axons_per_core: int | None = None) -> _Work:
        """From the beginning; what does not depend on readers is known already."""
        return _Work(self.bounds, self.silicon, axons_per_core, dict(kept), inside=self.inside)

    def _cheapest(
        self, layer: Layer, outputs: _Outputs, least: int, most_channel_blocks: int | None = None
    ) -> Cut | None:
        """The cut into the fewest blocks, at least ``least``, that keeps all bounds; None if there is none.

        Its channels are cut into ``most_channel_blocks`` at most (None: any number).

        With ``axons_per_core`` the blocks' input axons count too, as the cores whose output axons they fill. Among
        equals it is the cut with the smallest halos, then the fewest input axons in all, then the least memory.
        """
        best: Cut | None = None
        lowest: tuple[int, ...] = ()
        per_core = self.axons_per_core or 1
        for cut in self._candidates(layer, outputs, least, most_channel_blocks):
            # The candidates come by rising number of cores: from here on, cores alone cost more than the best cut.
            if best is not None and cut.cores * per_core > lowest[0]:
                break
            if _within(cut.needs, self._bounds(layer)).all():
                axons = self._axons_from_cores(layer, cut) if self.axons_per_core else 0
                counted: tuple[Resource, ...] = ("compartments", "input axons", "synapse memory")
                totals = (int(cut.needs[resource].sum()) for resource in counted if resource in cut.needs)
                price = (cut.cores * per_core + axons, cut.cores, *totals)
                if best is None or price < lowest:
                    best, lowest = cut, price
        return best

    def _axons_from_cores(self, layer: Layer, cut: Cut) -> int:
        axons = self.silicon.axons
        return layer.axons_from_cores(cut.intervals, axons.slots, axons.shared)

    def _candidates(self, layer: Layer, outputs: _Outputs, least: int, most: int | None) -> Iterator[Cut]:
        """Cuts into at least so many blocks by rising number, without many of those that break a bound."""
        sizes = [_sizes(n, self.silicon.format is not None) for n in layer.space]
        cores = outer([-(-n // along) for n, along in zip(layer.space, sizes)])
        probes: tuple[Callable[[int], int], ...] = (lambda chunks: 0, lambda chunks: (chunks - 1) // 2)
        found = []
        for halo in self._halos(layer):
            possible = cores >= least
            if most is not None:
                blocks = -(-layer.space[0] // sizes[0]) * -(-sizes[0] // self.silicon.axons.atoms)
                possible &= (blocks <= most).reshape(-1, *(1,) * (len(sizes) - 1))
            for probe in probes:
                # One block of each cut, at a corner and in the middle: what these exceed need not be looked at in full.
                at = [[_chunk(n, int(b), probe(-(-n // b))) for b in along] for n, along in zip(layer.space, sizes)]
                possible &= _within(self._needs(layer, at, outputs, halo, exact=False), self._bounds(layer))
            found += [(int(cores[tuple(choice)]), sum(halo), halo, tuple(choice)) for choice in np.argwhere(possible)]
        for _, _, halo, choice in sorted(found, key=lambda each: each[:2]):
            block = tuple(int(along[i]) for along, i in zip(sizes, choice))
            chunks = tuple(_chunks(n, b) for n, b in zip(layer.space, block))
            yield Cut(layer, block, chunks, self._needs(layer, chunks, outputs, halo), halo)

    def _halos(self, layer: Layer) -> list[tuple[bool, ...]]:
        """Along which axes blocks may have halos: none, or any of those in space that kernels reach across."""
        axes = [self.silicon.halos and layer.may_have_halo(axis) for axis in range(len(layer.space))]
        return list(product(*((False, True) if may else (False,) for may in axes)))

    def _needs(
        self, layer: Layer, intervals: Sequence[Sequence[Interval]], outputs: _Outputs, halo: tuple[bool, ...],
        exact: bool = True,
    ) -> Needs:  # fmt: skip
        """What boxes need of each resource; where not ``exact``, at least so much."""
        key = layer.name, halo, tuple(map(tuple, intervals))
        if key not in self.inside:
            self.inside[key] = self._inside(layer, intervals, halo)
        return {
            **self.inside[key],
            "input axons": self._input_axons(layer, intervals, exact),
            "output axons": outputs.over(intervals),
        }

    def _inside(self, layer: Layer, intervals: Sequence[Sequence[Interval]], halo: tuple[bool, ...]) -> Needs:
        """What boxes need whoever reads them."""
        silicon, bits = self.silicon, self.silicon.bits_of(layer.name)
        neurons = outer([np.array([stop - start for start, stop in along]) for along in intervals])
        if silicon.format is None:
            memory = layer.memory_bytes(intervals, bits)
            return {"neurons": neurons, "synapse memory": memory}
        region = layer.region(intervals, halo)
        words, _ = layer.words(intervals, region, halo, silicon.format, bits, silicon.axons.shared)
        memory = words * (silicon.format.word_bits // 8)
        compartments = np.broadcast_to(layer.compartments * region.compartments, neurons.shape)
        return {"neurons": neurons, "synapse memory": memory, "compartments": compartments}


@dataclass(frozen=True, eq=False)
class _Outputs:
    """The slots of output axons in boxes: of each neuron, or of each place for so many ``atoms`` of its channels."""

    slots: BoxSums
    atoms: int

    def over(self, intervals: Sequence[Sequence[Interval]]) -> Array:
        """Of all boxes made of one interval of each axis."""
        if not self.atoms:
            return self.slots.over(intervals)
        populations = np.array([-(-(stop - start) // self.atoms) for start, stop in intervals[0]], np.int64)
        places = self.slots.over([((0, 1),), *intervals[1:]])[0]
        return np.asarray(np.multiply.outer(populations, places))


def _within(needs: Needs, bounds: Bounds) -> Array:
    kept = np.ones(needs["neurons"].shape, bool)
    for resource, bound in bounds.items():
        kept &= needs[resource] <= bound
    return kept


def _sizes(n: int, even: bool) -> Array:
    """Block sizes to try along an axis: all of them, or (of a long axis) those that cut it most evenly."""
    every = np.arange(1, n + 1)
    return every if n <= _SHORT_AXIS and not even else np.unique(-(-n // every))


def _chunk(n: int, size: int, number: int) -> Interval:
    return number * size, min((number + 1) * size, n)


def _chunks(n: int, size: int) -> tuple[Interval, ...]:
    return tuple(_chunk(n, size, number) for number in range(-(-n // size)))
