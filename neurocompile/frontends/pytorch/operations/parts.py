"""Parts of tensors, and tensors joined: slices, picks, moves, padding, cat and stack."""

# mypy: disable-error-code="arg-type,index,misc,no-any-return"
from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch

from neurocompile.frontends.pytorch.axes import Axes
from neurocompile.frontends.pytorch.operations.elementwise import mul, numeric, where
from neurocompile.frontends.pytorch.operations.lowering import Ints, Lowering
from neurocompile.frontends.pytorch.operations.shapes import drop_axis, mapped, unsqueeze
from neurocompile.frontends.pytorch.terms import Term
from neurocompile.frontends.pytorch.values import (
    FIX_MIXED,
    Refused,
    Value,
    concatenated,
    is_time,
    joined,
    picked,
    shown,
)
from neurocompile.frontends.pytorch.vocabulary import OPERATIONS
from neurocompile.ir.ops import Array, Reshape

__all__ = ["HANDLERS"]


def _along(low: Lowering, x: Value, dim: int, places: Sequence[int]) -> Value:
    """The places along an axis, in this order."""
    at = dim % len(x.axes)
    name, size = x.axes[at], x.shape[at]
    shape = (*x.shape[:at], len(places), *x.shape[at + 1 :])
    if list(places) == list(range(size)):
        return x
    if name == "T":
        return Value(x.axes, shape, tuple(x.steps[p] for p in places))
    if name == "TN":
        batch = size // len(x.steps)
        whole = [p // batch for p in places[::batch]]
        if list(places) == [w * batch + n for w in whole for n in range(batch)]:
            return Value(x.axes, shape, tuple(x.steps[w] for w in whole))
    if name == "F":
        axis = x.axes[:at].count("F")
        index = np.arange(prod(x.features)).reshape(x.features).take(list(places), axis)
        return x.mapped(lambda t: picked(low.terms, t, index), x.axes, shape)
    if name == "N":
        what = "it takes a part of the batch, or changes the order of its samples"
        raise Refused(what, "treat every sample alike: a chip sees one at a time")
    raise Refused(f"it takes a part of the axis {shown((name,))}", FIX_MIXED)


def select(low: Lowering, x: Value, dim: int, index: int) -> Value:
    at = dim % len(x.axes)
    return drop_axis(low, _along(low, x, at, [index % x.shape[at]]), at)


def slice_(low: Lowering, x: Value, dim: int, start: Any, end: Any, step: int) -> Value:
    return _along(low, x, dim, range(x.shape[dim % len(x.axes)])[slice(start, end, step)])


def flip(low: Lowering, x: Value, dims: Ints) -> Value:
    for dim in dims:
        x = _along(low, x, dim, range(x.shape[dim % len(x.axes)])[::-1])
    return x


def roll(low: Lowering, x: Value, shifts: Ints, dims: Ints) -> Value:
    if not dims:
        raise Refused("it rolls all axes as one", "name the axes: dims=...")
    for shift, dim in zip(shifts, dims):
        size = x.shape[dim % len(x.axes)]
        x = _along(low, x, dim, [(p - shift) % size for p in range(size)])
    return x


@dataclass(frozen=True)
class Picked:
    """The numbers of a tensor where a mask is 1, until they are written where it is."""

    value: Any
    mask: Value

    def placed(self, low: Lowering, mask: Value, base: Any) -> Value:
        """``base`` with these numbers where the mask is 1."""
        if mask.content != self.mask.content:
            raise Refused("it writes by another mask than it picked by", "use torch.where")
        return where(low, mask, self.value, base)


def masked_scatter(low: Lowering, x: Any, mask: Any, source: Any) -> Value:
    if not isinstance(mask, Value) or not isinstance(source, Picked):
        raise Refused("it writes where a tensor that depends on the input says", "use torch.where")
    return source.placed(low, mask, x)


def index(low: Lowering, x: Any, places: Sequence[Any]) -> Any:
    if len(places) == 1 and isinstance(places[0], Value) and all(t.binary for t in places[0].steps):
        return Picked(x, places[0])
    if not isinstance(x, Value) or any(isinstance(p, Value) for p in places):
        raise Refused("it picks by an index that depends on the input", "pick by numbers that are known")
    chosen = [(i, p) for i, p in enumerate(places) if p is not None]
    if len(chosen) == 1:
        ((at, where_),) = chosen
        if where_.dtype == torch.bool and where_.ndim == 1:
            where_ = where_.nonzero().ravel()
        if where_.dtype != torch.bool and where_.ndim == 1:
            size = x.shape[at]
            return _along(low, x, at, [int(p) % size for p in where_])
    positions = _positions(low, x, lambda t: OPERATIONS["index"].run(t, list(places)))
    return _gathered(low, x, positions)


def index_select(low: Lowering, x: Any, dim: int, places: Any) -> Value:
    if isinstance(places, Value):
        raise Refused("it picks by an index that depends on the input", "pick by numbers that are known")
    return _along(low, x, dim, [int(p) for p in places])


def _positions(low: Lowering, x: Value, move: Callable[[torch.Tensor], torch.Tensor]) -> tuple[Array, Axes]:
    """Where each feature comes from, for a move that leaves time and batch alone; and the axes after it."""
    lead = [i for i, name in enumerate(x.axes) if name != "F"]
    if lead != list(range(len(lead))):
        raise Refused(f"it moves features of axes {shown(x.axes)}", "bring time and batch to the front")
    shape = (*(1 for _ in lead), *x.features)
    moved = move(torch.arange(prod(x.features)).reshape(shape).double()).long().numpy()
    if moved.shape[: len(lead)] != (1,) * len(lead):
        raise Refused("it moves features across time or batch", FIX_MIXED)
    return moved.reshape(moved.shape[len(lead) :]), x.axes[: len(lead)]


def _gathered(low: Lowering, x: Value, positions: tuple[Array, Axes]) -> Value:
    places, lead = positions
    axes = (*lead, *("F",) * places.ndim)
    shape = (*x.shape[: len(lead)], *places.shape)
    return x.mapped(lambda t: picked(low.terms, t, places), axes, shape)


def _moved(name: str) -> Callable[..., Value]:
    """An operation that moves features alone: where each goes is told by moving numbers."""

    def handler(low: Lowering, x: Value, *args: Any) -> Value:
        return _gathered(low, x, _positions(low, x, lambda t: OPERATIONS[name].run(t, *args)))

    return handler


def _masked(name: str) -> Callable[..., Value]:
    """tril and triu."""

    def handler(low: Lowering, x: Value, diagonal: int) -> Value:
        mask = OPERATIONS[name].run(torch.ones(x.shape[-2:], dtype=torch.float64), diagonal)
        return mul(low, x, mask)

    return handler


def pad(low: Lowering, x: Value, sizes: Ints, value: float) -> Value:
    pairs = list(zip(sizes[::2], sizes[1::2]))
    if value != 0 and any(n for pair in pairs for n in pair):
        raise Refused(f"it pads with {value:g}", "pad with zeros")
    for back, (before, after) in enumerate(pairs):
        if not (before or after):
            continue
        at = len(x.axes) - 1 - back
        if x.axes[at] == "T":
            nothing = low.terms.constant(np.zeros(()), x.features)
            steps = (*(nothing,) * before, *x.steps, *(nothing,) * after)
            steps = steps[max(-before, 0) : len(steps) - max(-after, 0)]
            x = Value(x.axes, (*x.shape[:at], len(steps), *x.shape[at + 1 :]), steps)
            continue
        if x.axes[at] != "F":
            raise Refused(f"it pads the axis {shown((x.axes[at],))}", "pad features, or time")
        axis = x.axes[:at].count("F")
        places = np.arange(prod(x.features)).reshape(x.features)
        widths = [(0, 0)] * places.ndim
        widths[axis] = (max(before, 0), max(after, 0))
        padded = np.pad(places, widths, constant_values=-1)
        cut = [slice(None)] * places.ndim
        cut[axis] = slice(max(-before, 0), padded.shape[axis] - max(-after, 0))
        padded = padded[tuple(cut)]
        shape = (*x.shape[:at], padded.shape[axis], *x.shape[at + 1 :])
        x = x.mapped(lambda t, padded=padded: picked(low.terms, t, padded), x.axes, shape)
    return x


def cat(low: Lowering, tensors: Sequence[Any], dim: int) -> Value:
    tensors = [x for x in tensors if isinstance(x, Value) or x.numel()]
    values = joined(low.terms, [x if isinstance(x, Value) else numeric(x) for x in tensors])
    at = dim % len(values[0].axes)
    values = _same_axes(low, values, at)
    axes = values[0].axes
    name = axes[at]
    shape = (*values[0].shape[:at], sum(v.shape[at] for v in values), *values[0].shape[at + 1 :])
    if name in ("T", "TN"):
        return Value(axes, shape, tuple(t for v in values for t in v.steps))
    untimed = not any(v.timed for v in values)
    if untimed and (name == "1" or (name == "N" and len(values) == low.timesteps)):
        renamed = "T" if name == "1" else "TN"
        return Value((*axes[:at], renamed, *axes[at + 1 :]), shape, tuple(v.steps[0] for v in values))
    if name != "F":
        raise Refused(f"it concatenates along the axis {shown((name,))}", "concatenate features, or steps in time")
    axis = axes[:at].count("F")
    count = max(len(v.steps) for v in values)
    columns = [v.steps if len(v.steps) == count else v.steps * count for v in values]
    made = tuple(concatenated(low.terms, parts, axis) for parts in zip(*columns))
    return Value(axes, shape, made if values[0].timed else made[0])


def _same_axes(low: Lowering, values: list[Value], at: int) -> list[Value]:
    """Axes of size one beside others' axes of time or features are such."""
    names = []
    for position in range(len(values[0].axes)):
        kinds = {v.axes[position] for v in values} - {"1"}
        if len(kinds) > 1:
            raise Refused(f"it joins axes {shown(values[0].axes)} and {shown(values[1].axes)}", FIX_MIXED)
        names.append(kinds.pop() if kinds else "1")
    made = []
    for v in values:
        if len(v.axes) != len(names):
            raise Refused("it joins tensors of different ranks", "give them the same axes")
        content: Any = v.content
        if any(is_time(n) for n in names) and not v.timed:
            content = (content,)
        grown = tuple(n for name, n in zip(names, v.shape) if name == "F")
        content = mapped(content, lambda t, grown=grown: low.terms.apply(Reshape(grown), t) if t.shape != grown else t)
        time = next((i for i, n in enumerate(names) if is_time(n)), None)
        one = time is not None and time != at and len(content) == 1 and v.shape[time] == 1 and low.timesteps > 1
        if one and any(w.shape[time] != 1 for w in values):
            raise Refused("it joins one step and many", "give both the same steps")
        made.append(Value(tuple(names), v.shape, content))
    return made


def stack(low: Lowering, tensors: Sequence[Any], dim: int) -> Value:
    values = joined(low.terms, [x if isinstance(x, Value) else numeric(x) for x in tensors])
    at = dim % (len(values[0].axes) + 1)
    if not any(v.timed for v in values) and _in_time(low, [v.steps[0] for v in values]):
        like = next(x for x in tensors if isinstance(x, Value))
        axes = (*like.axes[:at], "T", *like.axes[at:])
        shape = (*like.shape[:at], len(values), *like.shape[at:])
        return Value(axes, shape, tuple(v.steps[0] for v in values))
    if (
        any(v.timed for v in values)
        and len(values) == low.timesteps > 1
        and all(v.steps == values[0].steps for v in values)
    ):
        raise Refused(
            "it makes a second axis of time", "repeat a tensor over time only where it has none, or check the layout"
        )
    return cat(low, [as_feature(low, unsqueeze(low, v, at), at) for v in values], at)


def as_feature(low: Lowering, x: Value, at: int) -> Value:
    axes = (*x.axes[:at], "F", *x.axes[at + 1 :])
    features = tuple(n for name, n in zip(axes, x.shape) if name == "F")
    return x.mapped(lambda t: low.terms.apply(Reshape(features), t), axes, x.shape)


def _in_time(low: Lowering, terms: Sequence[Term]) -> bool:
    """Whether tensors that are stacked are steps, in their order."""
    if len(terms) == low.timesteps and all(t is terms[0] for t in terms):
        return True
    steps = [t.step for t in terms if not t.is_constant]
    if len(terms) == 1:
        return low.timesteps == 1
    return all(a < b for a, b in itertools.pairwise(steps)) or len(terms) == low.timesteps


HANDLERS: dict[str, Callable[..., Any]] = {
    "select": select,
    "slice": slice_,
    "flip": flip,
    "roll": roll,
    "index": index,
    "index_select": index_select,
    "pixel_shuffle": _moved("pixel_shuffle"),
    "pixel_unshuffle": _moved("pixel_unshuffle"),
    "channel_shuffle": _moved("channel_shuffle"),
    "unfold": _moved("unfold"),
    "diagonal": _moved("diagonal"),
    "tril": _masked("tril"),
    "triu": _masked("triu"),
    "pad": pad,
    "cat": cat,
    "stack": stack,
    "masked_scatter": masked_scatter,
}
