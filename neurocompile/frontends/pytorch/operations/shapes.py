"""Operations that name axes anew: reshapes, permutations, copies along an axis."""

# mypy: disable-error-code="arg-type,index,misc,no-any-return"
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from neurocompile.frontends.pytorch.axes import MixedAxes, regroup
from neurocompile.frontends.pytorch.operations.lowering import Ints, Lowering
from neurocompile.frontends.pytorch.terms import Term
from neurocompile.frontends.pytorch.values import Refused, Value, is_time, picked, shown, spread
from neurocompile.ir.ops import Reshape

__all__ = ["HANDLERS"]


def _sizes(low: Lowering, x: Value) -> int:
    """How many steps an axis of time and batch folded together holds."""
    return len(x.content) if isinstance(x.content, tuple) else low.timesteps


def _time_beside_channels(x: Value, after: tuple[int, ...]) -> Value | None:
    """Time and channels made one axis "TF", or apart again: so a norm of one step is mapped over all of them."""
    for at, name in enumerate(x.axes):
        if x.axes[at : at + 2] == ("T", "F"):
            joined_ = (*x.shape[:at], x.shape[at] * x.shape[at + 1], *x.shape[at + 2 :])
            if after == joined_ and x.shape[at] > 1 < x.shape[at + 1]:
                return Value((*x.axes[:at], "TF", *x.axes[at + 2 :]), after, x.content)
        if name == "TF":
            steps = len(x.steps)
            if after == (*x.shape[:at], steps, x.shape[at] // steps, *x.shape[at + 1 :]):
                return Value((*x.axes[:at], "T", "F", *x.axes[at + 1 :]), after, x.content)
    return None


@dataclass(frozen=True)
class Merged:
    """A value of which all axes but the last (or the first) were made one, between two reshapes around a product."""

    value: Value
    shape: tuple[int, ...]
    last: bool


def _merged(low: Lowering, x: Value, after: tuple[int, ...]) -> Merged | None:
    """A reshape of all axes but one into one, beside axes of size one."""
    for end in (0, -1):
        while len(x.axes) > 1 and x.shape[end] == 1 and x.axes[end] in ("1", "F") and prod(x.shape) > 1:
            x = drop_axis(low, x, end % len(x.axes))
    sizes = tuple(n for n in after if n != 1) or (1,)
    whole = prod(x.shape)
    if len(sizes) <= 2 and sizes[-1] == x.shape[-1] and prod(sizes) == whole and x.axes[-1] == "F":
        return Merged(x, after, True)
    alone = after == (1, whole) and x.shape[0] == 1  # of one step
    if alone or (len(sizes) <= 2 and sizes[0] == x.shape[0] and prod(sizes) == whole):
        return Merged(x, after, False)
    return None


def _unmerged(low: Lowering, x: Merged, size: Ints) -> Any:
    """A reshape of a merged value: back into the axes that it had, or into others of size one."""
    after = _resolved(x.shape, size)
    kept = x.value.shape
    if prod(after) == prod(kept):
        plain = tuple(n for n in after if n != 1)
        if plain == tuple(n for n in kept if n != 1):
            return view(low, x.value, after)
        try:
            return view(low, x.value, after)
        except MixedAxes:
            pass
        if len(plain) <= 2:
            return Merged(x.value, after, x.last)
    raise MixedAxes(f"a reshape of axes {shown(x.value.axes)} to {list(after)}")


def view(low: Lowering, x: Any, size: Ints) -> Any:
    if isinstance(x, Merged):
        return _unmerged(low, x, size)
    after = _resolved(x.shape, size)
    if after == x.shape:
        return x
    beside = _time_beside_channels(x, after)
    if beside is not None:
        return beside
    try:
        axes = regroup(x.axes, x.shape, after, _sizes(low, x))
    except MixedAxes:
        merged = _merged(low, x, after)
        if merged is None:
            raise
        return merged
    features = tuple(n for name, n in zip(axes, after) if name == "F")
    if prod(features) != prod(x.features):
        raise MixedAxes(f"a reshape of axes {shown(x.axes)} from {list(x.shape)} to {list(after)}")
    made = x.mapped(lambda t: low.terms.apply(Reshape(features), t) if features != t.shape else t, axes, after)
    return _timed(made)


def contiguous(low: Lowering, x: Any) -> Any:
    """The same numbers, whatever their order in memory."""
    return x


def _timed(x: Value) -> Value:
    """A value whose content is one term where no axis of time is left (T = 1)."""
    has = any(is_time(name) for name in x.axes)
    if has and not isinstance(x.content, tuple):
        return replace(x, content=(x.content,))
    if not has and isinstance(x.content, tuple):
        if len(x.content) > 1:
            raise MixedAxes("a reshape that loses the axis of time")
        return replace(x, content=x.content[0])
    return x


def _resolved(before: Sequence[int], size: Ints) -> tuple[int, ...]:
    if -1 not in size:
        return tuple(size)
    known = -prod(size)
    return tuple(prod(before) // known if n == -1 else n for n in size)


def permute(low: Lowering, x: Any, dims: Ints) -> Any:
    if isinstance(x, Merged):
        return turn_merged(low, x, dims)
    order = [d % len(x.axes) for d in dims]
    axes, shape = tuple(x.axes[i] for i in order), tuple(x.shape[i] for i in order)
    kept = [i for i in order if x.axes[i] in ("F", "TF")]
    if kept == sorted(kept):
        return replace(x, axes=axes, shape=shape)
    if "TF" in axes:
        raise MixedAxes("a permute of time and features that were made one axis")
    rank = {axis: n for n, axis in enumerate(sorted(kept))}
    turned = [rank[axis] for axis in kept]
    index = np.arange(prod(x.features)).reshape(x.features).transpose(turned)
    return x.mapped(lambda t: picked(low.terms, t, index), axes, shape)


def turn_merged(low: Lowering, x: Merged, dims: Ints) -> Merged:
    """A merged value whose two axes (beside those of size one) change places, or do not."""
    shape = tuple(x.shape[d] for d in dims)
    wide = [d % len(x.shape) for d in dims if x.shape[d] != 1]
    if wide == sorted(wide):
        return Merged(x.value, shape, x.last)
    rank = len(x.value.axes)
    order = [rank - 1, *range(rank - 1)] if x.last else [*range(1, rank), 0]
    return Merged(permute(low, x.value, order), shape, not x.last)


def unsqueeze(low: Lowering, x: Any, dim: int) -> Any:
    if isinstance(x, Merged):
        at = dim % (len(x.shape) + 1)
        return Merged(x.value, (*x.shape[:at], 1, *x.shape[at:]), x.last)
    at = dim % (len(x.axes) + 1)
    return replace(x, axes=(*x.axes[:at], "1", *x.axes[at:]), shape=(*x.shape[:at], 1, *x.shape[at:]))


def squeeze(low: Lowering, x: Any, dims: Ints | None = None) -> Any:
    if isinstance(x, Merged):
        gone_ = [i for i, n in enumerate(x.shape) if n == 1 and (dims is None or i in [d % len(x.shape) for d in dims])]
        return Merged(x.value, tuple(n for i, n in enumerate(x.shape) if i not in gone_), x.last)
    chosen = set(range(len(x.axes))) if dims is None else {d % len(x.axes) for d in dims}
    gone = [i for i in chosen if x.shape[i] == 1 and x.axes[i] != "N"]
    for at in sorted(gone, reverse=True):
        x = drop_axis(low, x, at)
    return x


def drop_axis(low: Lowering, x: Value, at: int) -> Value:
    """A value without an axis of size one."""
    axes, shape = (*x.axes[:at], *x.axes[at + 1 :]), (*x.shape[:at], *x.shape[at + 1 :])
    if is_time(x.axes[at]):
        return Value(axes, shape, x.steps[0])
    if x.axes[at] == "F":
        features = tuple(n for name, n in zip(axes, shape) if name == "F")
        return x.mapped(lambda t: low.terms.apply(Reshape(features), t), axes, shape)
    return replace(x, axes=axes, shape=shape)


def expand(low: Lowering, x: Value, size: Ints) -> Value:
    new = len(size) - len(x.axes)
    axes, before = ["1"] * new + list(x.axes), [1] * new + list(x.shape)
    after = [b if n == -1 else n for n, b in zip(size, before)]
    return _repeated(low, x, axes, before, after)


def repeat(low: Lowering, x: Value, sizes: Ints) -> Value:
    new = len(sizes) - len(x.axes)
    axes, before = ["1"] * new + list(x.axes), [1] * new + list(x.shape)
    after = [b * n for n, b in zip(sizes, before)]
    return _repeated(low, x, axes, before, after)


def _repeated(low: Lowering, x: Value, axes: list[str], before: list[int], after: list[int]) -> Value:
    content: Any = x.content
    steps = low.timesteps
    features_before = [n for name, n in zip(axes, before) if name == "F"]
    has_time = x.timed
    for i, (old, size) in enumerate(zip(before, after)):
        if size == old or axes[i] == "F":
            continue
        if axes[i] == "1" and not has_time and size == steps:
            axes[i], content, has_time = "T", (content,) * steps, True
        elif axes[i] == "1" and old == 1:
            at = axes[:i].count("F")
            axes[i] = "F"
            features_before.insert(at, 1)
            grown = tuple(features_before)
            content = mapped(content, lambda t, grown=grown: low.terms.apply(Reshape(grown), t))
        elif axes[i] == "N" and not has_time and size == steps * old:
            axes[i], content, has_time = "TN", (content,) * steps, True
        elif axes[i] == "T" and size % old == 0:
            content = content * (size // old)
        else:
            what = f"it repeats the axis {shown((axes[i],))} {size // max(old, 1)} times"
            raise Refused(what, "only time may be made by repeating, and features copied")
    if steps == 1 and not has_time and axes[0] == "1":
        axes[0], content = "T", (content,)
    target = tuple(n for name, n in zip(axes, after) if name == "F")
    tiles = [b // a for a, b in zip(features_before, target)]

    def tiled(term: Term) -> Term:
        if term.shape == target:
            return term
        if all(a in (1, b) for a, b in zip(term.shape, target)):
            return spread(low.terms, term, target)
        index = np.tile(np.arange(prod(term.shape)).reshape(term.shape), tiles)
        return picked(low.terms, term, index)

    return Value(tuple(axes), tuple(after), mapped(content, tiled))


def mapped(content: Any, function: Callable[[Term], Term]) -> Any:
    return tuple(map(function, content)) if isinstance(content, tuple) else function(content)


HANDLERS: dict[str, Callable[..., Any]] = {
    "view": view,
    "contiguous": contiguous,
    "permute": permute,
    "unsqueeze": unsqueeze,
    "squeeze": squeeze,
    "expand": expand,
    "repeat": repeat,
}
