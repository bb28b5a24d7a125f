"""What the neurons of a layer take of a core: their synapses as memory, their sources as axons.

A layer is cut into blocks: boxes of its neurons, one for each core. Everything here is answered for many boxes at
once, those made of one interval of each axis, without ever listing the connections of a convolution.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations, product
from math import prod
from typing import Any, TypeAlias

import numpy as np

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir import form
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import (
    Add,
    Array,
    Concat,
    Conv,
    ConvTranspose,
    Delay,
    Linear,
    MaxPool,
    Reshape,
    SumPool,
    Upsample,
)
from neurocompile.ir.placed import SoftReset
from neurocompile.mapping.depths import Hop, layer_depths
from neurocompile.mapping.fields import (
    Every,
    Field,
    Interval,
    Pairs,
    TooManyPairs,
    Wiring,
    common,
    covers,
    listed,
    merged,
    outer,
    placed,
    same,
    wired,
)
from neurocompile.mapping.stored import Seen, Synapses, jointly, lists_of, synapses_of
from neurocompile.mapping.wirings import at_a_place, fields_of
from neurocompile.mapping.words import Format, Lists, Region, reset_words

__all__ = ["Kernel", "Layer", "kernels_of", "layers_of"]

Shape = tuple[int, ...]
Intervals: TypeAlias = Sequence[Sequence[Interval]]
"""For each axis of a layer some intervals; their combinations are boxes."""

# More overlapping ways than this from one source are listed connection by connection.
_MOST_OVERLAPS = 4


def _boxes(intervals: Intervals) -> Array:
    """The number of the box that each element is in, row-major."""
    box: Any = np.zeros((), np.int64)
    for along in intervals:
        number = np.repeat(np.arange(len(along)), [stop - start for start, stop in along])
        box = np.add.outer(box * len(along), number)
    return np.asarray(box).reshape(-1)


class SharedAxes:
    """The elements of one source that a layer sees, along the layer's own axes.

    Several ways from the source to the layer are counted together, so that no element counts twice for one box.
    """

    def __init__(self, shape: Shape, ways: Sequence[Wiring]) -> None:
        self.shape = shape
        # |A or B| = |A| + |B| - |A and B|, and so on: each term is a product over axes again.
        self._terms = [
            ((-1) ** (size + 1), tuple(zip(*chosen)))
            for size in range(1, len(ways) + 1)
            for chosen in combinations(ways, size)
        ]
        self._count = cache(lambda fields, start, stop: len(common(fields, start, stop)))

    @property
    def sources(self) -> int:
        """How many elements there are."""
        return prod(self.shape)

    def between(self, intervals: Intervals, own: Intervals) -> Array:
        """How many elements of each box of the source each box of the layer sees, ``[boxes of the source, of it]``."""
        sizes = [fields[0].sources for fields in self._terms[0][1]]
        if sizes != [along[-1][1] for along in own]:
            return self._between_flat(intervals, own)
        total: Any = 0
        for sign, axes in self._terms:
            counts: Any = np.ones((1, 1), np.int64)
            for fields, along, mine in zip(axes, intervals, own):
                seen = [common(fields, start, stop) for start, stop in along]
                each = np.array(
                    [[np.searchsorted(at, stop) - np.searchsorted(at, start) for at in seen] for start, stop in mine]
                )
                counts = np.einsum("ab,cd->acbd", counts, each).reshape(len(counts) * len(each), -1)
            total = total + sign * counts
        return np.asarray(total)

    def _between_flat(self, intervals: Intervals, own: Intervals) -> Array:
        """The same where the source has other axes here than where it is cut: its elements are one axis."""
        box, boxes = _boxes(own), prod(map(len, own))
        total: Any = 0
        for sign, (fields, *rest) in self._terms:
            if any(more[0].sources > 1 for more in rest):  # it has several axes here, and one where it is cut
                total = total + sign * self._between_boxes((fields, *rest), intervals, box, boxes)
                continue
            counts = np.stack(
                [np.bincount(box[common(fields, start, stop)], minlength=boxes) for start, stop in intervals[0]], 1
            )
            for more, along in zip(rest, intervals[1:]):
                seen = np.array([len(common(more, start, stop)) for start, stop in along])
                counts = np.multiply.outer(counts, seen).reshape(boxes, -1)
            total = total + sign * counts
        return np.asarray(total)

    @staticmethod
    def _between_boxes(axes: Sequence[tuple[Field, ...]], intervals: Intervals, box: Array, boxes: int) -> Array:
        sizes = [fields[0].sources for fields in axes]
        seen = [[common(fields, start, stop) for start, stop in along] for fields, along in zip(axes, intervals)]
        counts = [
            np.bincount(box[np.ravel_multi_index(np.ix_(*chosen), sizes).reshape(-1)], minlength=boxes)
            for chosen in product(*seen)
        ]
        return np.stack(counts, 1)

    def axons(self, intervals: Intervals, exact: bool) -> Array:
        """How many elements each box sees."""
        total: Any = 0
        for sign, axes in self._terms:
            counts = [
                np.array([self._count(fields, start, stop) for start, stop in along], dtype=np.int64)
                for fields, along in zip(axes, intervals)
            ]
            total = total + sign * outer(counts)
        return np.asarray(total)

    def fanout(self, intervals: Intervals) -> Array:
        """By how many of the boxes each element is seen, in the source's shape."""
        total: Any = 0
        for sign, axes in self._terms:
            counts = [
                np.bincount(
                    np.concatenate([common(fields, start, stop) for start, stop in along]),
                    minlength=fields[0].sources,
                )
                for fields, along in zip(axes, intervals)
            ]
            total = total + sign * outer(counts).reshape(self.shape)
        return np.asarray(total)


class ListedPairs:
    """The elements of one source that a layer sees where they follow no axes: connection by connection."""

    def __init__(self, shape: Shape, space: Shape, ways: Sequence[Wiring]) -> None:
        self.shape = shape
        pairs = [listed(way) for way in ways]
        out, source = (np.concatenate([getattr(pair, side) for pair in pairs]) for side in ("out", "source"))
        self._pairs = Pairs.of(prod(space), prod(shape), out, source)

    @property
    def sources(self) -> int:
        """How many elements there are."""
        return prod(self.shape)

    def between(self, intervals: Intervals, own: Intervals) -> Array:
        """As :meth:`SharedAxes.between`; ``own`` may be of other axes than the source's shape, in the same order."""
        boxes, readers = prod(map(len, own)), prod(map(len, intervals))
        keys = self._seen(intervals)
        mine, theirs = _boxes(own)[keys % self._pairs.sources], keys // self._pairs.sources
        return np.bincount(mine * readers + theirs, minlength=boxes * readers).reshape(boxes, readers)

    def axons(self, intervals: Intervals, exact: bool) -> Array:
        """As :meth:`SharedAxes.axons`, for boxes without overlap; not ``exact``: at least 0."""
        boxes = tuple(map(len, intervals))
        if not exact:
            return np.zeros(boxes, np.int64)
        seen = self._seen(intervals) // self._pairs.sources
        return np.bincount(seen, minlength=prod(boxes)).reshape(boxes)

    def fanout(self, intervals: Intervals) -> Array:
        """As :meth:`SharedAxes.fanout`."""
        elements = self._seen(intervals) % self._pairs.sources
        return np.bincount(elements, minlength=self._pairs.sources).reshape(self.shape)

    def _seen(self, intervals: Intervals) -> Array:
        """Each box with each element that it sees, as one number."""
        return np.unique(_boxes(intervals)[self._pairs.out] * self._pairs.sources + self._pairs.source)


@dataclass(frozen=True, eq=False)
class EqualLists:
    """The elements of a source of which those with equal lists share an axon: so many ``lists`` are different."""

    seen: SharedAxes | ListedPairs | EqualLists
    lists: int

    @property
    def shape(self) -> Shape:
        """The source's."""
        return self.seen.shape

    @property
    def sources(self) -> int:
        """How many elements there are."""
        return self.seen.sources

    def between(self, intervals: Intervals, own: Intervals) -> Array:
        """As :meth:`SharedAxes.between`."""
        return self.seen.between(intervals, own)

    def axons(self, intervals: Intervals, exact: bool) -> Array:
        """As :meth:`SharedAxes.axons`, of equal lists once."""
        return np.minimum(self.seen.axons(intervals, exact), self.lists)

    def fanout(self, intervals: Intervals) -> Array:
        """As :meth:`SharedAxes.fanout`."""
        return self.seen.fanout(intervals)


@dataclass(frozen=True, eq=False)
class Layer:
    """Neurons or integrators, with what feeds them.

    ``space`` is the shape in which the layer is cut: its own, or the shape that its convolutions have in front of a
    reshape (the same neurons in the same order). ``on_chip`` are those of its sources that take cores themselves.

    Where lists of synapses are known word by word, ``lists`` are those of ``synapses``, ``places`` the sources with the
    channels at a place taken as one, ``mixed`` those of which not all channels at a place reach the same neurons, and
    ``grouped`` those of which the channels of each group do. With a ``soft_reset`` neurons are made of several
    compartments, and each reaches itself by an axon.
    """

    name: str
    space: Shape
    synapses: tuple[Synapses, ...]
    sources: Mapping[str, SharedAxes | ListedPairs | EqualLists]
    on_chip: tuple[str, ...]
    lists: tuple[Lists, ...] = ()
    places: dict[str, SharedAxes | ListedPairs] = field(default_factory=dict)
    mixed: frozenset[str] = frozenset()
    grouped: frozenset[str] = frozenset()
    soft_reset: SoftReset | None = None

    @property
    def compartments(self) -> int:
        """Of a neuron."""
        return 1 if self.soft_reset is None else self.soft_reset.compartments

    @property
    def neurons(self) -> int:
        """How many neurons."""
        return prod(self.space)

    def memory_bytes(self, intervals: Intervals, weight_bits: int) -> Array:
        """Synapse memory of each box."""
        neurons = outer([np.array([stop - start for start, stop in along]) for along in intervals])
        index_bits = np.frexp(neurons - 1)[1]  # ceil(log2(neurons)), without rounding
        bits: Any = np.zeros(neurons.shape, np.int64)
        for synapses in self.synapses:
            bits = bits + synapses.entries(intervals) * (weight_bits + (index_bits if synapses.indexed else 0))
        return np.asarray(-(-bits // 8))

    def may_have_halo(self, axis: int) -> bool:
        """Whether kernels reach across an axis, and beyond its ends meet no neurons of another part of the layer."""
        kernels = [each for each in self.lists if axis and each.axes]
        whole = all(each.shape[axis] == self.space[axis] for each in kernels)
        return whole and any(each.axes[axis - 1].longest > 1 for each in kernels)

    def region(self, intervals: Intervals, halo: Sequence[bool]) -> Region:
        """The places of boxes for neurons, with those of halos along some axes."""
        sizes = []
        for axis, along in enumerate(intervals):
            size = np.array([stop - start for start, stop in along], np.int64)
            if axis:
                beside = [each.halo(axis, along, halo[axis]) for each in self.lists if each.axes]
                size = size + sum(np.max([one[side] for one in beside], axis=0) for side in (0, 1)) if beside else size
            sizes.append(size.reshape(*(-1 if k == axis else 1 for k in range(len(intervals)))))
        return Region(tuple(sizes))

    def words(
        self, intervals: Intervals, region: Region, halo: Sequence[bool], format: Format, weight_bits: int,
        populations: Container[str],
    ) -> tuple[Array, list[Array]]:  # fmt: skip
        """The words of all lists of each box, and the encoding of each set of weights."""
        best: Any = None
        chosen: list[Array] = []
        format = replace(format, base=max(format.base // self.compartments, 1))
        for by_channel in (False, True) if len(intervals) > 1 else (False,):
            total: Any = np.zeros(region.compartments.shape, np.int64)
            if self.soft_reset is not None:
                shared = self.name in populations
                total = total + reset_words(len(self.soft_reset.weights), region, format, shared, by_channel)
            longest: dict[str, Any] = {}
            encodings = []
            for each in self.lists:
                words, most, encoding = each.words(
                    intervals, region, format, weight_bits, halo, each.source in populations, by_channel
                )
                total = total + words
                longest[each.source] = longest.get(each.source, 0) + most
                encodings.append(encoding)
            for most in longest.values():
                total = format.unless_too_long(total, most)
            if best is None:
                best, chosen = total, encodings
            else:
                chosen = [np.where(total < best, new, old) for new, old in zip(encodings, chosen)]
                best = np.minimum(best, total)
        return np.asarray(best), chosen

    def axons_to_itself(self, intervals: Intervals, atoms: int) -> Array:
        """By which neurons of each box subtract from themselves: one a neuron, or one a place for so many ``atoms`` of
        its channels (0: none share axons)."""
        sizes = [np.array([stop - start for start, stop in along], np.int64) for along in intervals]
        if self.soft_reset is None:
            return np.zeros(tuple(map(len, sizes)), np.int64)
        return outer([-(-sizes[0] // (atoms or 1)), *sizes[1:]])

    def input_axons(self, intervals: Intervals, exact: bool, populations: Mapping[str, int]) -> Array:
        """Input axons of each box: the elements of all sources that its neurons see.

        Of a source whose neurons share axons there is one for each place, times the blocks of its channels, which
        ``populations`` says.
        """
        found = self._axons([name for name in self.sources if name not in populations], intervals, exact)
        for name, blocks in populations.items():
            if name in self.places:
                found = found + blocks * self.places[name].axons(intervals, exact)
        return found

    def axons_from_cores(self, intervals: Intervals, slots: Mapping[str, int], shared: Container[str]) -> int:
        """Those of all boxes that come from other cores, in slots of output axons there."""
        seen = ((name, self.places[name] if name in shared else self.sources[name]) for name in self.on_chip)
        return sum(slots.get(name, 1) * int(source.axons(intervals, True).sum()) for name, source in seen)

    def _axons(self, sources: Iterable[str], intervals: Intervals, exact: bool) -> Array:
        total: Any = np.zeros(tuple(map(len, intervals)), np.int64)
        for source in sources:
            total = total + self.sources[source].axons(intervals, exact)
        return np.asarray(total)


def layers_of(
    graph: Graph, host: frozenset[str], format: Format | None = None, soft_resets: Mapping[str, SoftReset] | None = None
) -> list[Layer]:
    """The layers of an integer graph in synaptic form that take cores, in order.

    Args:
        graph: the graph.
        host: nodes that are computed elsewhere; what they emit arrives from outside.
        format: of lists of synapses, if it is known: what they take is said, too.
        soft_resets: of layers whose neurons are made of several compartments; where the format is known.

    Raises:
        DoesNotFit: if a layer's wiring follows no axes and is too large to be listed.
    """
    layers, problems = [], []
    for layer in form_of(graph).layers.values():
        if layer.name in host:
            continue
        try:
            made = _Feeds(graph, host, format).layer(layer)
            layers.append(replace(made, soft_reset=(soft_resets or {}).get(layer.name)))
        except TooManyPairs:
            what = "its connections do not follow the axes of its layer, and there are too many to list them"
            problems.append(Problem(what, layer.name, fix="reshape spikes, behind the neurons, rather than currents"))
    if problems:
        raise DoesNotFit(problems)
    return layers


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution that feeds a layer: its lists, the shape of its event, and whose elements the event's stand for.

    ``origins`` are, for each source, pairs of an element of the event and one of the source, flat.
    """

    lists: Lists
    event: Shape
    origins: tuple[tuple[str, Array, Array], ...]


def kernels_of(graph: Graph, host: frozenset[str], format: Format, names: Container[str]) -> dict[str, list[Kernel]]:
    """The convolutions that feed the layers of some names; arguments as for :func:`layers_of`."""
    feeds = _Feeds(graph, host, format)
    return {layer.name: list(feeds.kernels(layer)) for layer in form_of(graph).layers.values() if layer.name in names}


def _depths(graph: Graph, host: frozenset[str]) -> dict[str, int]:
    """By how many steps the layers of a chip lag behind the network; none where a loop is too short to run at all."""
    network = form_of(graph)
    layers = [name for name in network.layers if name not in host]
    hops = [
        Hop(network.emitter(synapse.source), name, 1, synapse.delay)
        for name in layers
        for synapse in network.layers[name].synapses
    ]
    given = {hop.source for hop in hops} - set(layers)
    try:
        return layer_depths(layers, hops, dict.fromkeys(given, 0))
    except DoesNotFit:
        return {}


class _Feeds:
    """Which elements of which sources feed a layer, along what axes."""

    def __init__(self, graph: Graph, host: frozenset[str], format: Format | None = None) -> None:
        self.graph, self.host, self.format = graph, host, format
        self.depths = _depths(graph, host) if format is not None else {}

    def layer(self, layer: form.Layer) -> Layer:
        space = _space(layer)
        ways: dict[str, list[Wiring]] = {}
        synapses, kept = [], []
        for synapse in layer.synapses:
            index = self._index(synapse)
            fields = fields_of(synapse.op, synapse.reads.shape, synapse.gives)
            synapses.append(synapses_of(synapse, fields, index, space))
            seen = list(self._events(synapse.event, frozenset()))
            kept.append((seen, fields, index))
            for source, inner in seen:
                ways.setdefault(source, []).append(_along(placed(wired(fields, inner), index, space), space))
        sources: dict[str, SharedAxes | ListedPairs | EqualLists] = {
            source: self._source(self.graph.edges[source].shape, found, space) for source, found in ways.items()
        }
        on_chip = tuple(name for name in sources if name not in self.host and name in form_of(self.graph).layers)
        if self.format is None:
            return Layer(layer.name, space, tuple(synapses), sources, on_chip)
        mixed: set[str] = set()
        grouped: set[str] = set()
        places = {}
        of_source: dict[str, list[tuple[int, Lists, Seen]]] = {}
        for number, (synapse, (seen, fields, index)) in enumerate(zip(layer.synapses, kept)):
            origins = {source for source, _ in seen}
            source, inner = seen[0] if len(seen) == 1 else ("", same(synapse.reads.shape))
            waits = any(self._waits(layer.name, origin, synapse.delay) for origin in origins)
            found = lists_of(synapse, fields, index, space, self._space_of(source) if source else (), source, waits)
            of_source.setdefault(source, []).append((number, found, Seen(inner, synapse.reads.shape)))
            if found.pairs is not None or not source:
                mixed |= origins
            elif found.groups > 1:
                grouped |= origins
        numbered = {number: one for found in of_source.values() for number, one in jointly(found, self.format.once)}
        lists = [numbered[number] for number in range(len(numbered))]
        if self.format.once:  # the events of convolutions take no axons
            listed = {source for one, (seen, *_) in zip(lists, kept) for source, _ in seen if not one.axes}
            different = {one.source: one.elements for one in lists if one.elements}
            sources = {
                source: EqualLists(found, different.get(source, found.sources))
                for source, found in sources.items()
                if source in listed
            }
            on_chip = tuple(name for name in on_chip if name in listed)
            return Layer(layer.name, space, tuple(synapses), sources, on_chip, tuple(lists))
        for source, wirings in ways.items():
            shape = self._space_of(source)
            together = [at_a_place(way, shape, self.graph.edges[source].shape) for way in wirings]
            if any(way is None for way in together):
                mixed.add(source)
            else:
                places[source] = self._source((1, *shape[1:]), [way for way in together if way], space)
        return Layer(
            layer.name,
            space,
            tuple(synapses),
            sources,
            on_chip,
            tuple(lists),
            places,
            frozenset(mixed),
            frozenset(grouped),
        )

    def kernels(self, layer: form.Layer) -> Iterator[Kernel]:
        """Those of its sets of weights that are convolutions along its axes."""
        space = _space(layer)
        for synapse in layer.synapses:
            if isinstance(synapse.op, Conv | ConvTranspose):
                fields = fields_of(synapse.op, synapse.reads.shape, synapse.gives)
                found = lists_of(synapse, fields, self._index(synapse), space, (), "", False)
                if found.axes:
                    seen = ((source, listed(inner)) for source, inner in self._events(synapse.event, frozenset()))
                    origins = tuple((source, pairs.out, pairs.source) for source, pairs in seen)
                    yield Kernel(found, synapse.reads.shape, origins)

    def _waits(self, layer: str, source: str, delay: int) -> bool:
        """Whether spikes of a source wait on the way to a layer: for a delay, or for those of a longer way."""
        return self.depths.get(layer, 0) - self.depths.get(source, 0) + delay > 1

    @staticmethod
    def _index(synapse: form.Synapse) -> Array:
        """Where its outputs lie in the layer."""
        return np.arange(prod(synapse.gives)).reshape(synapse.gives) if synapse.lands is None else synapse.lands

    def _space_of(self, source: str) -> Shape:
        """The shape in which a source is cut; its own, where nobody cuts it."""
        layers = form_of(self.graph).layers
        return (
            _space(layers[source]) if source in layers and source not in self.host else self.graph.edges[source].shape
        )

    def _events(self, name: str, behind: frozenset[str]) -> Iterator[tuple[str, Wiring]]:
        """The sources of an event, with how each of its elements sees theirs.

        A sum, a pool or a delay is no source: whoever fires into it is. So each element of a pool stands for all
        neurons in its window.
        """
        node, shape = self.graph[name], self.graph.edges[name].shape
        if name in behind:
            return
        if name in self.host or not isinstance(node.op, Add | Concat | Delay | MaxPool | Reshape | SumPool | Upsample):
            yield name, same(shape)
            return
        start = 0
        for source in node.inputs:
            given = self.graph.edges[source].shape
            for origin, inner in self._events(source, behind | {name}):
                match node.op:
                    case Reshape():
                        yield origin, _reshaped(inner, shape)
                    case Concat(axis=axis):
                        whole = np.arange(prod(shape)).reshape(shape)
                        yield origin, placed(inner, np.take(whole, range(start, start + given[axis]), axis), shape)
                    case MaxPool() | SumPool() | Upsample():
                        yield origin, wired(fields_of(node.op, given, shape), inner)
                    case _:
                        yield origin, inner
            start += given[node.op.axis] if isinstance(node.op, Concat) else 0

    def _source(self, shape: Shape, ways: Sequence[Wiring], space: Shape) -> SharedAxes | ListedPairs:
        kept: list[Wiring] = []
        for way in ways:
            if not any(covers(one, way) for one in kept):
                kept = [*(one for one in kept if not covers(way, one)), way]
        kept = merged(kept)
        aligned = all(tuple(field.outputs for field in way) == space for way in kept)
        alike = len({tuple(field.sources for field in way) for way in kept}) == 1
        if aligned and alike and len(kept) <= _MOST_OVERLAPS:
            return SharedAxes(shape, kept)
        return ListedPairs(shape, space, kept)


def _space(layer: form.Layer) -> Shape:
    """The shape with the most axes that what feeds the neurons has; matrices alone have one axis."""
    found: list[Shape] = []
    for synapse in layer.synapses:
        joined = [wire.shape for wire in synapse.way if isinstance(wire.node.op, Concat)]
        if joined or not isinstance(synapse.op, Linear):
            found.append(joined[-1] if joined else synapse.gives)
    return max(found, key=len, default=(prod(layer.shape),))


def _reshaped(inner: Wiring, shape: Shape) -> Wiring:
    """An event's wiring after a reshape: along the new axes if it moves nothing, else by the elements' numbers."""
    if all(isinstance(field, Pairs) and field.is_identity for field in inner):
        return same(shape)
    return placed(inner, np.arange(prod(shape)), (prod(shape),))


def _along(wiring: Wiring, space: Shape) -> Wiring:
    """A wiring of all neurons to the same elements follows any axes."""
    (field, *others) = wiring
    if others or len(space) == 1 or not isinstance(field, Every) or len(field.out) < field.outputs:
        return wiring
    one = np.zeros(1, np.int64)
    rest = tuple(Every(n, 1, np.arange(n), one) for n in space[1:])
    return (Every(space[0], field.sources, np.arange(space[0]), field.source), *rest)
