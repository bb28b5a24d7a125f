"""What the neurons of a layer take of a core: their synapses as memory, their sources as axons.

A layer is cut into blocks: boxes of its neurons, one for each core. Everything here is answered for many boxes at
once, those made of one interval of each axis, without ever listing the connections of a convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
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
    Scale,
    SumPool,
    Upsample,
)
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
    offsets_in,
    outer,
    placed,
    same,
    wired,
)

__all__ = ["Layer", "Synapses", "layers_of"]

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


class SharedAxes:
    """The elements of one source that a layer sees, along the layer's own axes.

    Several ways from the source to the layer are counted together, so that no element counts twice for one box.
    """

    def __init__(self, shape: Shape, ways: Sequence[Wiring]) -> None:
        self._shape = shape
        # |A or B| = |A| + |B| - |A and B|, and so on: each term is a product over axes again.
        self._terms = [
            ((-1) ** (size + 1), tuple(zip(*chosen)))
            for size in range(1, len(ways) + 1)
            for chosen in combinations(ways, size)
        ]
        self._count = cache(lambda fields, start, stop: len(common(fields, start, stop)))

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
            total = total + sign * outer(counts).reshape(self._shape)
        return np.asarray(total)


class ListedPairs:
    """The elements of one source that a layer sees where they follow no axes: connection by connection."""

    def __init__(self, shape: Shape, space: Shape, ways: Sequence[Wiring]) -> None:
        self._shape = shape
        pairs = [listed(way) for way in ways]
        out, source = (np.concatenate([getattr(pair, side) for pair in pairs]) for side in ("out", "source"))
        self._pairs = Pairs.of(prod(space), prod(shape), out, source)

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
        return np.bincount(elements, minlength=self._pairs.sources).reshape(self._shape)

    def _seen(self, intervals: Intervals) -> Array:
        """Each box with each element that it sees, as one number."""
        box: Any = 0
        for along in intervals:
            number = np.repeat(np.arange(len(along)), [stop - start for start, stop in along])
            box = np.add.outer(box * len(along), number)
        return np.unique(box.reshape(-1)[self._pairs.out] * self._pairs.sources + self._pairs.source)


@dataclass(frozen=True, eq=False)
class Layer:
    """Neurons or integrators, with what feeds them.

    ``space`` is the shape in which the layer is cut: its own, or the shape that its convolutions have in front of a
    reshape (the same neurons in the same order). ``on_chip`` are those of its sources that take cores themselves.
    """

    name: str
    space: Shape
    synapses: tuple[Synapses, ...]
    sources: dict[str, SharedAxes | ListedPairs]
    on_chip: tuple[str, ...]

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

    def input_axons(self, intervals: Intervals, exact: bool) -> Array:
        """Input axons of each box: the elements of all sources that its neurons see."""
        return self._axons(self.sources, intervals, exact)

    def axons_from_cores(self, intervals: Intervals) -> int:
        """Those of all boxes that come from other cores, and are output axons there."""
        return int(self._axons(self.on_chip, intervals, True).sum())

    def _axons(self, sources: Iterable[str], intervals: Intervals, exact: bool) -> Array:
        total: Any = np.zeros(tuple(map(len, intervals)), np.int64)
        for source in sources:
            total = total + self.sources[source].axons(intervals, exact)
        return np.asarray(total)


def layers_of(graph: Graph, host: frozenset[str]) -> list[Layer]:
    """The layers of an integer graph in synaptic form that take cores, in order.

    Args:
        graph: the graph.
        host: nodes that are computed elsewhere; what they emit arrives from outside.

    Raises:
        DoesNotFit: if a layer's wiring follows no axes and is too large to be listed.
    """
    layers, problems = [], []
    for layer in form_of(graph).layers.values():
        if layer.name in host:
            continue
        try:
            layers.append(_Feeds(graph, host).layer(layer))
        except TooManyPairs:
            what = "its connections do not follow the axes of its layer, and there are too many to list them"
            problems.append(Problem(what, layer.name, fix="reshape spikes, behind the neurons, rather than currents"))
    if problems:
        raise DoesNotFit(problems)
    return layers


class _Feeds:
    """Which elements of which sources feed a layer, along what axes."""

    def __init__(self, graph: Graph, host: frozenset[str]) -> None:
        self.graph, self.host = graph, host

    def layer(self, layer: form.Layer) -> Layer:
        space = _space(layer)
        ways: dict[str, list[Wiring]] = {}
        synapses = []
        for synapse in layer.synapses:
            index = np.arange(prod(synapse.gives)).reshape(synapse.gives) if synapse.lands is None else synapse.lands
            fields = _fields(synapse.op, synapse.reads.shape, synapse.gives)
            synapses.append(_synapses(synapse, fields, index, space))
            for source, inner in self._events(synapse.event, frozenset()):
                ways.setdefault(source, []).append(_along(placed(wired(fields, inner), index, space), space))
        sources = {source: self._source(source, found, space) for source, found in ways.items()}
        on_chip = tuple(name for name in sources if name not in self.host and name in form_of(self.graph).layers)
        return Layer(layer.name, space, tuple(synapses), sources, on_chip)

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

    def _source(self, name: str, ways: Sequence[Wiring], space: Shape) -> SharedAxes | ListedPairs:
        shape = self.graph.edges[name].shape
        kept: list[Wiring] = []
        for way in ways:
            if not any(covers(one, way) for one in kept):
                kept = [*(one for one in kept if not covers(way, one)), way]
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
