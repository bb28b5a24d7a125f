"""Pools and upsampling."""

# mypy: disable-error-code="arg-type,index,misc,no-any-return"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from neurocompile.frontends.pytorch.operations.layers import time_inside
from neurocompile.frontends.pytorch.operations.lowering import LARGEST_MATRIX, Ints, Lowering
from neurocompile.frontends.pytorch.terms import Term
from neurocompile.frontends.pytorch.values import Refused, Value, shown
from neurocompile.ir.ops import Linear, MaxPool, Reshape, SumPool, Upsample

__all__ = ["HANDLERS"]


def _window(x: Value, time: int | None, sizes: Ints, alone: int, what: str) -> tuple[int, ...]:
    """Sizes along the axes of places, without that of time."""
    if time is None:
        return tuple(int(n) for n in sizes)
    if sizes[time] != alone:
        raise Refused(f"it {what} over time", f"let it be {alone} along time, so that each step is computed alone")
    return tuple(int(n) for k, n in enumerate(sizes) if k != time)


def _pool_geometry(low: Lowering, x: Value, kernel: Ints, stride: Any, padding: Ints) -> Any:
    x, time = time_inside(low, x)
    if _channels_are_places(x) and (kernel[0], (stride or kernel)[0], padding[0]) == (1, 1, 0):
        return x, None, *(tuple(map(int, v[1:])) for v in (kernel, stride or kernel, padding, low.call.shape[2:]))
    if x.axes[0] not in ("N", "TN", "NT") or x.axes[1:2] != ("F",):
        raise Refused(f"a pool reads axes {shown(x.axes)}", "time and batch must come before the channels here")
    k = _window(x, time, kernel, 1, "pools")
    s = _window(x, time, stride or kernel, 1, "pools")
    p = _window(x, time, padding, 0, "pools")
    outs = tuple(n for i, n in enumerate(low.call.shape[2:]) if i != time)
    return x, time, k, s, p, outs


def _channels_are_places(x: Value) -> bool:
    """Whether time and batch stand where a pool has batch and channels: the first axis of places is the channels."""
    return set(x.axes[:2]) == {"T", "N"} and x.axes[2:] == ("F",) * 3


def _after(size: int, out: int, span: int, stride: int, padding: int) -> int:
    """Padding at the far end, so that the last of ``out`` windows fits (more than ``padding`` in ceil mode)."""
    return max((out - 1) * stride + span - size - padding, 0)


def avg_pool(
    low: Lowering, x: Value, kernel: Ints, stride: Any, padding: Ints, ceil: bool, include: bool, divisor: Any
) -> Value:
    x, _, k, s, p, outs = _pool_geometry(low, x, kernel, stride, padding)
    sizes = x.features[1:]
    pads = tuple((q, _after(n, o, w, j, q)) for n, o, w, j, q in zip(sizes, outs, k, s, p))
    op = SumPool(k, s, pads)
    counts: Any = np.ones(())
    for n, o, w, j, q in zip(sizes, outs, k, s, p):
        first = np.arange(o) * j - q
        low_end, high_end = (-q, n + q) if include else (0, n)
        counts = counts[..., None] * (np.minimum(first + w, high_end) - np.maximum(first, low_end))
    if divisor:
        counts = np.full_like(counts, divisor)
    scale = np.asarray(1.0 / counts.flat[0]) if np.all(counts == counts.flat[0]) else 1.0 / counts[None]

    def pooled(t: Term) -> Term:
        made = low.terms.apply(op, t)
        return low.terms.affine([(made, scale)], 0.0, made.shape)

    return replace(x.mapped(pooled), shape=low.call.shape)


def max_pool(low: Lowering, x: Value, kernel: Ints, stride: Any, padding: Ints, dilation: Ints, ceil: bool) -> Value:
    x, time, k, s, p, outs = _pool_geometry(low, x, kernel, stride, padding)
    d = tuple(int(n) for i, n in enumerate(dilation) if i != time)
    spans = [j * (w - 1) + 1 for j, w in zip(d, k)]
    pads = tuple((q, _after(n, o, w, j, q)) for n, o, w, j, q in zip(x.features[1:], outs, spans, s, p))
    op = MaxPool(k, s, pads, d)
    return replace(x.mapped(lambda t: low.terms.apply(op, t)), shape=low.call.shape)


def adaptive_avg_pool(low: Lowering, x: Value, size: Ints) -> Value:
    x, time = time_inside(low, x)
    if time is not None and low.call.shape[2 + time] != len(x.steps):
        raise Refused("it pools over time", "let it keep all steps, and take the mean over time last")
    channels, *sizes = x.features
    outs = tuple(n for i, n in enumerate(low.call.shape[2:]) if i != time)
    if _channels_are_places(x) and outs[0] == channels:
        outs = outs[1:]
    if len(outs) != len(sizes):
        raise Refused(f"a pool reads axes {shown(x.axes)}", "time and batch must come before the channels here")
    if all(o % n == 0 for n, o in zip(sizes, outs)) and outs != tuple(sizes):
        up = Upsample(tuple(int(o // n) for n, o in zip(sizes, outs)))
        return replace(x.mapped(lambda t: low.terms.apply(up, t)), shape=low.call.shape)
    if all(n % o == 0 for n, o in zip(sizes, outs)):
        kernel = tuple(n // o for n, o in zip(sizes, outs))
        if all(k == 1 for k in kernel):
            return x
        return replace(x.mapped(lambda t: mean_pool(low, t, kernel)), shape=low.call.shape)
    matrix = np.ones((1, 1))
    for n, o in zip(sizes, outs):
        first = np.arange(o) * n // o
        last = -(-(np.arange(o) + 1) * n // o)
        inside = (np.arange(n) >= first[:, None]) & (np.arange(n) < last[:, None])
        matrix = np.kron(matrix, inside / inside.sum(1, keepdims=True))
    if channels**2 * matrix.size > LARGEST_MATRIX:
        raise Refused(
            f"uneven windows from {sizes} to {list(outs)} on {channels} channels", "pool to a size that divides"
        )
    weight = np.kron(np.eye(channels), matrix)
    op = Linear(weight, stored=weight != 0)

    def pooled(t: Term) -> Term:
        flat = low.terms.apply(op, low.terms.apply(Reshape((weight.shape[1],)), t))
        return low.terms.apply(Reshape((channels, *outs)), flat)

    return replace(x.mapped(pooled), shape=low.call.shape)


def mean_pool(low: Lowering, term: Term, kernel: tuple[int, ...], mean: bool = True) -> Term:
    made = low.terms.apply(SumPool(kernel, kernel, ((0, 0),) * len(kernel)), term)
    return low.terms.affine([(made, np.asarray(1.0 / prod(kernel) if mean else 1.0))], 0.0, made.shape)


def upsample(low: Lowering, x: Value, size: Ints) -> Value:
    x, time = time_inside(low, x)
    outs = tuple(n for i, n in enumerate(low.call.shape[2:]) if i != time)
    sizes = x.features[1:]
    if time is not None and low.call.shape[2 + time] != len(x.steps):
        raise Refused("it upsamples time", "let it keep the steps")
    if any(o % n for n, o in zip(sizes, outs)):
        raise Refused(f"upsampling {list(sizes)} to {list(outs)}", "use a whole factor")
    op = Upsample(tuple(int(o // n) for n, o in zip(sizes, outs)))
    return replace(x.mapped(lambda t: low.terms.apply(op, t)), shape=low.call.shape)


HANDLERS: dict[str, Callable[..., Any]] = {
    "avg_pool": avg_pool,
    "max_pool": max_pool,
    "adaptive_avg_pool": adaptive_avg_pool,
    "upsample": upsample,
}
