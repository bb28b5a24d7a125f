"""What one stateless operation does to a batch ``[N, *shape]``: plain NumPy, one obvious function each.

Used by the float64 interpreter and by the integer reference simulator alike: on integers below 2**53 in float64
every sum is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from neurocompile.ir.ops import (
    Add,
    Array,
    Concat,
    Conv,
    ConvTranspose,
    Linear,
    MaxPool,
    Op,
    Pairs,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)

__all__ = ["apply", "without_bias"]


def apply(op: Op, inputs: Sequence[Array]) -> Array:
    """The output ``[N, *out]`` of a stateless operation for inputs ``[N, *in]`` each."""
    (x, *_) = inputs
    match op:
        case Linear():
            y: Array = x @ op.weight.T.astype(x.dtype, copy=False)
            return y if op.bias is None else np.asarray(y + op.bias)
        case Conv():
            y = _conv(x, op)
            return y if op.bias is None else y + op.bias
        case ConvTranspose():
            y = _conv_transpose(x, op)
            return y if op.bias is None else y + op.bias
        case Scale():
            return np.asarray(op.scale * x + op.shift)
        case SumPool():
            kernel_axes = tuple(range(-len(op.kernel), 0))
            return np.asarray(_windows(x, op.kernel, op.stride, op.padding, (1,) * len(op.kernel)).sum(kernel_axes))
        case MaxPool():
            kernel_axes = tuple(range(-len(op.kernel), 0))
            return np.asarray(_windows(x, op.kernel, op.stride, op.padding, op.dilation, fill=-np.inf).max(kernel_axes))
        case Upsample():
            for axis, factor in enumerate(op.factors, start=2):
                x = np.repeat(x, factor, axis)
            return x
        case Reshape():
            return x.reshape(len(x), *op.shape)
        case Concat():
            return np.concatenate(inputs, axis=op.axis + 1)
        case Add():
            total = inputs[0]
            for term in inputs[1:]:
                total = total + term
            return total
    raise TypeError(f"{type(op).__name__} is not one function of one step: it keeps a state, or differs per step")


def without_bias(op: Op) -> Op:
    """The operation's linear part."""
    match op:
        case Linear():
            return Linear(op.weight, None, op.stored)
        case Conv():
            return Conv(op.weight, None, op.stride, op.padding, op.dilation, op.groups)
        case ConvTranspose():
            return ConvTranspose(op.weight, None, op.stride, op.padding, op.output_padding, op.dilation, op.groups)
        case Scale():
            return Scale(op.scale)
    return op


def _windows(
    x: Array, kernel: Sequence[int], stride: Sequence[int], padding: Pairs, dilation: Sequence[int], fill: float = 0.0
) -> Array:
    """All windows of ``x[N, C, *S]`` as a view ``[N, C, *out, *kernel]``."""
    rank = len(kernel)
    if any(any(pair) for pair in padding):
        inside = tuple(slice(max(0, -a), max(0, n + min(0, b))) for n, (a, b) in zip(x.shape[2:], padding))
        more = ((max(0, a), max(0, b)) for a, b in padding)
        x = np.pad(x[(slice(None), slice(None), *inside)], ((0, 0), (0, 0), *more), constant_values=fill)
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation))
    views = sliding_window_view(x, spans, axis=tuple(range(2, 2 + rank)))
    starts = tuple(slice(None, None, s) for s in stride)
    taps = tuple(slice(None, None, d) for d in dilation)
    return views[(slice(None), slice(None), *starts, *taps)]


def _conv(x: Array, op: Conv) -> Array:
    outputs, per_group, *kernel = op.weight.shape
    rank = len(kernel)
    windows = _windows(x, kernel, op.stride, op.padding, op.dilation)
    out = outputs // op.groups
    summed = (1, *range(2 + rank, 2 + 2 * rank)), (1, *range(2, 2 + rank))
    parts = [
        np.tensordot(
            windows[:, g * per_group : (g + 1) * per_group],
            op.weight[g * out : (g + 1) * out].astype(x.dtype, copy=False),
            summed,
        )
        for g in range(op.groups)
    ]
    return np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)


def _conv_transpose(x: Array, op: ConvTranspose) -> Array:
    weight: Any = op.weight
    inputs, out, *kernel = weight.shape
    batch, _, *size = x.shape
    per_group = inputs // op.groups
    full = [
        (n - 1) * s + d * (k - 1) + 1 + extra
        for n, s, d, k, extra in zip(size, op.stride, op.dilation, kernel, op.output_padding)
    ]
    y = np.zeros((batch, out * op.groups, *full), x.dtype)
    for g in range(op.groups):
        channels = slice(g * per_group, (g + 1) * per_group)
        for tap in product(*map(range, kernel)):
            part = np.moveaxis(np.tensordot(x[:, channels], weight[(channels, slice(None), *tap)], (1, 0)), -1, 1)
            places = tuple(
                slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, n, s in zip(tap, op.dilation, size, op.stride)
            )
            y[(slice(None), slice(g * out, (g + 1) * out), *places)] += part
    # Padding p takes p away on both sides; output_padding has added to the far side.
    crop = tuple(slice(p, n - p) for p, n in zip(op.padding, full))
    return y[(slice(None), slice(None), *crop)]
