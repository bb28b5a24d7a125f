"""Receptive fields: which elements of a source reach which elements of a layer, axis by axis.

Convolutions, pools and concatenations treat each axis by itself: element (c', y', x') reaches neuron (c, y, x) if c'
reaches c, y' reaches y and x' reaches x. One axis is a :data:`Field`, all axes of a tensor a :data:`Wiring`. What
follows no axes (a matrix behind a reshape) is a wiring of one field over all elements in row-major order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import combinations, product
from math import prod
from typing import Any, TypeAlias

import numpy as np

from neurocompile.ir.ops import Array

__all__ = [
    "BoxSums",
    "Every",
    "Field",
    "Interval",
    "Pairs",
    "TooManyPairs",
    "Wiring",
    "merged",
    "offsets_in",
    "outer",
    "placed",
    "same",
    "wired",
]

Shape = tuple[int, ...]
Interval: TypeAlias = tuple[int, int]
"""Positions ``start`` to ``stop - 1`` of an axis."""

_MOST_PAIRS = 1 << 24


class TooManyPairs(Exception):
    """A wiring that follows no axes, and is too large to be listed element by element."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Output position ``out[k]`` sees source position ``source[k]``; distinct pairs, sorted by ``out``.

    ``outputs`` and ``sources`` are the lengths of the two axes.
    """

    outputs: int
    sources: int
    out: Array
    source: Array

    @classmethod
    def of(cls, outputs: int, sources: int, out: Array, source: Array) -> Pairs:
        """From pairs in any order, some of them perhaps twice."""
        keys = np.unique(out.astype(np.int64) * sources + source)
        return cls(outputs, sources, keys // sources, keys % sources)

    def seen(self, start: int, stop: int) -> Array:
        """The source positions that at least one of the outputs ``start`` to ``stop - 1`` sees, ascending."""
        first, last = np.searchsorted(self.out, (start, stop))
        return np.unique(self.source[first:last])

    @cached_property
    def degrees(self) -> Array:
        """How many source positions each output sees, ``[outputs]``."""
        return np.bincount(self.out, minlength=self.outputs)

    @property
    def is_identity(self) -> bool:
        """Whether every output sees its own position."""
        every = np.arange(self.outputs)
        return self.outputs == self.sources and np.array_equal(self.out, every) and np.array_equal(self.source, every)


@dataclass(frozen=True, eq=False)
class Every:
    """Each of the output positions ``out`` sees all source positions ``source``; both ascending."""

    outputs: int
    sources: int
    out: Array
    source: Array

    def seen(self, start: int, stop: int) -> Array:
        """As :meth:`Pairs.seen`."""
        first, last = np.searchsorted(self.out, (start, stop))
        return self.source if last > first else self.source[:0]

    @cached_property
    def degrees(self) -> Array:
        """As :attr:`Pairs.degrees`."""
        found = np.zeros(self.outputs, np.int64)
        found[self.out] = len(self.source)
        return found

    def listed(self) -> Pairs:
        """The same, pair by pair."""
        if len(self.out) * len(self.source) > _MOST_PAIRS:
            raise TooManyPairs
        out, source = np.repeat(self.out, len(self.source)), np.tile(self.source, len(self.out))
        return Pairs(self.outputs, self.sources, out, source)


Field: TypeAlias = Pairs | Every
Wiring: TypeAlias = tuple[Field, ...]


def same(shape: Shape) -> Wiring:
    """Every element sees itself."""
    return tuple(Pairs(n, n, np.arange(n), np.arange(n)) for n in shape)


def wired(outer_part: Wiring, inner: Wiring) -> Wiring:
    """What is seen through what is seen: layer from events (``outer_part``), events from their source (``inner``)."""
    if [field.sources for field in outer_part] != [field.outputs for field in inner]:
        outer_part, inner = _flat(outer_part), _flat(inner)
    return tuple(_through(first, second) for first, second in zip(outer_part, inner))


def placed(wiring: Wiring, index: Array, shape: Shape) -> Wiring:
    """The wiring of a part of a tensor as wiring of the whole.

    ``index[*part]`` is each element's number in the whole of ``shape``; a part that is a box keeps its axes.
    """
    starts = offsets_in(index, shape)
    if starts is not None and len(wiring) == len(shape):
        return tuple(_moved(field, field.out + start, n) for field, start, n in zip(wiring, starts, shape))
    (flat,) = _flat(wiring)
    return (_moved(flat, index.reshape(-1)[flat.out], prod(shape)),)


def offsets_in(index: Array, shape: Shape) -> Shape | None:
    """Where a box starts whose elements have these numbers in a tensor of ``shape``; None if it is no such box."""
    if index.ndim != len(shape):
        return None
    starts = tuple(int(start) for start in np.unravel_index(index.flat[0], shape))
    box = tuple(slice(start, start + n) for start, n in zip(starts, index.shape))
    expected = np.arange(prod(shape)).reshape(shape)[box]
    return starts if np.array_equal(index, expected) else None


def outer(factors: Sequence[Array]) -> Array:
    """The product of one vector for each axis, as a tensor."""
    return reduce(np.multiply.outer, factors)


class BoxSums:
    """Sums of a tensor over boxes, from running sums: each costs the same however large the box."""

    def __init__(self, values: Array) -> None:
        running = np.pad(values.astype(np.int64), [(1, 0)] * values.ndim)
        for axis in range(values.ndim):
            running = running.cumsum(axis)
        self._running = running

    def over(self, intervals: Sequence[Sequence[Interval]]) -> Array:
        """The sums over all boxes made of one interval of each axis, ``[intervals of axis 0, of axis 1, ...]``."""
        ends = [np.asarray(along, dtype=np.int64).reshape(-1, 2) for along in intervals]
        total: Any = 0
        for corner in product((0, 1), repeat=len(ends)):
            sign = (-1) ** (len(ends) - sum(corner))
            total = total + sign * self._running[np.ix_(*(end[:, side] for end, side in zip(ends, corner)))]
        return np.asarray(total)


def common(fields: Sequence[Field], start: int, stop: int) -> Array:
    """The source positions that outputs ``start`` to ``stop - 1`` see in each of several fields."""
    seen: Iterator[Array] = (field.seen(start, stop) for field in fields)
    return reduce(lambda some, more: np.intersect1d(some, more, assume_unique=True), seen)


def covers(one: Wiring, other: Wiring) -> bool:
    """Whether all that ``other`` connects, ``one`` connects too; may say no where that would take long to tell."""
    return len(one) == len(other) and all(_covers(wide, narrow) for wide, narrow in zip(one, other))


def merged(wirings: Sequence[Wiring]) -> list[Wiring]:
    """The same connections by fewer wirings: those that differ along one axis alone (tiles side by side) are one."""
    kept = list(wirings)
    while True:
        for (i, one), (j, other) in combinations(enumerate(kept), 2):
            both = _both(one, other)
            if both is not None:
                kept[i] = both
                del kept[j]
                break
        else:
            return kept


def _both(one: Wiring, other: Wiring) -> Wiring | None:
    if len(one) != len(other):
        return None
    (axis, *others) = [k for k, pair in enumerate(zip(one, other)) if not _equal(*pair)] or [0]
    first, second = one[axis], other[axis]
    alike = (first.outputs, first.sources) == (second.outputs, second.sources)
    if others or not alike or not (isinstance(first, Pairs) and isinstance(second, Pairs)):
        return None
    out, source = (np.concatenate([getattr(each, side) for each in (first, second)]) for side in ("out", "source"))
    return (*one[:axis], Pairs.of(first.outputs, first.sources, out, source), *one[axis + 1 :])


def _equal(one: Field, other: Field) -> bool:
    alike = type(one) is type(other) and (one.outputs, one.sources) == (other.outputs, other.sources)
    return alike and all(np.array_equal(getattr(one, side), getattr(other, side)) for side in ("out", "source"))


def listed(wiring: Wiring) -> Pairs:
    """The wiring element by element, both sides row-major."""
    (flat,) = _flat(wiring)
    return flat if isinstance(flat, Pairs) else flat.listed()


def _covers(wide: Field, narrow: Field) -> bool:
    if (wide.outputs, wide.sources) != (narrow.outputs, narrow.sources):
        return False
    if isinstance(wide, Every):
        return bool(np.isin(narrow.out, wide.out).all() and np.isin(narrow.source, wide.source).all())
    if isinstance(narrow, Every):
        return False
    keys, more = (field.out * field.sources + field.source for field in (wide, narrow))
    return bool(np.isin(more, keys, assume_unique=True).all())


def _through(first: Field, second: Field) -> Field:
    if isinstance(second, Pairs) and second.is_identity:
        return first
    if isinstance(first, Every):
        if isinstance(second, Every):
            met = np.isin(first.source, second.out).any()
            seen = second.source if met else second.source[:0]
        else:
            seen = np.unique(second.source[np.isin(second.out, first.source)])
        return Every(first.outputs, second.sources, first.out, seen)
    if isinstance(second, Every):
        reached = np.unique(first.out[np.isin(first.source, second.out)])
        return Every(first.outputs, second.sources, reached, second.source)
    starts = np.searchsorted(second.out, first.source, "left")
    lengths = np.searchsorted(second.out, first.source, "right") - starts
    if lengths.sum() > _MOST_PAIRS:
        raise TooManyPairs
    # Each pair of the first is repeated for each pair of the second that it leads to: starts, starts + 1, ...
    step = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
    source = second.source[np.repeat(starts, lengths) + step]
    return Pairs.of(first.outputs, second.sources, np.repeat(first.out, lengths), source)


def _moved(field: Field, out: Array, outputs: int) -> Field:
    """The same sources for outputs that are numbered differently."""
    if isinstance(field, Every):
        return Every(outputs, field.sources, np.sort(out), field.source)
    order = np.argsort(out, kind="stable")
    return Pairs(outputs, field.sources, out[order], field.source[order])


def _flat(wiring: Wiring) -> Wiring:
    """One field over all elements, row-major."""
    return (reduce(_side_by_side, wiring),)


def _side_by_side(slow: Field, fast: Field) -> Field:
    """Two axes as one: ``slow`` counts in steps of the other's length."""
    outputs, sources = slow.outputs * fast.outputs, slow.sources * fast.sources
    if isinstance(slow, Every) and isinstance(fast, Every):
        out = np.add.outer(slow.out * fast.outputs, fast.out).reshape(-1)
        source = np.add.outer(slow.source * fast.sources, fast.source).reshape(-1)
        return Every(outputs, sources, out, source)
    one, two = (field if isinstance(field, Pairs) else field.listed() for field in (slow, fast))
    if len(one.out) * len(two.out) > _MOST_PAIRS:
        raise TooManyPairs
    out = np.add.outer(one.out * two.outputs, two.out).reshape(-1)
    source = np.add.outer(one.source * two.sources, two.source).reshape(-1)
    return Pairs.of(outputs, sources, out, source)
