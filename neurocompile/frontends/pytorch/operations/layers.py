"""Layers with weights, and norms."""

# mypy: disable-error-code="arg-type,index,misc,no-any-return"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from neurocompile.frontends.pytorch.axes import MixedAxes
from neurocompile.frontends.pytorch.operations.elementwise import weighted_sum
from neurocompile.frontends.pytorch.operations.hostcalls import function_on_host
from neurocompile.frontends.pytorch.operations.lowering import Ints, Lowering
from neurocompile.frontends.pytorch.operations.parts import as_feature
from neurocompile.frontends.pytorch.operations.shapes import Merged, drop_axis, permute, turn_merged
from neurocompile.frontends.pytorch.terms import Term
from neurocompile.frontends.pytorch.values import Refused, Value, is_time, picked, shown
from neurocompile.ir.ops import Array, Conv, ConvTranspose, Linear, Reshape

__all__ = ["HANDLERS"]


def _array(x: Any) -> Any:
    return None if x is None else x.detach().double().numpy()


def time_inside(low: Lowering, x: Value) -> tuple[Value, int | None]:
    """A layer's input; where time is among the axes behind the channels, its place among these."""
    x = _grown(low, x)
    time = next((i for i, name in enumerate(x.axes) if name == "T" and i > 1), None)
    if time is None:
        return x, None
    return x, time - 2


def _grown(low: Lowering, x: Value) -> Value:
    """Axes of size one behind the batch are features."""
    if "1" not in x.axes:
        return x
    lead = next((i for i, name in enumerate(x.axes) if name in ("N", "TN", "NT")), 0)
    axes = tuple("F" if name == "1" and i > lead else name for i, name in enumerate(x.axes))
    features = tuple(n for name, n in zip(axes, x.shape) if name == "F")
    return x.mapped(lambda t: low.terms.apply(Reshape(features), t), axes, x.shape)


def convolve(
    low: Lowering, x: Any, weight: Any, bias: Any, stride: Ints, padding: Ints, dilation: Ints, transposed: bool,
    output_padding: Ints, groups: int,
) -> Value:  # fmt: skip
    if isinstance(weight, Value) or isinstance(bias, Value):
        raise Refused(
            "its weights depend on the input", "a chip has one set of weights: let them depend on parameters only"
        )
    x, time = time_inside(low, x)
    w, rank = _array(weight), weight.ndim - 2
    if x.axes[0] not in ("N", "TN", "NT") or x.axes[1:2] != ("F",):
        raise Refused(f"a convolution reads axes {shown(x.axes)}", "time and batch must come before the channels here")
    b = _array(bias)
    if time is not None:
        return _over_time(low, x, w, b, stride, padding, dilation, transposed, output_padding, groups, time)
    if rank not in (1, 2):
        raise Refused(
            f"it convolves over {rank} axes of features", "one or two can be convolved; of three, one must be time"
        )
    if b is not None:
        b = b.reshape(-1, *(1,) * rank)
    ints = [tuple(int(n) for n in v) * (rank // len(v)) for v in (stride, padding, dilation, output_padding)]
    if transposed:
        op: Any = ConvTranspose(w, b, ints[0], ints[1], ints[3], ints[2], groups)
    else:
        op = Conv(w, b, ints[0], tuple((p, p) for p in ints[1]), ints[2], groups)
    made = x.mapped(lambda t: low.terms.apply(op, t))
    shape = low.call.shape
    return replace(made, shape=shape)


def _over_time(
    low: Lowering, x: Value, w: Array, b: Any, stride: Ints, padding: Ints, dilation: Ints, transposed: bool,
    output_padding: Ints, groups: int, time: int,
) -> Value:  # fmt: skip
    """A convolution one of whose axes is time: a sum of layers of earlier and later steps."""
    rank = w.ndim - 2
    others = [k for k in range(rank) if k != time]
    if transposed and w.shape[2 + time] != 1:
        raise Refused("it convolves over time and is transposed", "use an ordinary convolution over time")

    def without(values: Ints) -> tuple[int, ...]:
        return tuple(int(values[k]) for k in others)

    taps = []
    for tap in range(w.shape[2 + time]):
        weight = w.take(tap, 2 + time)
        if rank == 1:
            taps.append(Linear(_dense(weight, groups)))
        elif transposed:
            taps.append(
                ConvTranspose(
                    weight, None, without(stride), without(padding), without(output_padding), without(dilation), groups
                )
            )
        else:
            pads = tuple((p, p) for p in without(padding))
            taps.append(Conv(weight, None, without(stride), pads, without(dilation), groups))
    one = np.asarray(1.0)
    steps = []
    for t in range(low.call.shape[2 + time]):
        parts = []
        for tap, op in enumerate(taps):
            source = t * stride[time] + tap * dilation[time] - padding[time]
            if 0 <= source < len(x.steps) and np.any(op.weight):
                parts.append((low.terms.apply(op, x.steps[source]), one))
        features = tuple(n for k, n in enumerate(low.call.shape[1:]) if k != time + 1)
        constant = 0.0 if b is None else b.reshape(-1, *(1,) * (len(features) - 1))
        if len(taps) == 1 and b is not None and parts:
            biased = replace(taps[0], bias=b if rank == 1 else constant)
            steps.append(low.terms.apply(biased, x.steps[t * stride[time] - padding[time]]))
        else:
            steps.append(low.terms.affine(parts, constant, features))
    return Value(x.axes, low.call.shape, tuple(steps))


def _dense(weight: Array, groups: int) -> Array:
    """The matrix of a grouped layer ``[out, in / groups]``."""
    outputs, per = weight.shape
    made = np.zeros((outputs, per * groups))
    for row in range(outputs):
        group = row // (outputs // groups)
        made[row, group * per : (group + 1) * per] = weight[row]
    return made


def _linear(low: Lowering, x: Value, weight: Array, bias: Any) -> Value:
    """``x @ weight.T + bias`` over the last axis."""
    if x.axes[-1] == "1":
        x = as_feature(low, x, len(x.axes) - 1)
    if x.axes[-1] != "F":
        what = f"it reads axes {shown(x.axes)}: its weights would be of {x.axes[-1]}, the last one"
        if is_time(x.axes[-1]):
            return _mixed_time(low, x, weight, bias)
        raise Refused(what, "permute the features to the end before it, and back behind it")
    shape = (*x.shape[:-1], weight.shape[0])
    if x.axes.count("F") == 1:
        op = Linear(weight, bias)
        return x.mapped(lambda t: low.terms.apply(op, t), x.axes, shape)
    features = x.features
    rows = prod(features[:-1])
    if rows <= 1:
        op = Linear(weight, bias)

        def flat(t: Term) -> Term:
            return low.terms.apply(Reshape((*features[:-1], weight.shape[0])),
                                   low.terms.apply(op, low.terms.apply(Reshape((features[-1],)), t)))  # fmt: skip

        return x.mapped(flat, x.axes, shape)
    one = Conv(weight[..., None], None if bias is None else np.asarray(bias).reshape(-1, 1), (1,), ((0, 0),), (1,), 1)

    def each(t: Term) -> Term:
        turned = np.arange(rows * features[-1]).reshape(rows, features[-1]).T
        there = picked(low.terms, low.terms.apply(Reshape((rows, features[-1])), t), turned)
        made = low.terms.apply(one, there)
        back = np.arange(weight.shape[0] * rows).reshape(weight.shape[0], rows).T
        return low.terms.apply(Reshape((*features[:-1], weight.shape[0])), picked(low.terms, made, back))

    return x.mapped(each, x.axes, shape)


def _mixed_time(low: Lowering, x: Value, weight: Array, bias: Any) -> Value:
    """A matrix over time: every step it gives is a sum of steps."""
    steps = []
    for row in range(weight.shape[0]):
        parts = [(t, np.asarray(n)) for t, n in zip(x.steps, weight[row])]
        steps.append(low.terms.affine(parts, 0.0 if bias is None else np.asarray(bias)[row], x.features))
    if len(steps) == 1 < low.timesteps:  # time is gone
        return Value((*x.axes[:-1], "1"), (*x.shape[:-1], 1), steps[0])
    return Value(x.axes, (*x.shape[:-1], weight.shape[0]), tuple(steps))


def _merged_product(low: Lowering, a: Any, b: Any) -> Any:
    """A product of a merged value and a matrix."""
    if isinstance(a, Merged) and not isinstance(b, Value | Merged):
        matrix = _array(b).reshape(b.shape[-2:])
        if not a.last:
            a = turn_merged(low, turn_merged(low, a, range(len(a.shape))), range(len(a.shape)))
        if a.last and a.value.shape[-1] == matrix.shape[0]:
            return Merged(_linear(low, a.value, matrix.T, None), (*a.shape[:-1], matrix.shape[1]), True)
    if isinstance(b, Merged) and not isinstance(a, Value | Merged):
        matrix = _array(a).reshape(a.shape[-2:])
        if not b.last and b.value.shape[0] == matrix.shape[1]:
            rank = len(b.value.axes)
            turned = permute(low, b.value, [*range(1, rank), 0])
            made = _linear(low, turned, matrix, None)
            return Merged(
                permute(low, made, [rank - 1, *range(rank - 1)]), (*b.shape[:-2], matrix.shape[0], b.shape[-1]), False
            )
    raise MixedAxes("a product of axes that were made one")


def mm(low: Lowering, a: Any, b: Any) -> Any:
    if isinstance(a, Merged) or isinstance(b, Merged):
        return _merged_product(low, a, b)
    if isinstance(a, Value) and isinstance(b, Value):
        return function_on_host(low, low.call, (a, b))
    if isinstance(a, Value):
        return _linear(low, a, _array(b).T, None)
    turned = permute(low, b, [1, 0])
    return permute(low, _linear(low, turned, _array(a), None), [1, 0])


def mv(low: Lowering, a: Any, b: Any) -> Value:
    if not isinstance(a, Value) or isinstance(b, Value):
        return function_on_host(low, low.call, (a, b))
    return drop_axis(low, _linear(low, a, _array(b)[None], None), len(a.axes) - 1)


def addmm(low: Lowering, c: Any, a: Any, b: Any, beta: float = 1, alpha: float = 1) -> Any:
    if (
        isinstance(a, Merged)
        and a.last
        and not isinstance(b, Value | Merged)
        and not isinstance(c, Value)
        and c.ndim == 1
    ):
        made = _linear(low, a.value, _array(b).T * alpha, _array(c) * beta)
        return Merged(made, (*a.shape[:-1], b.shape[1]), True)
    if isinstance(a, Value) and not isinstance(b, Value) and not isinstance(c, Value) and c.ndim == 1:
        return _linear(low, a, _array(b).T * alpha, _array(c) * beta)
    return weighted_sum(low, (c, float(beta)), (mm(low, a, b), float(alpha)))


def bmm(low: Lowering, a: Any, b: Any) -> Any:
    if (isinstance(a, Merged) and len(b) == 1) or (isinstance(b, Merged) and len(a) == 1):
        return _merged_product(low, a, b)
    if isinstance(a, Value) and not isinstance(b, Value):
        w = _array(b)
        if len({w[k].tobytes() for k in range(len(w))}) == 1:
            return _linear(low, a, w[0].T, None)
    elif isinstance(b, Value) and not isinstance(a, Value):
        w = _array(a)
        if len({w[k].tobytes() for k in range(len(w))}) == 1:
            turned = permute(low, b, [0, 2, 1])
            return permute(low, _linear(low, turned, w[0], None), [0, 2, 1])
    return function_on_host(low, low.call, (a, b))


def baddbmm(low: Lowering, c: Any, a: Any, b: Any, beta: float = 1, alpha: float = 1) -> Value:
    return weighted_sum(low, (c, float(beta)), (bmm(low, a, b), float(alpha)))


def batch_norm(low: Lowering, x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> Value:
    x = _grown(low, x)
    if any(isinstance(v, Value) for v in (weight, bias, mean, var)):
        raise Refused("its statistics depend on the input", "evaluate it with running statistics")
    std = np.sqrt(_array(var) + eps)
    gamma = np.ones(std.shape) if weight is None else _array(weight)
    beta = np.zeros(std.shape) if bias is None else _array(bias)
    center = _array(mean)
    axis = x.axes[1] if len(x.axes) > 1 else "F"
    scale, shift = gamma / std, beta - center * (gamma / std)
    if axis == "T":
        parts = [low.terms.affine([(t, np.asarray(k))], c, t.shape) for t, k, c in zip(x.steps, scale, shift)]
        return replace(x, content=tuple(parts))
    if axis == "TF":
        rank = len(x.steps[0].shape)
        columns = [v.reshape(len(x.steps), -1, *(1,) * (rank - 1)) for v in (scale, shift)]
        parts = [low.terms.affine([(t, k)], c, t.shape) for t, k, c in zip(x.steps, *columns)]
        return replace(x, content=tuple(parts))
    if axis != "F":
        raise Refused(f"a batch norm reads axes {shown(x.axes)}", "channels must come second")
    each = (-1, *(1,) * (x.axes.count("F") - 1))

    def normed(t: Term) -> Term:
        if t.kind == "apply" and isinstance(t.data, Reshape):
            inner = t.args[0]  # a membrane that was flattened for its norm
            full = [np.broadcast_to(v.reshape(each), t.shape).reshape(inner.shape) for v in (gamma, beta, center, std)]
            k, b = full[0] / full[3], full[1] - full[2] * (full[0] / full[3])
            made = low.terms.affine([(inner, k)], b, inner.shape)
            low.roller.facts.norms.setdefault(made.uid, tuple(full))
            return low.terms.apply(t.data, made)
        made = low.terms.affine([(t, scale.reshape(each))], shift.reshape(each), t.shape)
        low.roller.facts.norms.setdefault(made.uid, tuple(v.reshape(each) for v in (gamma, beta, center, std)))
        return made

    return x.mapped(normed)


HANDLERS: dict[str, Callable[..., Any]] = {
    "convolve": convolve,
    "mm": mm,
    "mv": mv,
    "addmm": addmm,
    "bmm": bmm,
    "baddbmm": baddbmm,
    "batch_norm": batch_norm,
}
