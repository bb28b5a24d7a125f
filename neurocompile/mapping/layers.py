"""What the neurons of a layer take of a core: their synapses as memory, their sources as axons.

A layer is cut into blocks: boxes of its neurons, one for each core. Everything here is answered for many boxes at
once, those made of one interval of each axis, without ever listing the connections of a convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import blake2b
from itertools import combinations, product
from math import gcd, prod
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
    Scale,
    SumPool,
    Upsample,
)
from neurocompile.mapping.depths import Hop, layer_depths
from neurocompile.mapping.fields import (
    BoxSums,
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
    offsets_in,
    outer,
    placed,
    same,
    wired,
)
from neurocompile.mapping.words import Axis, Format, Joint, Lists, Region, Way

__all__ = ["Kernel", "Layer", "Synapses", "kernels_of", "layers_of"]

Shape = tuple[int, ...]
Intervals: TypeAlias = Sequence[Sequence[Interval]]
"""For each axis of a layer some intervals; their combinations are boxes."""
_Entries: TypeAlias = Callable[[int, int], int]

# More overlapping ways than this from one source are listed connection by connection.
_MOST_OVERLAPS = 4


@dataclass(frozen=True, eq=False)
class Synapses:
    """One set of weights that feeds a layer: how many entries of synapse memory a box of neurons needs.

    ``along``, one function for each axis, counts entries that are shared: their product is the box's number, and
    ``starts`` and ``shape`` say which part of the layer is fed. Where nothing is shared, ``stored`` sums the synapses
    of each neuron. An ``indexed`` entry names its neuron.
    """

    name: str
    indexed: bool
    starts: Shape
    shape: Shape
    along: tuple[_Entries, ...] = ()
    stored: BoxSums | None = None

    def entries(self, intervals: Intervals) -> Array:
        """The entries that each box needs."""
        if self.stored is not None:
            return self.stored.over(intervals)
        counts = []
        for entries, first, n, along in zip(self.along, self.starts, self.shape, intervals):
            inside = [(min(max(a - first, 0), n), min(max(b - first, 0), n)) for a, b in along]
            counts.append(np.array([entries(a, b) if b > a else 0 for a, b in inside], dtype=np.int64))
        return outer(counts)


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
    ``grouped`` those of which the channels of each group do.
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
        """The compartments of boxes, with those of halos along some axes."""
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
        for by_channel in (False, True) if len(intervals) > 1 else (False,):
            total: Any = np.zeros(region.compartments.shape, np.int64)
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


def layers_of(graph: Graph, host: frozenset[str], format: Format | None = None) -> list[Layer]:
    """The layers of an integer graph in synaptic form that take cores, in order.

    Args:
        graph: the graph.
        host: nodes that are computed elsewhere; what they emit arrives from outside.
        format: of lists of synapses, if it is known: what they take is said, too.

    Raises:
        DoesNotFit: if a layer's wiring follows no axes and is too large to be listed.
    """
    layers, problems = [], []
    for layer in form_of(graph).layers.values():
        if layer.name in host:
            continue
        try:
            layers.append(_Feeds(graph, host, format).layer(layer))
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
            fields = _fields(synapse.op, synapse.reads.shape, synapse.gives)
            synapses.append(_synapses(synapse, fields, index, space))
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
        of_source: dict[str, list[tuple[int, Lists, _Seen]]] = {}
        for number, (synapse, (seen, fields, index)) in enumerate(zip(layer.synapses, kept)):
            origins = {source for source, _ in seen}
            source, inner = seen[0] if len(seen) == 1 else ("", same(synapse.reads.shape))
            waits = any(self._waits(layer.name, origin, synapse.delay) for origin in origins)
            found = _lists(synapse, fields, index, space, self._space_of(source) if source else (), source, waits)
            of_source.setdefault(source, []).append((number, found, _Seen(inner, synapse.reads.shape)))
            if found.pairs is not None or not source:
                mixed |= origins
            elif found.groups > 1:
                grouped |= origins
        numbered = {number: one for found in of_source.values() for number, one in _jointly(found, self.format.once)}
        lists = [numbered[number] for number in range(len(numbered))]
        if self.format.once:  # the events of convolutions take no axons
            listed = {source for one, (seen, *_) in zip(lists, kept) for source, _ in seen if not one.axes}
            lists_of = {one.source: one.elements for one in lists if one.elements}
            sources = {
                source: EqualLists(found, lists_of.get(source, found.sources))
                for source, found in sources.items()
                if source in listed
            }
            on_chip = tuple(name for name in on_chip if name in listed)
            return Layer(layer.name, space, tuple(synapses), sources, on_chip, tuple(lists))
        for source, wirings in ways.items():
            shape = self._space_of(source)
            together = [_at_a_place(way, shape, self.graph.edges[source].shape) for way in wirings]
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
                fields = _fields(synapse.op, synapse.reads.shape, synapse.gives)
                found = _lists(synapse, fields, self._index(synapse), space, (), "", False)
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
                        yield origin, wired(_fields(node.op, given, shape), inner)
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


# -- operations as fields ----------------------------------------------------------------------------------------------


def _fields(op: Any, given: Shape, shape: Shape) -> Wiring:
    """Which inputs (of shape ``given``) an operation's outputs (of shape ``shape``) see, zero weights included."""
    match op:
        case Linear():
            if op.stored is None or op.stored.all():
                return (Every(shape[0], given[0], np.arange(shape[0]), np.arange(given[0])),)
            return (Pairs(shape[0], given[0], *np.nonzero(op.stored)),)
        case Scale():
            return same(shape)
        case Conv() | ConvTranspose():
            channels = _grouped(shape[0], given[0], op.groups)
        case _:
            (channels,) = same(shape[:1])
    return (channels, *(Pairs(n, m, o, i) for n, m, (o, i, _) in zip(shape[1:], given[1:], _taps(op, given, shape))))


def _grouped(outputs: int, inputs: int, groups: int) -> Field:
    if groups == 1:
        return Every(outputs, inputs, np.arange(outputs), np.arange(inputs))
    each = inputs // groups
    starts = np.arange(outputs) // (outputs // groups) * each
    return Pairs(outputs, inputs, np.repeat(np.arange(outputs), each), np.add.outer(starts, np.arange(each)).ravel())


def _taps(op: Any, given: Shape, shape: Shape) -> Iterator[tuple[Array, Array, Array]]:
    """For each axis in space every (output, input, tap of the kernel) that exists, sorted by output, then input."""
    for axis, (inputs, outputs) in enumerate(zip(given[1:], shape[1:])):
        match op:
            case Upsample():
                out = np.arange(outputs)
                yield out, out // op.factors[axis], np.zeros_like(out)
                continue
            case ConvTranspose():
                kernel = op.weight.shape[2 + axis]
                source, tap = (a.ravel() for a in np.indices((inputs, kernel)))
                out = source * op.stride[axis] + tap * op.dilation[axis] - op.padding[axis]
            case _:
                kernel = op.weight.shape[2 + axis] if isinstance(op, Conv) else op.kernel[axis]
                dilation = 1 if isinstance(op, SumPool) else op.dilation[axis]
                out, tap = (a.ravel() for a in np.indices((outputs, kernel)))
                source = out * op.stride[axis] + tap * dilation - op.padding[axis][0]
        inside = (source >= 0) & (source < inputs) & (out >= 0) & (out < outputs)
        out, source, tap = out[inside], source[inside], tap[inside]
        order = np.lexsort((source, out))
        yield out[order], source[order], tap[order]


def _at_a_place(way: Wiring, space: Shape, shape: Shape) -> Wiring | None:
    """What a layer sees of the places of a source, whose channels at a place are one; None where it has no places."""
    one = np.zeros(1, np.int64)
    if len(way) == len(space) and tuple(field.sources for field in way) == space:
        channels = way[0]
        outs = channels.out if isinstance(channels, Every) else np.unique(channels.out)
        return (Every(channels.outputs, 1, outs, one), *way[1:])
    places = prod(space[1:])
    first, *others = way
    if prod(shape) != prod(space) or first.sources != prod(space) or any(field.sources != 1 for field in others):
        return None
    if isinstance(first, Every):
        return (Every(first.outputs, places, first.out, np.unique(first.source % places)), *others)
    return (Pairs.of(first.outputs, places, first.out, first.source % places), *others)


# -- memory ------------------------------------------------------------------------------------------------------------


def _synapses(synapse: form.Synapse, fields: Wiring, index: Array, space: Shape) -> Synapses:
    op, name = synapse.op, synapse.name
    starts = offsets_in(index, space)
    if isinstance(op, Linear) or starts is None:
        stored = np.zeros(prod(space), np.int64)
        stored[index.reshape(-1)] = outer([field.degrees for field in fields]).reshape(-1)
        first = int(index.flat[0])
        is_run = isinstance(op, Linear) and isinstance(fields[0], Every)
        is_run = is_run and np.array_equal(index, first + np.arange(index.size))
        return Synapses(name, not is_run, (), (), stored=BoxSums(stored.reshape(space)))
    if isinstance(op, Scale):
        own = (1,) * (index.ndim - op.scale.ndim) + op.scale.shape
        along = (_each(1), *(_once if n == 1 else _each(1) for n in own[1:]))
        return Synapses(name, True, starts, index.shape, along)
    inputs = op.weight.shape[1] if isinstance(op, Conv) else op.weight.shape[0] // op.groups
    spatial = (_patterns(source, tap, out) for out, source, tap in _taps(op, synapse.reads.shape, index.shape))
    return Synapses(name, True, starts, index.shape, (_each(inputs), *spatial))


def _lists(
    synapse: form.Synapse, fields: Wiring, index: Array, space: Shape, source_space: Shape, source: str, delayed: bool
) -> Lists:  # fmt: skip
    """The lists of a set of weights, word by word, if no other set shares its source.

    ``delayed``: its synapses wait, beyond the step that every synapse takes.
    """
    op, name = synapse.op, synapse.name
    starts = offsets_in(index, space)
    if isinstance(op, Linear) or starts is None:
        first = int(index.flat[0])
        run = np.array_equal(index, first + np.arange(index.size))
        if isinstance(op, Linear) and isinstance(fields[0], Every) and run and starts is not None:
            different = _different(op.weight, source_space)
            return Lists(name, source, starts, index.shape, elements=different, delayed=delayed)
        pairs = listed(fields)
        once = np.ones(pairs.sources, np.int64)
        return Lists(name, source, (), space, pairs=(index.reshape(-1)[pairs.out], pairs.source, once), delayed=delayed)
    axes = []
    if isinstance(op, Scale):
        own = np.broadcast_to(op.scale, np.broadcast_shapes(op.scale.shape, (1,) * index.ndim))
        for axis, n in enumerate(index.shape[1:], 1):
            each = np.arange(n)
            kinds = each if own.shape[axis] > 1 else 0 * each
            axes.append(Axis(each, each, kinds, lambda at, kinds=kinds: [(at, int(kinds[at]))]))
        spacing = (1,) * len(axes)
    else:
        for axis, (out, seen, tap) in enumerate(_taps(op, synapse.reads.shape, index.shape)):
            kinds = _alike(op.weight, 2 + axis)
            axes.append(Axis(out, seen, kinds[tap], _reach(op, axis, kinds)))
        # Of the taps of a convolution that meet a position, neighbours are so many outputs apart.
        steps = op.stride if isinstance(op, Conv) else (1,) * len(axes)
        spacing = tuple(dilation // gcd(dilation, step) for dilation, step in zip(op.dilation, steps))
    return Lists(
        name, source, starts, index.shape, tuple(axes), synapse.reads.shape[0],
        1 if isinstance(op, Scale) else op.groups, isinstance(op, Scale), spacing, delayed=delayed,
    )  # fmt: skip


def _different(weight: Array, shape: Shape) -> int:
    """How many lists a full matrix has: places of its source with the same weights (of a pool's window) share them."""
    outputs, inputs = weight.shape
    if len(shape) < 2 or prod(shape) != inputs:
        return int(inputs)
    places = np.moveaxis(weight.reshape(outputs, shape[0], -1), 2, 0)
    return shape[0] * len({blake2b(np.ascontiguousarray(place).tobytes()).digest() for place in places})


class _Seen:
    """How the elements of an event see those of its source: ``inner``; along axes, if it moves nothing or pools."""

    def __init__(self, inner: Wiring, shape: Shape) -> None:
        aligned = tuple(field.outputs for field in inner) == shape and all(isinstance(field, Pairs) for field in inner)
        self.sources = tuple(field.sources for field in inner) if aligned else None
        self.windows: list[dict[int, list[int]] | None] = []
        for along in inner[1:] if aligned else ():
            assert isinstance(along, Pairs)
            found: dict[int, list[int]] = {}
            for event, source in zip(along.out.tolist(), along.source.tolist()):
                found.setdefault(source, []).append(event)
            self.windows.append(None if along.is_identity else found)
        if all(isinstance(field, Pairs) and field.is_identity for field in inner):
            self.times = np.ones(prod(shape), np.int64)
            self.most = 1
        else:
            pairs = listed(inner)
            self.times = pairs.degrees
            self.most = int(np.bincount(pairs.source).max(initial=1))


def _jointly(found: Sequence[tuple[int, Lists, _Seen]], once: bool) -> Iterator[tuple[int, Lists]]:
    """The sets of weights of one source, which together make up its lists; each kernel by itself, if kept ``once``."""
    if once and len(found) > 1:
        for each in found:
            yield from _jointly([each], once)
        return
    first = found[0][2].sources
    apart = first is None or any(seen.sources != first or not one.axes for _, one, seen in found)
    apart = apart and len(found) > 1
    joints: tuple[Joint, ...] = ()
    ways = [[Way(*of) for of in zip(one.axes, one.starts[1:], one.shape[1:], seen.windows or [None] * len(one.axes))]
            for _, one, seen in found]  # fmt: skip
    if not apart:
        joints = tuple(Joint(along, False) for along in zip(*ways))
    for way, ((number, one, seen), own) in enumerate(zip(found, ways)):
        alone = apart or seen.most > 1
        copies = int(seen.times.max()) if alone and seen.sources is None else 1
        if one.pairs is not None:
            one = replace(one, pairs=(*one.pairs[:2], seen.times)) if alone else one
        elif one.elements:
            one = replace(one, elements=int(seen.times.sum())) if alone else one
        elif apart:
            one = replace(one, joints=tuple(Joint([each], True) for each in own), copies=copies)
        else:
            one = replace(one, joints=joints, way=way, copies=copies)
        yield number, replace(one, parts=seen.most)


def _alike(weight: Array, axis: int) -> Array:
    """For each tap of a kernel's axis the first that has the same weights: those of a pool's window have."""
    found = np.arange(weight.shape[axis])
    slices = np.moveaxis(weight, axis, 0)
    for tap in range(1, len(slices)):
        found[tap] = next(first for first in range(tap + 1) if np.array_equal(slices[first], slices[tap]))
    return found


def _reach(op: Any, axis: int, kinds: Array) -> Callable[[int], list[tuple[int, int]]]:
    """The outputs, and taps, that a source position would have on an axis without ends."""
    kernel, step, dilation = op.weight.shape[2 + axis], op.stride[axis], op.dilation[axis]
    if isinstance(op, ConvTranspose):
        pad = op.padding[axis]
        return lambda at: sorted((at * step + tap * dilation - pad, int(kinds[tap])) for tap in range(kernel))
    before = op.padding[axis][0]

    def reach(at: int) -> list[tuple[int, int]]:
        places = [(at + before - tap * dilation, tap) for tap in range(kernel)]
        return sorted((place // step, int(kinds[tap])) for place, tap in places if place % step == 0)

    return reach


def _each(entries: int) -> _Entries:
    return lambda start, stop: (stop - start) * entries


def _once(start: int, stop: int) -> int:
    return 1


def _patterns(source: Array, tap: Array, out: Array) -> _Entries:
    """Entries of a kernel's axis: the taps of each distinct set of taps that a source meets in the interval."""
    taps = int(tap.max(initial=0)) + 1

    @cache
    def entries(start: int, stop: int) -> int:
        first, last = np.searchsorted(out, (start, stop))
        if first == last:
            return 0
        here = source[first:last]
        met = np.zeros((int(here.max() - here.min()) + 1, taps), bool)
        met[here - here.min(), tap[first:last]] = True
        return int(np.unique(met, axis=0).sum())

    return entries
