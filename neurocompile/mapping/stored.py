"""What sets of weights take of a core's memory: as entries alone, and as lists of words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from math import gcd, prod
from typing import Any, TypeAlias

import numpy as np

from neurocompile.ir import form
from neurocompile.ir.ops import (
    Array,
    Conv,
    ConvTranspose,
    Linear,
    Scale,
)
from neurocompile.mapping.fields import (
    BoxSums,
    Every,
    Interval,
    Pairs,
    Wiring,
    listed,
    offsets_in,
    outer,
)
from neurocompile.mapping.wirings import taps_of
from neurocompile.mapping.words import Axis, Joint, Lists, Way

__all__ = ["Seen", "Synapses", "jointly", "lists_of", "synapses_of"]

Shape = tuple[int, ...]
Intervals: TypeAlias = Sequence[Sequence[Interval]]
_Entries: TypeAlias = Callable[[int, int], int]


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


def synapses_of(synapse: form.Synapse, fields: Wiring, index: Array, space: Shape) -> Synapses:
    """The entries of a set of weights, whose outputs lie at ``index`` in a layer cut in the shape ``space``."""
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
    spatial = (_patterns(source, tap, out) for out, source, tap in taps_of(op, synapse.reads.shape, index.shape))
    return Synapses(name, True, starts, index.shape, (_each(inputs), *spatial))


def lists_of(
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
        for axis, (out, seen, tap) in enumerate(taps_of(op, synapse.reads.shape, index.shape)):
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


class Seen:
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


def jointly(found: Sequence[tuple[int, Lists, Seen]], once: bool) -> Iterator[tuple[int, Lists]]:
    """The sets of weights of one source, which together make up its lists; each kernel by itself, if kept ``once``."""
    if once and len(found) > 1:
        for each in found:
            yield from jointly([each], once)
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
