"""A layer with weights as a list of its synapses: output, input, weight."""

from __future__ import annotations

from itertools import product

import numpy as np

from neurocompile.ir.ops import Array, Conv, ConvTranspose, Linear, Op, Scale
from neurocompile.ir.shapes import output_shape

__all__ = ["connections"]

Shape = tuple[int, ...]


def connections(op: Op, shape: Shape) -> tuple[Array, Array, Array]:
    """Every stored synapse of a layer that reads ``shape``: ``(outputs, inputs, weights)``, flat indices, row-major.

    Weights outside a padded or cropped border are not stored; weights of zero are.
    """
    match op:
        case Linear():
            stored = np.ones(op.weight.shape, bool) if op.stored is None else op.stored
            outputs, inputs = np.nonzero(stored)
            return outputs, inputs, op.weight[outputs, inputs]
        case Scale():
            places = np.arange(int(np.prod(shape)))
            return places, places, np.broadcast_to(op.scale, shape).ravel()
        case Conv() | ConvTranspose():
            return _taps(op, shape)
    raise TypeError(f"{type(op).__name__} has no weights")


def _taps(op: Conv | ConvTranspose, shape: Shape) -> tuple[Array, Array, Array]:
    """Tap by tap: the places that it connects, for all channels of a group at once."""
    out = output_shape(op, [shape])
    transposed = isinstance(op, ConvTranspose)
    # A transposed convolution connects the places of a convolution from its output to its input.
    near, far = (shape[1:], out[1:]) if transposed else (out[1:], shape[1:])
    if isinstance(op, ConvTranspose):
        before: tuple[int, ...] = op.padding
        kernels = _grouped(op)
    else:
        before = tuple(first for first, _ in op.padding)
        kernels = op.weight.reshape(op.groups, op.weight.shape[0] // op.groups, *op.weight.shape[1:])
    groups, outs, ins = kernels.shape[:3]
    found: list[tuple[Array, Array, Array]] = []
    for tap in product(*map(range, kernels.shape[3:])):
        near_index, far_index = _places(tap, near, far, op.stride, op.dilation, before)
        if not near_index.size:
            continue
        at_out, at_in = (far_index, near_index) if transposed else (near_index, far_index)
        size_out, size_in = int(np.prod(out[1:])), int(np.prod(shape[1:]))
        group, o, i = (index.ravel() for index in np.indices((groups, outs, ins)))
        rows = ((group * outs + o) * size_out)[:, None] + at_out
        columns = ((group * ins + i) * size_in)[:, None] + at_in
        weights = kernels[(slice(None),) * 3 + tap].reshape(-1, 1)
        found.append((rows.ravel(), columns.ravel(), np.broadcast_to(weights, rows.shape).ravel()))
    if not found:
        none = np.zeros(0, np.int64)
        return none, none, np.zeros(0, op.weight.dtype)
    rows, columns, weights = (np.concatenate(parts) for parts in zip(*found))
    return rows, columns, weights


def _grouped(op: ConvTranspose) -> Array:
    """``[groups, out, in, *kernel]``."""
    inputs, outs, *kernel = op.weight.shape
    return np.swapaxes(op.weight.reshape(op.groups, inputs // op.groups, outs, *kernel), 1, 2)


def _places(
    tap: tuple[int, ...], near: Shape, far: Shape, stride: Shape, dilation: Shape, before: Shape
) -> tuple[Array, Array]:
    """Which places of the coarse side meet which places of the fine side through one tap (flat indices)."""
    coarse, fine = [], []
    for k, n, m, s, d, b in zip(tap, near, far, stride, dilation, before):
        index = np.arange(n)
        reached = index * s + k * d - b
        inside = (reached >= 0) & (reached < m)
        coarse.append(index[inside])
        fine.append(reached[inside])
    return _flat(coarse, near), _flat(fine, far)


def _flat(indices: list[Array], sizes: Shape) -> Array:
    total = np.zeros((), np.int64)
    for index, size in zip(indices, sizes):
        total = total[..., None] * size + index
    return total.ravel()
