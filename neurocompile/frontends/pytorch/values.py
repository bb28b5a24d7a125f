"""Tensors of a trace as terms: which axis is time, which the batch, and what every step of one sample computes.

A :class:`Value` with an axis of time holds one term a step; without one it holds one term. Numbers that come of no
input are arrays. What only moves numbers about moves terms along time, and becomes a :class:`Pick` along features.
"""

# mypy: disable-error-code="index,no-any-return"
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

import numpy as np

from neurocompile.frontends.pytorch.axes import Axes
from neurocompile.frontends.pytorch.terms import Term, Terms
from neurocompile.ir.ops import Array, Concat, Conv, Linear, Reshape, SumPool, Upsample

__all__ = ["Operand", "Refused", "Value", "aligned", "joined", "picked", "shown", "spread"]

Shape = tuple[int, ...]
# A matrix of more numbers than this is not made of moves of single numbers.
_LARGEST_MATRIX = 1 << 24


class Refused(Exception):
    """Something that this operation, used so, cannot be lowered for."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


FIX_HOST = "put it into a module whose class is marked with @neurocompile.host: a host computes it then"
FIX_MIXED = "keep time and batch apart from the features"


@dataclass(frozen=True)
class Value:
    """A tensor: the names of its axes and their sizes; a term, or one for each step along its axis of time."""

    axes: Axes
    shape: Shape
    content: Term | tuple[Term, ...]

    @property
    def timed(self) -> bool:
        """Whether it has an axis of time."""
        return isinstance(self.content, tuple)

    @property
    def steps(self) -> tuple[Term, ...]:
        """Its terms: one, or one for each step."""
        return self.content if isinstance(self.content, tuple) else (self.content,)

    @property
    def features(self) -> Shape:
        """The sizes of its feature axes: the shape of its terms."""
        return tuple(n for name, n in zip(self.axes, self.shape) if name == "F")

    def mapped(self, function: Callable[[Term], Term], axes: Axes | None = None, shape: Shape | None = None) -> Value:
        """The same with each term changed."""
        content = tuple(map(function, self.content)) if isinstance(self.content, tuple) else function(self.content)
        return Value(axes or self.axes, self.shape if shape is None else shape, content)


Operand: TypeAlias = Value | Array


def shown(axes: Axes) -> str:
    """The names of axes as messages give them."""
    return "[" + ", ".join({"F": "feature"}.get(name, name) for name in axes) + "]"


def is_time(name: str) -> bool:
    """Whether an axis has time in it."""
    return "T" in name


# -- bringing operands together ----------------------------------------------------------------------------------------


def aligned(terms: Terms, operands: Sequence[Operand]) -> tuple[Axes, Shape, list[list[Term]]]:
    """Operands of an element-wise operation with the same axes: for each the terms of all steps, in one shape.

    Raises:
        Refused: if time, batch and features meet.
    """
    values = [x for x in operands if isinstance(x, Value)]
    rank = max(np.ndim(x) if not isinstance(x, Value) else len(x.axes) for x in operands)
    names: list[str] = []
    sizes: list[int] = []
    for position in range(-rank, 0):
        here = [(x.axes[position], x.shape[position]) for x in values if -position <= len(x.axes)]
        kinds = {name for name, _ in here if name != "1"}
        wide = [n for name, n in here if n != 1]
        if len(kinds) > 1:
            narrow = {name for name, n in here if n == 1 and name == "F"}
            kinds = kinds - narrow or kinds
        if len(kinds) > 1:
            both = " and ".join(sorted(shown((k,)) for k in kinds))
            raise Refused(f"it brings together the axes {both}", FIX_MIXED)
        numbers = [np.shape(x)[position] for x in operands if not isinstance(x, Value) and -position <= np.ndim(x)]
        name = kinds.pop() if kinds else "1"
        size = max([*wide, *numbers, *(n for _, n in here)], default=1)
        if name == "1" and size > 1:
            has_time = any(is_time(n) for x in values for n in x.axes) or "T" in names
            name = "T" if size == terms.timesteps and not has_time else "F"
        names.append(name)
        sizes.append(size)
    axes, shape = tuple(names), tuple(sizes)
    time = next((i for i, name in enumerate(axes) if is_time(name)), None)
    count = 1 if time is None else _steps_in(axes[time], shape, time, values, terms)
    features = tuple(n for name, n in zip(axes, shape) if name == "F")
    made = []
    for x in operands:
        if isinstance(x, Value):
            fitted = [_fitted(terms, x, term, axes, features) for term in x.steps]
            made.append(fitted * count if len(fitted) == 1 else fitted)
        else:
            made.append(_constants(terms, np.asarray(x), axes, shape, count, features))
        if len(made[-1]) != count:
            raise Refused(f"it brings together {len(made[-1])} and {count} steps", FIX_MIXED)
    return axes, shape, made


def _steps_in(name: str, shape: Shape, at: int, values: Sequence[Value], terms: Terms) -> int:
    counts = [len(x.content) for x in values if isinstance(x.content, tuple)]
    if counts:
        return max(counts)
    return shape[at] if name == "T" else terms.timesteps


def _fitted(terms: Terms, x: Value, term: Term, axes: Axes, features: Shape) -> Term:
    """A term of a value as one of more axes."""
    rank = len(axes)
    own: list[int] = []
    for position in range(-rank, 0):
        if axes[position] == "F":
            own.append(x.shape[position] if -position <= len(x.axes) else 1)
    if tuple(own) != term.shape:
        term = terms.apply(Reshape(tuple(own)), term)
    return spread(terms, term, features)


def _constants(terms: Terms, x: Array, axes: Axes, shape: Shape, count: int, features: Shape) -> list[Term]:
    """Numbers beside values of these axes: one constant term a step."""
    x = np.asarray(x, np.float64).reshape((1,) * (len(axes) - x.ndim) + x.shape)
    found: list[Array] = [x] * count
    for position in reversed(range(len(axes))):
        name, size = axes[position], x.shape[position]
        if name == "F":
            continue
        if name in ("N", "1"):
            found = [_alike(part, position) for part in found]
        elif name == "T":
            found = [np.take(part, 0 if size == 1 else k, position) for k, part in enumerate(found)]
        elif size == 1:
            found = [np.take(part, 0, position) for part in found]
        else:  # time and batch folded together
            parts = []
            for k, part in enumerate(found):
                split = part.reshape(*part.shape[:position], *_folded(name, size, count), *part.shape[position + 1 :])
                own = np.take(split, k, position + (name == "NT"))
                parts.append(_alike(own, position))
            found = parts
    return [terms.constant(part, features) for part in found]


def _folded(name: str, size: int, count: int) -> tuple[int, int]:
    return (count, size // count) if name == "TN" else (size // count, count)


def _alike(x: Array, axis: int) -> Array:
    """An array without the axis of the batch, along which it must not differ."""
    first = np.take(x, 0, axis)
    if x.shape[axis] > 1 and not np.array_equal(
        x, np.broadcast_to(np.expand_dims(first, axis), x.shape), equal_nan=True
    ):
        raise Refused("it has other numbers for one sample than for another", "give every sample the same numbers")
    return first


def joined(terms: Terms, operands: Sequence[Operand]) -> list[Value]:
    """Operands of a concatenation or a stack, numbers among them as values of the same axes."""
    like = next(x for x in operands if isinstance(x, Value))
    made = []
    for x in operands:
        if isinstance(x, Value):
            made.append(x)
            continue
        x = np.asarray(x)
        if x.ndim != len(like.axes):
            raise Refused("it joins tensors of different ranks", "give them the same axes")
        count = next((n for n, name in zip(x.shape, like.axes) if name == "T"), len(like.steps))
        features = tuple(n for n, name in zip(x.shape, like.axes) if name == "F")
        content = _constants(terms, x, like.axes, x.shape, count, features)
        made.append(Value(like.axes, tuple(x.shape), tuple(content) if like.timed else content[0]))
    return made


# -- moving features ---------------------------------------------------------------------------------------------------


def spread(terms: Terms, term: Term, features: Shape) -> Term:
    """A term repeated along its feature axes of size one."""
    if term.shape == features:
        return term
    if term.is_constant:
        return terms.constant(term.data.constant, features)
    if len(term.shape) != len(features) or any(a not in (1, b) for a, b in zip(term.shape, features)):
        raise Refused(f"features of shape {list(term.shape)} do not fit {list(features)}", "give both the same shape")
    if term.shape[0] == features[0] and len(features) > 1:
        return terms.apply(Upsample(tuple(b // a for a, b in zip(term.shape[1:], features[1:]))), term)
    index = np.broadcast_to(np.arange(prod(term.shape)).reshape(term.shape), features)
    return picked(terms, term, index)


def picked(terms: Terms, term: Term, index: Array) -> Term:
    """The features at ``index`` (flat positions, -1 for nothing), in the shape of that."""
    shape = tuple(index.shape)
    size = prod(term.shape)
    if index.size == size and np.array_equal(index.ravel(), np.arange(size)):
        return terms.apply(Reshape(shape), term)
    if term.is_constant:
        flat = np.append(np.broadcast_to(term.data.constant, term.shape).ravel(), 0.0)
        return terms.constant(flat[index], shape)
    along = _along_axes(index, term.shape)
    if along is not None:
        made = _by_axes(terms, term, along)
        if made is not None:
            return made
    flat = index.ravel()
    if flat.size * size > _LARGEST_MATRIX:
        what = f"it moves {flat.size} of {size} features about, each by itself"
        raise Refused(
            what, "move whole channels, crop or pad; a chip has no wires for it that are cheaper than weights"
        )
    matrix = np.zeros((flat.size, size))
    used = flat >= 0
    matrix[np.flatnonzero(used), flat[used]] = 1.0
    made = terms.apply(Linear(matrix, None, matrix != 0), terms.apply(Reshape((size,)), term))
    return terms.apply(Reshape(shape), made)


def _along_axes(index: Array, before: Shape) -> list[Array] | None:
    """Positions along each axis, where what is picked is a grid of such (-1: nothing); None if it is not."""
    if index.ndim != len(before) or index.size == 0:
        return None
    inside = index >= 0
    places = np.unravel_index(np.where(inside, index, 0), before)
    found = []
    kept = np.ones(index.shape, bool)
    for axis, place in enumerate(places):
        others = tuple(a for a in range(index.ndim) if a != axis)
        here = inside.any(others)
        high = np.where(inside, place, -1).max(others)
        low = np.where(inside, place, before[axis]).min(others)
        if np.any(here & (high != low)):
            return None
        line = np.where(here, high, -1)
        found.append(line)
        kept &= np.expand_dims(line >= 0, others)
    return found if np.array_equal(kept, inside) else None


def _by_axes(terms: Terms, term: Term, along: list[Array]) -> Term | None:
    """Channels that are selected, and places that are padded, cropped, skipped or repeated."""
    rank = len(along) - 1
    channels = along[0]
    if rank and not all(_is_line(line, n) for line, n in zip(along[1:], term.shape[1:])):
        return None
    if not np.array_equal(channels, np.arange(term.shape[0])):
        matrix = np.zeros((len(channels), term.shape[0]))
        used = channels >= 0
        matrix[np.flatnonzero(used), channels[used]] = 1.0
        if not rank:
            term = terms.apply(Linear(matrix, None, matrix != 0), term)
        elif rank <= 2:
            one = (1,) * rank
            term = terms.apply(Conv(matrix.reshape(*matrix.shape, *one), None, one, ((0, 0),) * rank, one, 1), term)
        else:
            return None
    if not rank or all(np.array_equal(line, np.arange(n)) for line, n in zip(along[1:], term.shape[1:])):
        return term
    if rank > 2:
        return None
    repeats = [_repeats(line, n) for line, n in zip(along[1:], term.shape[1:])]
    if all(repeats):
        return terms.apply(Upsample(tuple(int(r) for r in repeats if r)), term)
    geometry = [_stride(line, n) for line, n in zip(along[1:], term.shape[1:])]
    if any(g is None for g in geometry):
        return None
    kernels, strides, pads = zip(*(g for g in geometry if g is not None))
    if all(k == 1 for k in kernels):
        return terms.apply(SumPool(tuple(kernels), tuple(strides), tuple(pads)), term)
    weight = np.zeros((term.shape[0], 1, *kernels))
    corner = tuple(first for first, _ in (_corner(line) for line in along[1:]))
    weight[(slice(None), 0, *corner)] = 1.0
    return terms.apply(Conv(weight, None, tuple(strides), tuple(pads), (1,) * rank, term.shape[0]), term)


def _is_line(line: Array, size: int) -> bool:
    return np.array_equal(line, np.arange(size)) or bool(_repeats(line, size)) or _stride(line, size) is not None


def _repeats(line: Array, size: int) -> int:
    """How often each place is repeated; 0 if it is something else."""
    factor, rest = divmod(len(line), size)
    return factor if rest == 0 and factor and np.array_equal(line, np.arange(size).repeat(factor)) else 0


def _corner(line: Array) -> tuple[int, int]:
    used = line[line >= 0]
    return (int(used[0]), int(used[-1])) if (line >= 0).all() else (0, int(used[-1]))


def _stride(line: Array, size: int) -> tuple[int, int, tuple[int, int]] | None:
    """Kernel, stride and padding of a window that gives just these places: one place, or one after cropped ones."""
    used = np.flatnonzero(line >= 0)
    if not used.size or not np.array_equal(used, np.arange(used[0], used[-1] + 1)):
        return None
    values = line[used]
    steps = np.diff(values)
    stride = int(steps[0]) if steps.size else 1
    if stride < 1 or np.any(steps != stride):
        return None
    before, after = int(used[0]), int(len(line) - 1 - used[-1])
    if before or after:
        if stride != 1 or values[0] != 0 or values[-1] != size - 1:
            return None
        return 1, 1, (before, after)
    first = int(values[0])
    beyond = size - 1 - int(values[-1])
    if first == 0 and beyond < stride:
        return 1, stride, (0, 0)
    return first + 1 + (beyond if stride == 1 else 0), stride, (0, 0)


def concatenated(terms: Terms, parts: Sequence[Term], axis: int) -> Term:
    """Features one after the other."""
    return parts[0] if len(parts) == 1 else terms.apply(Concat(axis), *parts)


def with_axes(x: Value, axes: Axes, shape: Shape) -> Value:
    """The same terms under other names of axes."""
    return replace(x, axes=axes, shape=shape)
