"""Functions and methods of tensors: shapes, arithmetic with constants, taking time out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from neurocompile.frontends.pytorch.axes import features, regroup
from neurocompile.frontends.pytorch.symbolic.lowering import Lowering, Refused, Value, array, shown
from neurocompile.ir.ops import Add, Array, Concat, Gain, Reshape, Scale, SumPool, Upsample

# -- shapes ------------------------------------------------------------------------------------------------------------


def identity(low: Lowering, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Nothing changes."""
    return x


def identity_module(low: Lowering, module: Any, x: Value) -> Value:
    """Nothing changes (Dropout in eval mode, Identity)."""
    return x


def _reshaped(low: Lowering, x: Value) -> Value:
    """Any row-major reshape, told from the shapes before and after."""
    shape = tuple(low.result.shape)
    axes = regroup(x.axes, x.shape, shape, low.build.timesteps)
    to = features(axes, shape)
    return low.out(x.node if to == x.features else low.emit(Reshape(to), x.node), axes, x.read)


def reshape_module(low: Lowering, module: Any, x: Value) -> Value:
    """nn.Flatten and Unflatten."""
    return _reshaped(low, low.settled(x))


def reshape_call(low: Lowering, x: Value, *args: Any, **kwargs: Any) -> Value:
    """flatten, reshape, view, squeeze, unsqueeze, unflatten."""
    return _reshaped(low, x)


def permute(low: Lowering, x: Value, *dims: Any, **kwargs: Any) -> Value:
    """Axes in another order."""
    order = dims[0] if dims and isinstance(dims[0], tuple | list) else dims or kwargs["dims"]
    return _reordered(low, x, [d % len(x.axes) for d in order])


def transpose(low: Lowering, x: Value, dim0: int, dim1: int) -> Value:
    """Two axes exchanged."""
    order = list(range(len(x.axes)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return _reordered(low, x, order)


def movedim(low: Lowering, x: Value, source: int, destination: int) -> Value:
    """One axis moved."""
    order = list(range(len(x.axes)))
    axis = order.pop(source)
    order.insert(destination % len(x.axes), axis)
    return _reordered(low, x, order)


def _reordered(low: Lowering, x: Value, order: Sequence[int]) -> Value:
    kept = [i for i in order if x.axes[i] == "F"]
    if kept != sorted(kept) and any(x.shape[i] != 1 for i in kept):
        raise Refused("it exchanges feature axes", "only time and batch may change places")
    return low.out(x.node, tuple(x.axes[i] for i in order), x.read)


def repeat(low: Lowering, x: Value, *sizes: Any) -> Value:
    """repeat and expand where they make the time axis out of one of size one, or fold it into the batch.

    Or where they copy one number to all places of its channel.
    """
    new = len(low.result.shape) - len(x.axes)
    axes = ["1"] * new + list(x.axes)
    before = [1] * new + list(x.shape)
    places = _copied_places(low, axes, before)
    if places:
        x = _spread(low, x, axes, before, places)
    for i, (old, size) in enumerate(zip(before, low.result.shape)):
        if size == old or i in places:
            continue
        if axes[i] == "1" and size == low.build.timesteps and "T" not in axes and not low.loop:
            axes[i] = "T"
        elif axes[i] == "N" and size == low.build.timesteps * old and "T" not in axes and not low.loop:
            axes[i] = "TN"
        else:
            raise Refused(f"it repeats axis {i} {size // old} times", "only a time axis may be made by repeating")
    if low.build.timesteps == 1 and axes[0] == "1" and not low.loop:
        axes[0] = "T"
    return low.out(x.node, tuple(axes), x.read)


def _copied_places(low: Lowering, axes: Sequence[str], before: Sequence[int]) -> list[int]:
    """The axes of size one behind the channels that are repeated; one alone, repeated T times, is time."""
    if "F" not in axes:
        return []
    sizes = low.result.shape
    places = [i for i in range(axes.index("F") + 1, len(axes)) if axes[i] in ("1", "F") and before[i] == 1 != sizes[i]]
    is_time = len(places) == 1 and axes[places[0]] == "1" and sizes[places[0]] == low.build.timesteps
    return [] if is_time and "T" not in axes and "TN" not in axes and not low.loop else places


def _spread(low: Lowering, x: Value, axes: list[str], before: Sequence[int], places: Sequence[int]) -> Value:
    """One number of each channel at all of these places, which become features in ``axes``."""
    channels = axes.index("F")
    axes[channels:] = ["F" if name == "1" else name for name in axes[channels:]]
    rows = features(tuple(axes), before)
    factors = tuple(low.result.shape[i] if i in places else 1 for i, name in enumerate(axes) if name == "F")
    node = x.node if rows == x.features else low.emit(Reshape(rows), x.node, part="reshape")
    return replace(x, node=low.emit(Upsample(factors[1:]), node))


def stack(low: Lowering, values: Any, dim: int = 0) -> Value:
    """One tensor stacked T times: the time axis of a constant input; or the steps of a tensor, in their order."""
    if isinstance(values, Value):  # the list of membranes of a non-spiking node
        return low.out(values.node, values.axes, values.read)
    if _are_steps(low, values):
        axes = list(values[0].axes)
        axes.insert(dim % (len(axes) + 1), "T")
        return low.out(values[0].node, tuple(axes))
    if not _same(low, values):
        raise Refused("it stacks different tensors", "only one tensor may be stacked T times, to make the time axis")
    axes = list(values[0].axes)
    axes.insert(dim % (len(axes) + 1), "T")
    return low.out(values[0].node, tuple(axes))


def _same(low: Lowering, values: Sequence[Any]) -> bool:
    """Whether these are one tensor without time, once for each step."""
    same = all(isinstance(v, Value) and v.node == values[0].node and v.read is None for v in values)
    return same and len(values) == low.build.timesteps and "T" not in values[0].axes and not low.loop


def _are_steps(low: Lowering, values: Sequence[Any]) -> bool:
    """Whether these are all steps of one tensor, in their order, behind the same layers without state."""
    if not all(isinstance(v, Value) and v.axes == values[0].axes for v in values) or low.loop:
        return False
    reads = [*(f"step {t}" for t in range(low.build.timesteps - 1)), "last"]
    return [v.read for v in values] == reads and all(low.build.same_nodes(values[0].node, v.node) for v in values)


def cat(low: Lowering, tensors: Sequence[Any], dim: int = 0, axis: int | None = None) -> Value:
    """Features one after the other.

    Or one tensor T times along the batch: a constant input, time folded into it; or the steps of a tensor.
    """
    if _are_steps(low, tensors):
        axes, at = list(tensors[0].axes), (dim if axis is None else axis) % len(tensors[0].axes)
        if axes[at] == "1" or (axes[at] == "N" and at == 0):
            axes[at] = "T" if axes[at] == "1" else "TN"
            return low.out(tensors[0].node, tuple(axes))
    if _same(low, tensors) and tensors[0].axes[:1] == ("N",) and (dim if axis is None else axis) == 0:
        return low.out(tensors[0].node, ("TN", *tensors[0].axes[1:]), tensors[0].read)
    values = [low.settled(value) for value in tensors if isinstance(value, Value)]
    if len(values) != len(tensors) or any(v.axes != values[0].axes or v.read != values[0].read for v in values):
        raise Refused("it concatenates values with different axes", "bring them all to [T, N, ...] first")
    at = (dim if axis is None else axis) % len(values[0].axes)
    if values[0].axes[at] != "F":
        raise Refused(f"it concatenates along {values[0].axes[at]}", "only feature axes can be concatenated")
    feature = values[0].axes[:at].count("F")
    return low.out(low.emit(Concat(feature), *(v.node for v in values)), values[0].axes, values[0].read)


# -- arithmetic and time -----------------------------------------------------------------------------------------------


def _constant(low: Lowering, x: Value, other: Any) -> Any:
    """A number, or a tensor that broadcasts over the features alone, as an array for a Scale."""
    if not isinstance(other, torch.Tensor):
        return float(other)
    shape = (1,) * (len(x.axes) - other.ndim) + tuple(other.shape)
    sizes = dict(enumerate(shape))
    if other.ndim > len(x.axes) or any(size != 1 for i, size in sizes.items() if x.axes[i] != "F"):
        fix = "let it vary over features only, or, to be multiplied, over time alone; "
        fix += "a weighted mean over time is neurocompile.vocabulary.readout.WeightedRate"
        raise Refused(f"a constant of shape {list(other.shape)} varies over time or batch", fix)
    return array(other).reshape([size for i, size in sizes.items() if x.axes[i] == "F"])


def add(low: Lowering, a: Any, b: Any, alpha: float = 1) -> Value:
    """Two values, or a value and a constant."""
    if not isinstance(a, Value):
        if alpha != 1:
            b = low.scaled(replace(low.settled(b), example=b.example), alpha)
        a, b, alpha = b, a, 1
    if not isinstance(b, Value):
        a = low.settled(a)
        return low.scaled(a, 1.0, np.multiply(alpha, _constant(low, a, b)))
    a, b = low.settled(_beside(low, a, b)), low.settled(_beside(low, b, a))
    longer, shorter = (a, b) if len(a.axes) >= len(b.axes) else (b, a)
    constant_in_time = longer.axes == ("T", *shorter.axes) and not low.loop
    if a.features != b.features or a.read != b.read or (a.axes != b.axes and not constant_in_time):
        shapes = f"{shown(a.axes)} of {list(a.features)} and {shown(b.axes)} of {list(b.features)}"
        raise Refused(f"it adds {shapes}", "both sides must have the same shape")
    right = b.node if alpha == 1 else low.emit(Scale(np.asarray(float(alpha))), b.node, part="scale")
    return low.out(low.emit(Add(), a.node, right), longer.axes, a.read)


def _beside(low: Lowering, x: Value, other: Value) -> Value:
    """A value as it is beside another one: where that has time first, an axis of size one is every step."""
    same_everywhere = x.axes[0] == "1" and other.axes[0] == "T" and len(x.axes) == len(other.axes)
    if not same_everywhere or "T" in x.axes or x.read is not None or low.loop:
        return x
    return replace(x, axes=x.axes[1:], example=x.example[0])


def sub(low: Lowering, a: Any, b: Any, alpha: float = 1) -> Value:
    """A difference."""
    if isinstance(a, Value):
        return add(low, a, b, alpha=-alpha)
    b = low.settled(b)
    return low.scaled(b, -alpha, _constant(low, b, a))


def mul(low: Lowering, a: Any, b: Any) -> Value:
    """A value times a constant."""
    if not isinstance(a, Value):
        a, b = b, a
    if isinstance(b, Value):
        raise Refused("it multiplies two values of the network", "only a constant may be multiplied")
    a = low.settled(a)
    gains = _over_time_alone(low, a, b)
    return low.scaled(a, _constant(low, a, b)) if gains is None else _gained(low, a, gains)


def _over_time_alone(low: Lowering, x: Value, other: Any) -> Array | None:
    """A tensor that has one number for each time step, as ``[T]``; None if it is something else."""
    if not isinstance(other, torch.Tensor) or other.ndim > len(x.axes) or "T" not in x.axes:
        return None
    shape = (1,) * (len(x.axes) - other.ndim) + tuple(other.shape)
    alone = shape[x.axes.index("T")] == other.numel() == low.build.timesteps > 1
    return np.asarray(array(other).reshape(-1)) if alone else None


def _gained(low: Lowering, x: Value, gains: Array) -> Value:
    if np.all(gains == gains[0]):
        return low.scaled(x, gains[0])
    return low.out(low.emit(Gain(gains), x.node), x.axes)


def temporal_gain(low: Lowering, module: Any, x: Value) -> Value:
    """The temporal-wise spiking mechanism: a current times one number for each step."""
    x = low.settled(x)
    if x.axes[0] != "T":
        raise Refused(f"it has a gain for each time step, and reads axes {shown(x.axes)}", "give it [T, N, ...]")
    return _gained(low, x, array(module.gain))


def div(low: Lowering, a: Any, b: Any) -> Value:
    """A value divided by a constant."""
    if not isinstance(a, Value) or isinstance(b, Value):
        raise Refused("it divides by a value of the network", "only a constant may divide")
    a = low.settled(a)
    return low.scaled(a, 1.0 / np.asarray(_constant(low, a, b)))


def neg(low: Lowering, x: Value) -> Value:
    """The negative."""
    return low.scaled(low.settled(x), -1.0)


def _over(low: Lowering, x: Value, dim: Any, keepdim: bool, mean: bool) -> Value:
    """mean or sum over time, over all places of each channel, or both."""
    if dim is None:
        raise Refused("it takes everything together, the batch too", "name the axes: dim=0 for time")
    dims = {d % len(x.axes) for d in ([dim] if isinstance(dim, int) else dim)}
    names = {x.axes[d] for d in dims}
    places = [d for d in dims if x.axes[d] == "F"]
    feature_axes = [d for d, name in enumerate(x.axes) if name == "F"]
    if not names <= {"T", "F"} or (keepdim and "T" in names) or (places and sorted(places) != feature_axes[1:]):
        what = f"a mean or sum over axes {shown(tuple(x.axes[d] for d in sorted(dims)))}"
        raise Refused(what, "time, or all axes after the channels, can be taken together")
    read, node = x.read, x.node
    if places:
        if read is not None and low.build.step(x) is None:
            raise Refused("pooling after time was taken out is not supported", "pool before the mean over time")
        kernel = x.features[1:]
        node = low.emit(SumPool(kernel, kernel, ((0, 0),) * len(kernel)), node, part="sum")
        node = low.emit(Reshape((x.features[0],)), node, part="flatten")
        if mean:
            node = low.emit(Scale(np.asarray(1.0 / np.prod(kernel))), node, part="mean")
    if "T" in names:
        read = "mean" if mean else "sum"
    axes = tuple("1" if d in dims else name for d, name in enumerate(x.axes) if keepdim or d not in dims)
    return low.out(node, axes, read)


def mean_over(low: Lowering, x: Value, *dims: int, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    """mean over time or places."""
    return _over(low, x, _dims(dims, dim), keepdim, mean=True)


def sum_over(low: Lowering, x: Value, *dims: int, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    """sum over time or places."""
    return _over(low, x, _dims(dims, dim), keepdim, mean=False)


def _dims(dims: tuple[Any, ...], dim: Any) -> Any:
    if dims and isinstance(dims[-1], bool):
        raise Refused("keepdim given by position", "give keepdim by name")
    if not dims:
        return dim
    return dims[0] if len(dims) == 1 else dims


def getitem(low: Lowering, x: Value, index: Any) -> Value:
    """One step: the last is an output's; the others wait to be stacked with it again (:func:`stack`).

    Or axes of size one that come (None) and go (0).
    """
    given = index if isinstance(index, tuple) else (index,)
    named = sum(part is not None for part in given if part is not Ellipsis)
    if Ellipsis in given:
        at = given.index(Ellipsis)
        given = (*given[:at], *[slice(None)] * (len(x.axes) - named), *given[at + 1 :])
    else:
        given = (*given, *[slice(None)] * (len(x.axes) - named))
    own = iter(zip(x.axes, x.shape))
    parts = [(part, *(("1", 1) if part is None else next(own))) for part in given]
    gone = [isinstance(part, int) and name in ("1", "F") and size == 1 for part, name, size in parts]
    if any(gone) or any(part is None for part in given):
        if not all(one or part is None or part == slice(None) for one, part in zip(gone, given)):
            raise Refused(f"it takes the part {index} of a tensor", "take it, and squeeze or unsqueeze, one by one")
        axes = tuple(name for one, (_, name, _) in zip(gone, parts) if not one)
        shape = features(axes, low.result.shape)
        return low.out(x.node if shape == x.features else low.emit(Reshape(shape), x.node), axes, x.read)
    whole = [i for i, part in enumerate(given) if part != slice(None)]
    time = whole[0] if len(whole) == 1 else 0
    steps = low.build.timesteps
    one = isinstance(given[time], int) and -steps <= given[time] < steps
    if not one or len(whole) != 1 or x.axes[time] != "T" or x.read is not None:
        raise Refused(f"it takes the part {index} of a tensor", "only one step of all can be taken")
    step = given[time] % steps
    # Of a step that is not the last, ``read`` only says that it is to be stacked with the others.
    read: Any = "last" if step == steps - 1 else f"step {step}"
    return low.out(x.node, (*x.axes[:time], *x.axes[time + 1 :]), read)
