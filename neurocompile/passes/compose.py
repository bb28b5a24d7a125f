"""Layers behind one another as one layer whose weights are still shared between places."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array, Conv, ConvTranspose, SumPool, Upsample
from neurocompile.ir.shapes import output_shape

__all__ = ["as_weights", "compose", "is_depthwise"]

Shape = tuple[int, ...]


def as_weights(op: SumPool | Upsample, channels: int) -> Conv | ConvTranspose:
    """A pool (or nearest-neighbour upsampling) of so many channels as a depthwise (transposed) convolution of ones."""
    if isinstance(op, SumPool):
        ones = np.ones((channels, 1, *op.kernel))
        return Conv(ones, None, op.stride, op.padding, (1,) * len(op.kernel), channels)
    none = (0,) * len(op.factors)
    one = (1,) * len(op.factors)
    return ConvTranspose(np.ones((channels, 1, *op.factors)), None, op.factors, none, none, one, channels)


def is_depthwise(op: Any) -> bool:
    """Whether a convolution gives one channel for each channel, and reads no other."""
    if not isinstance(op, Conv | ConvTranspose):
        return False
    return bool(op.groups == op.weight.shape[0] and op.weight.shape[1] == 1)


def _is_pointwise(op: Any) -> bool:
    """Whether a convolution reads, for each place, that place alone, and all channels."""
    plain = isinstance(op, Conv) and op.groups == 1 and op.weight.shape[2:] == (1,) * (op.weight.ndim - 2)
    return plain and all(s == 1 for s in op.stride) and not np.any(op.padding)


def compose(first: Any, second: Any, shape: Shape) -> Conv | ConvTranspose | None:
    """One layer that does what ``second`` does behind ``first``, for an input of ``shape``; None if there is none.

    1. A convolution behind a depthwise one (a pool) is a convolution with a larger kernel and stride, unless its zero
       padding lies where a window of the first reaches into the input.
    2. A convolution of stride 1 behind non-overlapping upsampling is a transposed convolution, unless it pads more than
       its kernel is wide.
    3. A convolution of one place behind another convolution, transposed or not, mixes that one's outputs; a convolution
       behind one of one place has its inputs mixed.
    """
    if _is_pointwise(second) and isinstance(first, Conv | ConvTranspose) and first.groups == 1:
        mix = second.weight.reshape(second.weight.shape[:2])
        axis = 0 if isinstance(first, Conv) else 1
        return replace(first, weight=np.moveaxis(np.tensordot(mix, first.weight, (1, axis)), 0, axis))
    if _is_pointwise(first) and isinstance(second, Conv) and second.groups == 1:
        mix = first.weight.reshape(first.weight.shape[:2])
        return replace(second, weight=np.moveaxis(np.tensordot(second.weight, mix, (1, 0)), -1, 1))
    if not isinstance(second, Conv) or not is_depthwise(first):
        return None
    out = output_shape(second, [output_shape(first, [shape])])
    made = _pooled(first, second, shape, out) if isinstance(first, Conv) else _upsampled(first, second)
    return made if made is not None and output_shape(made, [shape]) == out else None


def _pooled(first: Conv, second: Conv, shape: Shape, out: Shape) -> Conv | None:
    if any(d != 1 for d in first.dilation):
        return None
    pooled = output_shape(first, [shape])
    kernel, padding, stride = [], [], []
    for axis, (size, middle, last) in enumerate(zip(shape[1:], pooled[1:], out[1:])):
        wide, step, (before, _) = first.weight.shape[2 + axis], first.stride[axis], first.padding[axis]
        pad_before, pad_after = second.padding[axis]
        taps, spread = second.weight.shape[2 + axis], second.dilation[axis] * step
        if (pad_before and wide > step + before) or (pad_after and middle * step - before < size):
            return None
        span = (taps - 1) * spread + wide
        start = pad_before * step + before
        kernel.append(span)
        stride.append(step * second.stride[axis])
        padding.append((start, max(0, (last - 1) * stride[-1] + span - size - start)))
    each = _per_channel(first.weight[:, 0], second)
    weight = np.zeros((*second.weight.shape[:2], *kernel))
    for tap in np.ndindex(*second.weight.shape[2:]):
        starts = [t * d * s for t, d, s in zip(tap, second.dilation, first.stride)]
        place = tuple(slice(start, start + wide) for start, wide in zip(starts, first.weight.shape[2:]))
        weight[(slice(None), slice(None), *place)] += _outer(second.weight[(slice(None), slice(None), *tap)], each)
    return Conv(weight, None, tuple(stride), tuple(padding), (1,) * len(kernel), second.groups)


def _upsampled(first: ConvTranspose, second: Conv) -> ConvTranspose | None:
    rank = len(first.stride)
    plain = all(p == 0 for p in first.padding) and all(p == 0 for p in first.output_padding)
    if not plain or first.weight.shape[2:] != first.stride or any(s != 1 for s in second.stride):
        return None
    reach = [(k - 1) * d for k, d in zip(second.weight.shape[2:], second.dilation)]
    padding = tuple(far - before for far, (before, _) in zip(reach, second.padding))
    more = tuple(after - before for before, after in second.padding)
    if min(padding) < 0 or min(more) < 0:
        return None
    each = _per_channel(first.weight[:, 0], second)
    outputs, per_group = second.weight.shape[:2]
    weight = np.zeros((outputs, per_group, *(f + far for f, far in zip(first.stride, reach))))
    for tap in np.ndindex(*second.weight.shape[2:]):
        starts = [far - t * d for far, t, d in zip(reach, tap, second.dilation)]
        place = tuple(slice(start, start + f) for start, f in zip(starts, first.stride))
        weight[(slice(None), slice(None), *place)] += _outer(second.weight[(slice(None), slice(None), *tap)], each)
    grouped = weight.reshape(second.groups, outputs // second.groups, *weight.shape[1:])
    turned = np.swapaxes(grouped, 1, 2).reshape(second.groups * per_group, outputs // second.groups, *weight.shape[2:])
    return ConvTranspose(turned, None, first.stride, padding, more, (1,) * rank, second.groups)


def _per_channel(kernels: Array, second: Conv) -> Array:
    """The depthwise kernels ``[out, in / groups, *kernel]`` that each weight of ``second`` meets."""
    outputs, per_group = second.weight.shape[:2]
    group_of = np.repeat(np.arange(second.groups), outputs // second.groups)
    channels = group_of[:, None] * per_group + np.arange(per_group)
    found: Array = kernels[channels]
    return found


def _outer(weights: Array, kernels: Array) -> Array:
    return np.asarray(weights.reshape(*weights.shape, *(1,) * (kernels.ndim - 2)) * kernels)
