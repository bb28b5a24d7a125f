"""What is written into a part of a tensor."""

# mypy: disable-error-code="arg-type,index,misc,no-any-return"
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch

from neurocompile.frontends.pytorch.axes import Axes
from neurocompile.frontends.pytorch.operations.elementwise import numeric, where
from neurocompile.frontends.pytorch.operations.lowering import Lowering
from neurocompile.frontends.pytorch.operations.parts import Picked
from neurocompile.frontends.pytorch.operations.shapes import expand, view
from neurocompile.frontends.pytorch.terms import Term
from neurocompile.frontends.pytorch.values import FIX_MIXED, Refused, Value, is_time, picked, shown
from neurocompile.frontends.pytorch.vocabulary import OPERATIONS, VIEWS
from neurocompile.ir.ops import Array

__all__ = ["HANDLERS"]


def write(low: Lowering, base: Any, value: Any, way: Sequence[Sequence[Any]]) -> Any:
    """A copy of ``base`` in which a view has other values."""
    shape = base.shape if isinstance(base, Value) else tuple(base.shape)
    places = torch.arange(prod(shape)).reshape(tuple(shape))
    for name, *args in way:
        places = VIEWS[name].run(places, *args)
    return _placed(low, base, value, places.numpy(), tuple(shape))


def index_put(low: Lowering, base: Any, places: Sequence[Any], value: Any, accumulate: bool) -> Any:
    if len(places) == 1 and isinstance(places[0], Value) and not accumulate and not isinstance(value, Value):
        if all(t.binary for t in places[0].steps) and isinstance(value, Picked):
            return value.placed(low, places[0], base)
        if all(t.binary for t in places[0].steps) and value.numel() == 1:
            return where(low, places[0], value, base)
    if any(isinstance(p, Value) for p in places):
        raise Refused("it writes where a tensor that depends on the input says", "use torch.where")
    shape = base.shape if isinstance(base, Value) else tuple(base.shape)
    grid = torch.arange(prod(shape)).reshape(tuple(shape))
    where_ = OPERATIONS["index"].run(grid, list(places)).numpy()
    if accumulate:
        raise Refused("it adds to places by their index", "use slices: y[...] += ...")
    return _placed(low, base, value, where_, tuple(shape))


def _placed(low: Lowering, base: Any, value: Any, places: Array, shape: tuple[int, ...]) -> Any:
    if not isinstance(value, Value) and not isinstance(base, Value):
        flat = numeric(base).copy().ravel()
        flat[places] = np.broadcast_to(numeric(value), places.shape)
        return torch.from_numpy(flat.reshape(shape))
    if isinstance(base, Value) and "TN" in base.axes:
        at = base.axes.index("TN")
        apart = (*shape[:at], len(base.steps), shape[at] // len(base.steps), *shape[at + 1 :])
        return view(low, _placed(low, view(low, base, apart), value, places, apart), shape)
    coordinates = np.unravel_index(places, shape)
    if isinstance(value, Value):
        axes = base.axes if isinstance(base, Value) else _guessed_axes(low, value, coordinates, shape)
    else:
        axes = base.axes
    whole = _as_value(low, base, axes, shape)
    part = value if isinstance(value, Value) else np.broadcast_to(numeric(value), places.shape)
    if isinstance(value, Value) and tuple(value.shape) != places.shape:
        part = expand(low, value, places.shape)
    return _written(low, whole, part, coordinates, places.shape)


def _as_value(low: Lowering, base: Any, axes: Axes, shape: tuple[int, ...]) -> Value:
    if isinstance(base, Value):
        return base
    count = next((n for name, n in zip(axes, shape) if name == "T"), 1)
    count = low.timesteps if "TN" in axes else count
    features = tuple(n for name, n in zip(axes, shape) if name == "F")
    from neurocompile.frontends.pytorch.values import _constants

    content = _constants(low.terms, numeric(base), axes, shape, count, features)
    return Value(axes, shape, tuple(content) if any(map(is_time, axes)) else content[0])


def _guessed_axes(low: Lowering, value: Value, at: Sequence[Array], shape: tuple[int, ...]) -> Axes:
    """The names of the axes of a tensor of numbers into which a value is written."""
    names: list[str] = []
    for axis, size in enumerate(shape):
        found = "F"
        for own, name in enumerate(value.axes):
            index = np.arange(value.shape[own]).reshape([-1 if k == own else 1 for k in range(len(value.axes))])
            if (
                name in ("N", "T", "TN")
                and value.shape[own] > 1
                and np.array_equal(at[axis], np.broadcast_to(index, at[axis].shape))
            ):
                found = name
        fixed = at[axis].size and (at[axis] == at[axis].flat[0]).all()
        steps = size - low.timesteps in (0, 1)  # one more where the state before the first is kept, too
        if found == "F" and fixed and steps and not value.timed and "T" not in names:
            found = "T"
        names.append(found)
    return tuple(names)


def _written(low: Lowering, whole: Value, part: Any, at: Sequence[Array], shape: tuple[int, ...]) -> Value:
    """The terms of a value after a part of it was written."""
    batch_axis = [i for i, name in enumerate(whole.axes) if name == "N"]
    if len(batch_axis) != 1:
        raise Refused(f"it writes into axes {shown(whole.axes)}", FIX_MIXED)
    n = at[batch_axis[0]]
    first = n == 0
    time = next((i for i, name in enumerate(whole.axes) if name == "T"), None)
    features = [i for i, name in enumerate(whole.axes) if name == "F"]
    sizes = [whole.shape[i] for i in features]
    into = np.ravel_multi_index([at[i][first] for i in features], sizes) if features else np.zeros(first.sum(), int)
    step_into = at[time][first] if time is not None else np.zeros(into.shape, int)
    if isinstance(part, Value):
        own = np.indices(shape)
        axis_n = part.axes.index("N")
        if not np.array_equal(own[axis_n], n):
            raise Refused("it writes one sample where another was", "treat every sample alike")
        own_time = next((i for i, name in enumerate(part.axes) if name == "T"), None)
        own_features = [i for i, name in enumerate(part.axes) if name == "F"]
        places = [own[i][first] for i in own_features]
        source = np.ravel_multi_index(places, part.features) if places else np.zeros(into.shape, int)
        step_from = own[own_time][first] if own_time is not None else np.zeros(into.shape, int)
    else:
        if not np.array_equal(part, np.broadcast_to(part[first].flat[0], shape)) and not _same_for_all(
            part, at, batch_axis[0]
        ):
            raise Refused("it writes other numbers for one sample than for another", "give every sample the same")
        numbers = part[first]
    made = list(whole.steps)
    size = prod(sizes)
    for step in np.unique(step_into):
        here = step_into == step
        before = made[step]
        if not isinstance(part, Value):
            mask, new = np.zeros(size), np.zeros(size)
            mask[into[here]], new[into[here]] = 1.0, numbers[here]
            shaped = before.shape
            made[step] = low.terms.affine([(before, 1.0 - mask.reshape(shaped))], new.reshape(shaped), shaped)
            continue
        for origin in np.unique(step_from[here]):
            mine = here & (step_from == origin)
            term = part.steps[origin]
            made[step] = _spliced(low, made[step], term, into[mine], source[mine])
    return replace(whole, content=tuple(made) if whole.timed else made[0])


def _same_for_all(part: Array, at: Sequence[Array], axis: int) -> bool:
    n = at[axis]
    keys = tuple(a for k, a in enumerate(at) if k != axis)
    table: dict[tuple[int, ...], float] = {}
    for key, value in zip(zip(*(k.ravel() for k in keys)), part.ravel()):
        if table.setdefault(key, value) != value:
            return False
    return n is not None


def _spliced(low: Lowering, before: Term, term: Term, into: Array, source: Array) -> Term:
    """``before`` with ``term``'s features ``source`` at the places ``into``."""
    size, own = prod(before.shape), prod(term.shape)
    order = np.argsort(into)
    into, source = into[order], source[order]
    if len(into) == size:
        return picked(low.terms, term, source.reshape(before.shape))
    flat = np.full(size, -1)
    flat[into] = source
    added = picked(low.terms, term, flat.reshape(before.shape))
    mask = np.ones(size)
    mask[into] = 0.0
    assert own
    kept = low.terms.affine([(before, mask.reshape(before.shape))], 0.0, before.shape)
    return low.terms.affine([(kept, np.asarray(1.0)), (added, np.asarray(1.0))], 0.0, before.shape)


HANDLERS: dict[str, Callable[..., Any]] = {
    "write": write,
    "index_put": index_put,
}
