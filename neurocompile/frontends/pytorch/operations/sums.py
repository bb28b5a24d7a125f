"""Sums, means and extremes over axes."""

# mypy: disable-error-code="arg-type,index,misc,no-any-return"
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from neurocompile.frontends.pytorch.operations.hostcalls import function_on_host
from neurocompile.frontends.pytorch.operations.lowering import LARGEST_MATRIX, Lowering
from neurocompile.frontends.pytorch.operations.pooling import mean_pool
from neurocompile.frontends.pytorch.operations.shapes import drop_axis
from neurocompile.frontends.pytorch.terms import Term
from neurocompile.frontends.pytorch.values import Refused, Value
from neurocompile.ir.ops import Conv, Linear, Reshape

__all__ = ["HANDLERS"]


def _summed(mean: bool) -> Callable[..., Value]:
    def handler(low: Lowering, x: Value, dims: Any, keepdim: bool) -> Value:
        if dims is None:
            raise Refused(
                "it takes everything together, the batch too",
                "name axes without the batch: dim=(1, 2, 3), or of time",
            )
        chosen = sorted({d % len(x.axes) for d in dims})
        if any(x.axes[d] in ("N", "TN", "NT") for d in chosen):
            raise Refused(
                "it takes the samples of the batch together",
                "treat every sample alike; name the axes of time or places",
            )
        features = [d for d in chosen if x.axes[d] == "F"]
        if features:
            x = _over_features(low, x, features, mean)
        for d in [d for d in chosen if x.axes[d] == "T"]:
            x = _over_steps(low, x, d, mean)
        for d in sorted(chosen, reverse=True):
            if not keepdim:
                x = drop_axis(low, x, d)
        return x

    return handler


def _over_steps(low: Lowering, x: Value, d: int, mean: bool) -> Value:
    """A sum over time; the axis stays, with size one."""
    number = np.asarray(1.0 / len(x.steps) if mean else 1.0)
    total = low.terms.affine([(t, number) for t in x.steps], 0.0, x.features)
    return Value((*x.axes[:d], "1", *x.axes[d + 1 :]), (*x.shape[:d], 1, *x.shape[d + 1 :]), total)


def _over_features(low: Lowering, x: Value, dims: Sequence[int], mean: bool) -> Value:
    """A sum over feature axes; they stay, with size one."""
    order = [i for i, name in enumerate(x.axes) if name == "F"]
    axes = [order.index(d) for d in dims]
    kept = tuple(1 if k in axes else n for k, n in enumerate(x.features))
    shape = tuple(1 if d in dims else n for d, n in enumerate(x.shape))
    count = prod(x.features[k] for k in axes)

    def total(t: Term) -> Term:
        if axes == list(range(1, len(t.shape))) and len(t.shape) <= 3:
            return low.terms.apply(Reshape(kept), mean_pool(low, t, tuple(t.shape[1:]), mean))
        if axes == [0] and 1 < len(t.shape) <= 3:
            one = (1,) * (len(t.shape) - 1)
            ones = np.full((1, t.shape[0], *one), 1.0 / count if mean else 1.0)
            return low.terms.apply(Conv(ones, None, one, ((0, 0),) * len(one), one, 1), t)
        if count == 1:
            return t
        size = prod(t.shape)
        if size * prod(kept) > LARGEST_MATRIX:
            raise Refused(
                f"it sums over some axes of features {list(t.shape)}", "sum over all places, or over channels"
            )
        places = np.arange(prod(kept)).reshape(kept)
        target = np.broadcast_to(places, t.shape).ravel()
        matrix = np.zeros((prod(kept), size))
        matrix[target, np.arange(size)] = 1.0 / count if mean else 1.0
        flat = low.terms.apply(Linear(matrix, None, matrix != 0), low.terms.apply(Reshape((size,)), t))
        return low.terms.apply(Reshape(kept), flat)

    return x.mapped(total, x.axes, shape)


def _extreme(name: str) -> Callable[..., Value]:
    def handler(low: Lowering, x: Value, dims: Any, keepdim: bool) -> Value:
        chosen = [d % len(x.axes) for d in ([dims] if isinstance(dims, int) else dims or range(len(x.axes)))]
        if [x.axes[d] for d in chosen] == ["T"]:
            axes = (*x.axes[: chosen[0]], "1", *x.axes[chosen[0] + 1 :])
            shape = (*x.shape[: chosen[0]], 1, *x.shape[chosen[0] + 1 :])
            made = Value(axes, shape, low.terms.extreme(name.removeprefix("a"), x.steps))
            return made if keepdim else drop_axis(low, made, chosen[0])
        return function_on_host(low, low.call, (x, dims, keepdim))

    return handler


def cumsum(low: Lowering, x: Value, dim: int) -> Value:
    if x.axes[dim % len(x.axes)] != "T":
        return function_on_host(low, low.call, (x, dim))
    steps = [x.steps[0]]
    for t in x.steps[1:]:
        steps.append(low.terms.affine([(steps[-1], np.asarray(1.0)), (t, np.asarray(1.0))], 0.0, t.shape))
    return replace(x, content=tuple(steps))


HANDLERS: dict[str, Callable[..., Any]] = {
    "mean": _summed(True),
    "sum": _summed(False),
    "amax": _extreme("amax"),
    "max": _extreme("max"),
    "amin": _extreme("amin"),
    "min": _extreme("min"),
    "cumsum": cumsum,
}
