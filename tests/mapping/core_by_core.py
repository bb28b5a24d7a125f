"""What Loihi's cores hold, the slow and obvious way: every axon, list and entry of a network, built one by one.

Where the mapper multiplies one number for each axis, this numbers compartments, lists what each spike writes, encodes
it, and reads it again. Neurons with a soft reset have two compartments, of which the first is written to: by their
lists, and by one for what a spike takes back. Of a core it wants to be built: in one of the two orders of its
compartments (positions within channels, or channels within positions), all that :attr:`Placed.cores` says it needs is
at least what is built.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import ceil, prod
from typing import Any, TypeAlias

import numpy as np

from neurocompile.ir import Graph
from neurocompile.ir.form import Synapse, form_of
from neurocompile.ir.ops import Conv, ConvTranspose, Delay, Integrator, MaxPool, Neuron, Reshape
from neurocompile.ir.placed import Core, Placed
from neurocompile.limits import Limits
from neurocompile.mapping.depths import Hop, layer_depths
from neurocompile.mapping.words import ENCODINGS

__all__ = ["Report", "check", "written_beside"]

Box: TypeAlias = tuple[tuple[int, int], ...]
Coordinates: TypeAlias = tuple[int, ...]
Element: TypeAlias = tuple[str, int]
"""A source, and the number of one of its elements."""
_List: TypeAlias = tuple[tuple[tuple[str, int, tuple[tuple[int, float], ...]], ...], ...]
"""For each atom of an axon the parts of its list: set of weights, delay, (index, weight) of each synapse."""

_WEIGHT_BITS, _INDEX_BITS = (1, 2, 3, 4, 5, 6, 8), (0, *range(6, 13))
_SLOTS = {"discrete": 1, "pop16": 1, "pop32": 2}
_POP16_ATOMS, _POP16_AXONS, _POP16_BASES = 32, 1024, 4
_UNBOUND = 1 << 60
_SUBTRACTING_BITS = 8


@dataclass
class Report:
    """What was built, and where that is not what is said: ``said`` and ``built`` are sums over all cores.

    ``shared`` cores have several blocks.
    """

    violations: list[str] = field(default_factory=list)
    cores: int = 0
    shared: int = 0
    axons: int = 0
    lists: int = 0
    said: Counter[str] = field(default_factory=Counter)
    built: Counter[str] = field(default_factory=Counter)

    @property
    def ratios(self) -> dict[str, float]:
        """How many times what is built the mapper says."""
        return {name: self.said[name] / built for name, built in self.built.items() if built}

    def add(self, other: Report) -> None:
        """Another network's."""
        self.violations += other.violations
        self.cores += other.cores
        self.shared += other.shared
        self.axons += other.axons
        self.lists += other.lists
        self.said += other.said
        self.built += other.built


@dataclass(frozen=True)
class _Write:
    """A synapse, or one that would be if its layer had no ends: then ``neuron`` is None, and it is ``beyond`` axes."""

    at: Coordinates
    weight: float
    neuron: int | None = None
    beyond: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Way:
    """A set of weights: what each element of its event writes, and which elements of its source that stands for.

    It waits for ``delay`` steps beyond the one that every synapse takes. A ``kernel`` writes to halos, too.
    """

    name: str
    delay: int
    kernel: bool
    source: str
    writes: Mapping[int, list[_Write]]
    origins: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Part:
    """What one element of an event writes into a core."""

    way: _Way
    writes: tuple[_Write, ...]


@dataclass(frozen=True)
class _Block:
    """The neurons of a layer on a core."""

    core: int
    layer: str
    box: Box


@dataclass(frozen=True)
class _Axon:
    """Who shares an axon: neurons of ``source`` in one block, at one place, or one alone. ``block``: -1 for outside."""

    source: str
    block: int
    first: int
    members: int


@dataclass
class _Memory:
    """The lists of a core in one order of its compartments, with the words of all lists of an axon that differ."""

    words: int = 0
    lists: int = 0
    longest: int = 0
    violations: list[str] = field(default_factory=list)


def check(graph: Graph, placed: Placed, limits: Limits | None = None) -> Report:
    """Build every core of a network, within the limits for which it was cut, or others."""
    return _Check(graph, placed, limits or placed.limits).report


def written_beside(graph: Graph, placed: Placed) -> Counter[tuple[int, str, int]]:
    """How often an element writes beyond a block: by block (over all cores), source and element."""
    checked = _Check(graph, placed, placed.limits)
    found: Counter[tuple[int, str, int]] = Counter()
    for number, block in enumerate(checked.blocks):
        for (source, element), parts in checked._heard(block).items():
            beside = sum(not _inside(write.at, block.box) or write.neuron is None for p in parts for write in p.writes)
            if beside:
                found[number, source, element] = beside
    return found


class _Check:
    def __init__(self, graph: Graph, placed: Placed, limits: Limits) -> None:
        self.graph, self.placed, self.limits, self.report = graph, placed, limits, Report()
        self.form = form_of(graph)
        self.wanted: dict[int, dict[tuple[_Axon, int], Counter[tuple[str, int, float]]]] = {}  # by block
        self.bits: dict[Any, int] = {}
        self.cut = {layer.layer: layer for layer in placed.layers}
        hops = [
            Hop(self.form.emitter(synapse.source), name, 1, synapse.delay)
            for name in self.cut
            for synapse in self.form.layers[name].synapses
        ]
        given = {hop.source for hop in hops} - set(self.cut)
        self.depths = layer_depths(list(self.cut), hops, dict.fromkeys(given, 0))
        self.ways = {
            name: [self._way(name, synapse, cut.shape) for synapse in self.form.layers[name].synapses]
            for name, cut in self.cut.items()
        }
        self.blocks = [
            _Block(number, layer, box)
            for number, core in enumerate(placed.cores)
            for layer, box in zip(core.layers, core.blocks)
        ]
        self.home = self._homes()
        slots: Counter[int] = Counter()
        heard = [self._heard(block) for block in self.blocks]
        axons = [self._axons(each) for each in heard]
        back = [self._back(number) for number in range(len(self.blocks))]
        for block, own in zip(self.blocks, back):
            slots[block.core] += len(own) * _SLOTS[placed.axons.get(block.layer, "discrete")]
        for block, own in zip(self.blocks, axons):
            for axon in own:
                if axon.block >= 0:
                    source = self.blocks[axon.block].core
                    slots[source] += _SLOTS[placed.axons.get(axon.source, "discrete")]
                    if placed.cores[source].chip != placed.cores[block.core].chip:
                        slots[source] += self.limits.leaving_slots or 0
        for number, core in enumerate(placed.cores):
            own_blocks = [k for k, block in enumerate(self.blocks) if block.core == number]
            if not own_blocks:
                self._wrong(number, "has no block")
                continue
            self._core(number, core, [(k, heard[k], axons[k], back[k]) for k in own_blocks], slots[number])

    def _wrong(self, where: Any, what: str) -> None:
        self.report.violations.append(f"core {where}: {what}" if isinstance(where, int) else f"{where}: {what}")

    # -- the network, synapse by synapse -------------------------------------------------------------------------------

    def _way(self, layer: str, synapse: Synapse, space: Coordinates) -> _Way:
        source, origins = self._origins(synapse.event)
        writes: dict[int, list[_Write]] = defaultdict(list)
        for neuron, element, weight in zip(*(each.tolist() for each in synapse.listed())):
            writes[element].append(_Write(_at(neuron, space), weight, neuron))
        for element, write in _beyond(synapse, space):
            writes[element].append(write)
        kernel = isinstance(synapse.op, Conv | ConvTranspose) and _shift(synapse, space) is not None
        wait = self.depths[layer] - self.depths[self.form.emitter(synapse.source)] + synapse.delay - 1
        return _Way(synapse.name, wait, kernel, source, writes, origins)

    def _origins(self, event: str) -> tuple[str, tuple[tuple[int, ...], ...]]:
        """The source of an event, and for each of its elements those of the source that it stands for."""
        node, shape = self.graph[event], self.graph.edges[event].shape
        if event in self.placed.host or not isinstance(node.op, Reshape | Delay | MaxPool):
            return event, tuple((k,) for k in range(prod(shape)))
        source, inner = self._origins(node.inputs[0])
        if not isinstance(node.op, MaxPool):
            return source, inner
        given, op, found = self.graph.edges[node.inputs[0]].shape, node.op, []
        for channel, *place in product(*map(range, shape)):
            window: set[int] = set()
            for tap in product(*map(range, op.kernel)):
                geometry = zip(place, op.stride, tap, op.dilation, op.padding)
                at = [p * s + t * d - before for p, s, t, d, (before, _) in geometry]
                if all(0 <= a < n for a, n in zip(at, given[1:])):
                    window.update(inner[_number((channel, *at), given)])
            found.append(tuple(sorted(window)))
        return source, tuple(found)

    def _homes(self) -> dict[str, dict[int, int]]:
        """The block of each neuron; each has one."""
        found: dict[str, dict[int, int]] = {name: {} for name in self.cut}
        for name in self.form.layers:
            if name not in self.cut and name not in self.placed.host:
                self._wrong(name, "is on no core")
        held: Counter[int] = Counter()
        for number, block in enumerate(self.blocks):
            shape = self.cut[block.layer].shape
            own = [_number(at, shape) for at in product(*(range(*along) for along in block.box))]
            held[block.core] += len(own)
            for neuron in own:
                if neuron in found[block.layer]:
                    other = self.blocks[found[block.layer][neuron]].core
                    self._wrong(block.core, f"{block.layer}[{neuron}] is on core {other}, too")
                found[block.layer][neuron] = number
        for number, core in enumerate(self.placed.cores):
            if core.needs["neurons"] != held[number]:
                self._wrong(number, f"says {core.needs['neurons']} neurons and has {held[number]}")
        for name, cores in found.items():
            if missing := self.graph.edges[name].size - len(cores):
                self._wrong(name, f"{missing} neurons are on no core")
        return found

    # -- axons ---------------------------------------------------------------------------------------------------------

    def _heard(self, block: _Block) -> dict[Element, list[_Part]]:
        """What each element writes that has a synapse into the block, halos included."""
        found = defaultdict(list)
        for way in self.ways[block.layer]:
            halo = self._halo(block.layer) if way.kernel else frozenset()
            for element in sorted(way.writes):
                writes = way.writes[element]
                if not any(write.neuron is not None and _inside(write.at, block.box) for write in writes):
                    continue
                kept = tuple(write for write in writes if _outside(write, block.box) <= halo)
                for origin in way.origins[element]:
                    found[way.source, origin].append(_Part(way, kept))
        return found

    def _halo(self, layer: str) -> frozenset[int]:
        return frozenset(axis for axis, wanted in enumerate(self.cut[layer].halo) if wanted)

    def _axons(self, heard: Mapping[Element, list[_Part]]) -> dict[_Axon, dict[int, list[_Part]]]:
        """The parts of each atom of each axon."""
        found: dict[_Axon, dict[int, list[_Part]]] = defaultdict(dict)
        for (source, element), parts in heard.items():
            axon, atom = self._axon(source, element)
            found[axon][atom] = parts
        return found

    def _axon(self, source: str, element: int) -> tuple[_Axon, int]:
        home = self.home[source].get(element, -1) if source in self.cut else -1
        if self.placed.axons.get(source, "discrete") == "discrete":
            return _Axon(source, home, element, 1), 0
        shape = self.cut[source].shape if source in self.cut else self.graph.edges[source].shape
        start, stop = self.blocks[home].box[0] if home >= 0 else (0, shape[0])
        most = self.limits.population_atoms or 1
        channel, *place = _at(element, shape)
        chunk = start + (channel - start) // most * most
        first = _number((chunk, *place), shape)
        return _Axon(source, home, first, min(chunk + most, stop) - chunk), channel - chunk

    def _each(self, layer: str) -> int:
        """The compartments of a neuron."""
        return 2 if layer in self.placed.soft_resets else 1

    def _back(self, number: int) -> dict[_Axon, dict[int, Coordinates]]:
        """By which neurons of a block take something back from their own first compartments: where each atom is."""
        block, found = self.blocks[number], defaultdict[_Axon, dict[int, Coordinates]](dict)
        if block.layer in self.placed.soft_resets:
            for at in product(*(range(*along) for along in block.box)):
                axon, atom = self._axon(block.layer, _number(at, self.cut[block.layer].shape))
                found[axon][atom] = at
        return found

    # -- a core --------------------------------------------------------------------------------------------------------

    def _core(
        self, number: int, core: Core,
        blocks: list[tuple[
            int, Mapping[Element, list[_Part]], Mapping[_Axon, dict[int, list[_Part]]],
            Mapping[_Axon, dict[int, Coordinates]],
        ]],
        slots: int,
    ) -> None:  # fmt: skip
        boxes = [self._box(self.blocks[k], heard) for k, heard, _, _ in blocks]
        places = [prod(stop - start for start, stop in box) for box in boxes]
        compartments = [many * self._each(self.blocks[k].layer) for many, (k, *_) in zip(places, blocks)]
        # Indices count neurons; those of layers that share a core may count in different steps.
        indices = places[0] if len(blocks) == 1 else sum(compartments)
        index_bits = _least(_INDEX_BITS, (indices - 1).bit_length())
        words, longest = 0, 0
        for (k, _, axons, back), box in zip(blocks, boxes):
            tried = [self._memory(k, box, axons, back, order, index_bits) for order in (False, True)]
            best = min(tried, key=lambda memory: (len(memory.violations), memory.words))
            for what in best.violations:
                self._wrong(number, what)
            words, longest = words + best.words, max(longest, best.longest)
            self.report.lists += best.lists
        every = [axon for _, _, axons, back in blocks for axon in (*axons, *back)]
        for axon in every:
            if self.placed.axons.get(axon.source) == "pop16" and axon.members > _POP16_ATOMS:
                self._wrong(number, f"{axon.members} atoms of {axon.source} in a message of 16 bits")
        small = sum(self.placed.axons.get(axon.source) == "pop16" for axon in every)
        if small > _POP16_AXONS:
            self._wrong(number, f"{small} axons that 16 bits name")
        limits, bytes_a_word = self.limits, (self.limits.list_word_bits or 8) // 8
        built = {
            "compartments": (sum(compartments), limits.neurons_per_core),
            "synapse memory": (words * bytes_a_word, limits.synapse_bytes_per_core),
            "input axons": (len(every), limits.input_axons_per_core),
            "output axons": (slots, limits.output_axons_per_core),
        }
        given_up = {(excess.layer, excess.resource) for excess in self.placed.excesses}
        lost = {resource for layer, resource in given_up if layer in core.layers}
        for resource, (need, limit) in built.items():
            said = core.needs[resource]  # type: ignore[index]
            if said < need:
                self._wrong(number, f"({core.layer}) says {said} {resource}, {need} are built")
            if limit is not None and max(said, need) > limit and resource not in lost:
                self._wrong(number, f"({core.layer}) {max(said, need)} {resource}, a core has {limit}")
            if resource not in lost:
                self.report.said[resource] += said
                self.report.built[resource] += need
        if longest > (limits.list_words or _UNBOUND) and "synapse memory" not in lost:
            self._wrong(number, f"({core.layer}) a list of {longest} words")
        if len(blocks) > 1:
            self._profiles(number, core)
        self.report.cores += 1
        self.report.shared += len(blocks) > 1
        self.report.axons += len(every)

    def _profiles(self, number: int, core: Core) -> None:
        """What a core of several blocks has once does for all of its neurons."""
        decays, thresholds, formats = set(), set(), set()
        for layer in set(core.layers):
            op = self.graph[layer].op
            if isinstance(op, Neuron):
                thresholds |= set(np.unique(op.threshold).tolist())
                if layer in self.placed.soft_resets:
                    thresholds.add("never")
                    decays |= {(v, "integrates") for v in np.unique(op.decay).tolist()} | {"takes another's"}
                    formats |= {("subtracts", exponent) for _, exponent in self.placed.soft_resets[layer].weights}
                else:
                    decays |= self._kept(op)
            else:
                assert isinstance(op, Integrator)
                decays |= set(np.unique(op.decay).tolist())
                thresholds.add("never")
            for way in self.ways[layer]:
                encoding = self.cut[layer].encodings[way.name]
                most = max((abs(write.weight) for writes in way.writes.values() for write in writes), default=0)
                exponents = (e for e in range(64) if most < 2 ** (self.placed.weight_bits - 1 + e))
                whole = all(write.weight % 1 == 0 for writes in way.writes.values() for write in writes)
                alike = whole and encoding != "run-length"
                steps = self._each(layer)
                formats.add((encoding, next(exponents), way.delay > 0, steps) if alike else way.name)
        kept = {
            "thresholds": (len(thresholds), self.limits.threshold_profiles),
            "decays": (len(decays), self.limits.compartment_profiles),
            "formats": (len(formats), self.limits.synapse_formats),
        }
        for name, (need, limit) in kept.items():
            if limit is not None and need > limit:
                self._wrong(number, f"({core.layer}) {need} {name}, a core has {limit}")

    @staticmethod
    def _kept(op: Neuron) -> set[tuple[float, float, int]]:
        pairs = zip(*(each.ravel().tolist() for each in np.broadcast_arrays(op.decay, op.current_decay)))
        return {(v, i, op.refractory) for v, i in pairs}

    @staticmethod
    def _box(block: _Block, heard: Mapping[Element, list[_Part]]) -> Box:
        """A block with its halo."""
        region = list(block.box)
        for parts in heard.values():
            for write in (write for part in parts for write in part.writes):
                region = [(min(a, at), max(b, at + 1)) for (a, b), at in zip(region, write.at)]
        return tuple(region)

    def _memory(
        self, number: int, box: Box, axons: Mapping[_Axon, dict[int, list[_Part]]],
        back: Mapping[_Axon, dict[int, Coordinates]], channels_first: bool, index_bits: int,
    ) -> _Memory:  # fmt: skip
        """The lists, if channels lie beside one another and then positions (``channels_first``), or the other way."""
        block = self.blocks[number]
        found, most_base = _Memory(), self.limits.base_compartments or _UNBOUND
        channels, places = range(*block.box[0]), list(product(*(range(*along) for along in box[1:])))
        order = [(c, *p) for p in places for c in channels] if channels_first else [
            (c, *p) for c in channels for p in places
        ]  # fmt: skip
        each = self._each(block.layer)
        compartments = {at: each * k for k, at in enumerate(order)}  # the first of each neuron
        first_of = {place: each * k * (len(channels) if channels_first else 1) for k, place in enumerate(places)}
        shape = self.cut[block.layer].shape
        neurons = {compartments[at]: _number(at, shape) for at in product(*(range(*along) for along in block.box))}
        stored: dict[Any, _List] = {}
        for axon, atoms in axons.items():
            every = [write for parts in atoms.values() for part in parts for write in part.writes]
            copy, base = divmod(min(first_of[write.at[1:]] for write in every), most_base)
            if self.placed.axons.get(axon.source) == "pop16" and base % _POP16_BASES:
                found.violations.append(f"a base of {base} for {axon.source} in a message of 16 bits")
            lists = []
            for atom in range(axon.members):
                parts = [
                    (part.way.name, part.way.delay, tuple(
                        sorted(((compartments[write.at] - base) // each, write.weight) for write in part.writes)
                    ))
                    for part in atoms.get(atom, [])
                ]  # fmt: skip
                lists.append(tuple(parts))
            kept = stored.setdefault((copy, tuple(lists)), tuple(lists))
            for atom, parts in enumerate(kept):
                got = Counter(
                    (name, neurons[base + each * index], weight)
                    for name, _, pairs in parts for index, weight in pairs if base + each * index in neurons
                )  # fmt: skip
                wanted = self._wanted(number, axon, atom)
                if got != wanted:
                    lost, more = list((wanted - got).items())[:2], list((got - wanted).items())[:2]
                    found.violations.append(f"{axon}, atom {atom} does not write {lost}, writes {more}")
        subtracting = self._subtracting(number, back, compartments, first_of, found)
        found.lists = sum(map(len, stored.values())) + subtracting
        found.words, found.longest = min(
            self._words(stored.values(), encodings, index_bits) for encodings in self._encodings(block)
        )
        if subtracting:
            entry = (self.limits.entry_header_bits or 0) + index_bits + _SUBTRACTING_BITS
            long = self._whole(len(self.placed.soft_resets[block.layer].weights) * entry)
            found.words, found.longest = found.words + subtracting * long, max(found.longest, long)
        return found

    def _subtracting(
        self, number: int, back: Mapping[_Axon, dict[int, Coordinates]], compartments: Mapping[Coordinates, int],
        first_of: Mapping[Coordinates, int], found: _Memory,
    ) -> int:  # fmt: skip
        """How many lists take something back: one entry of a neuron's own axon, one for each atom of a shared one."""
        layer, most_base = self.blocks[number].layer, self.limits.base_compartments or _UNBOUND
        each, kind = self._each(layer), self.placed.axons.get(layer, "discrete")
        stored: set[Any] = set()
        for axon, atoms in back.items():
            here = compartments[atoms[0]] if kind == "discrete" else first_of[atoms[0][1:]]
            copy, base = divmod(here, most_base)
            if kind == "pop16" and base % _POP16_BASES:
                found.violations.append(f"a base of {base} for {axon.source} to itself in a message of 16 bits")
            steps = [divmod(compartments[atoms[atom]] - base, each) for atom in range(axon.members)]
            if any(rest for _, rest in steps):
                found.violations.append(f"{axon} to itself reaches a compartment between neurons")
            stored.add((copy, tuple(index for index, _ in steps)))
        return sum(len(lists) for _, lists in stored)

    def _wanted(self, number: int, axon: _Axon, atom: int) -> Counter[tuple[str, int, float]]:
        """The synapses into this block of one atom of an axon: set of weights, neuron, weight."""
        layer = self.blocks[number].layer
        if number not in self.wanted:
            found: dict[tuple[_Axon, int], Counter[tuple[str, int, float]]] = defaultdict(Counter)
            for way in self.ways[layer]:
                for element, writes in way.writes.items():
                    for write in writes:
                        if write.neuron is not None and self.home[layer].get(write.neuron) == number:
                            for origin in way.origins[element]:
                                found[self._axon(way.source, origin)][way.name, write.neuron, write.weight] += 1
            self.wanted[number] = found
        return self.wanted[number][axon, atom]

    def _encodings(self, block: _Block) -> Iterator[dict[str, str]]:
        """Those that are named for the first block of a layer; of its others any, if the same for a set of weights."""
        names = [way.name for way in self.ways[block.layer]]
        named = self.cut[block.layer].encodings
        if not any(start for start, _ in block.box):
            yield {name: named[name] for name in names}
        else:
            yield from (dict(zip(names, chosen)) for chosen in product(ENCODINGS, repeat=len(names)))

    def _words(self, stored: Iterable[_List], encodings: Mapping[str, str], index_bits: int) -> tuple[int, int]:
        """The words of all lists, and of the longest; those of an axon's atoms are as long as its longest."""
        total = longest = 0
        for lists in stored:
            most = max(
                self._whole(sum(self._bits(encodings[name], delay, tuple(k for k, _ in pairs), index_bits)
                                for name, delay, pairs in parts))
                for parts in lists
            )  # fmt: skip
            total, longest = total + len(lists) * most, max(longest, most)
        return total, longest

    def _whole(self, bits: int) -> int:
        word = self.limits.list_word_bits or 1
        return ceil(bits / word) + (bits > 0 and (bits % word == 0 or bits % word >= word - 5))

    def _bits(self, encoding: str, delay: int, indices: tuple[int, ...], index_bits: int) -> int:
        """Of a part of a list: its entries, each with a header and at most so many synapses."""
        key = encoding, delay > 0, indices, index_bits
        if key not in self.bits:
            wide = _least(_WEIGHT_BITS, self.placed.weight_bits)
            wide += (self.limits.delay or delay).bit_length() if delay else 0
            header = self.limits.entry_header_bits or 0
            if encoding == "sparse":
                tried = [self._entries(indices, _UNBOUND) * header + len(indices) * (wide + index_bits)]
            elif encoding == "dense":
                tried = [self._entries(indices, 1) * (header + index_bits) + len(indices) * wide]
            else:
                tried = [
                    self._entries(indices, 2**skip - 1) * (header + index_bits) + len(indices) * (wide + skip)
                    for skip in (2, 3, 4, 5)
                ]
            self.bits[key] = min(tried)
        return self.bits[key]

    def _entries(self, indices: tuple[int, ...], most_gap: int) -> int:
        """How many entries there are, if one goes on for synapses that are so far apart at most."""
        entries = held = 0
        before = -_UNBOUND
        for index in indices:
            if not held or held == self.limits.entry_synapses or index - before > most_gap:
                entries, held = entries + 1, 0
            held, before = held + 1, index
        return entries


def _beyond(synapse: Synapse, space: Coordinates) -> Iterator[tuple[int, _Write]]:
    """What the elements of an event would write if the layer had no ends, wherever that is not in the layer."""
    op, given, gives = synapse.op, synapse.reads.shape, synapse.gives
    shift = _shift(synapse, space)
    if not isinstance(op, Conv | ConvTranspose) or shift is None:
        return
    outs, ins = gives[0] // op.groups, given[0] // op.groups
    for element, (channel, *place) in enumerate(product(*map(range, given))):
        group = channel // ins
        for tap in product(*map(range, op.weight.shape[2:])):
            at = []
            for axis, (p, t) in enumerate(zip(place, tap)):
                if isinstance(op, ConvTranspose):
                    at.append(p * op.stride[axis] + t * op.dilation[axis] - op.padding[axis])
                    continue
                reached, rest = divmod(p + op.padding[axis][0] - t * op.dilation[axis], op.stride[axis])
                if not rest:
                    at.append(reached)
            if len(at) < len(place):
                continue
            ends = frozenset(axis for axis, (a, n) in enumerate(zip(at, gives[1:]), 1) if not 0 <= a < n)
            for out in range(outs) if ends else ():
                where = (group * outs + out, *at)
                weight = (
                    op.weight[(channel, out, *tap)] if isinstance(op, ConvTranspose)
                    else op.weight[(group * outs + out, channel % ins, *tap)]
                )  # fmt: skip
                yield element, _Write(tuple(a + s for a, s in zip(where, shift)), float(weight), None, ends)


def _shift(synapse: Synapse, space: Coordinates) -> Coordinates | None:
    """Where the outputs lie in the layer, if they lie there as they lie beside one another."""
    if len(synapse.gives) != len(space):
        return None
    lands = np.arange(prod(synapse.gives)) if synapse.lands is None else synapse.lands.ravel()
    shifts = {
        tuple(a - b for a, b in zip(_at(int(neuron), space), at))
        for neuron, at in zip(lands, product(*map(range, synapse.gives)))
    }
    return shifts.pop() if len(shifts) == 1 else None


def _outside(write: _Write, block: Box) -> frozenset[int]:
    return write.beyond | {axis for axis, (at, (a, b)) in enumerate(zip(write.at, block)) if not a <= at < b}


def _inside(at: Coordinates, block: Box) -> bool:
    return all(start <= a < stop for a, (start, stop) in zip(at, block))


def _at(number: int, shape: Coordinates) -> Coordinates:
    found = []
    for n in reversed(shape):
        number, rest = divmod(number, n)
        found.append(rest)
    return tuple(reversed(found))


def _number(at: Coordinates, shape: Coordinates) -> int:
    number = 0
    for a, n in zip(at, shape):
        number = number * n + a
    return number


def _least(allowed: Iterable[int], needed: int) -> int:
    return min((bits for bits in allowed if bits >= needed), default=needed)
