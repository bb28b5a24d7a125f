"""The shape that an operation gives, without computing anything."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from neurocompile.ir.ops import (
    Concat,
    Conv,
    ConvTranspose,
    Linear,
    MaxPool,
    Op,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)

__all__ = ["NothingLeft", "output_shape"]

Shape = tuple[int, ...]


class NothingLeft(ValueError):
    """An operation whose output would have no element."""


def output_shape(op: Op, shapes: Sequence[Shape]) -> Shape:
    """The shape of a stateless operation's output for inputs of these shapes (no batch).

    Raises:
        ValueError: if they do not fit the operation; :class:`NothingLeft` where the output had no element.
    """
    (shape, *others) = shapes
    match op:
        case Linear():
            _fits(shape == op.weight.shape[1:], f"{list(op.weight.shape)} weights")
            out: Shape = (op.weight.shape[0],)
        case Conv():
            channels = op.weight.shape[1] * op.groups
            _fits(len(shape) == op.weight.ndim - 1 and shape[0] == channels, f"{channels} channels")
            sizes = _windows(shape[1:], op.weight.shape[2:], op.stride, op.padding, op.dilation)
            out = (op.weight.shape[0], *sizes)
        case ConvTranspose():
            channels = op.weight.shape[0]
            _fits(len(shape) == op.weight.ndim - 1 and shape[0] == channels, f"{channels} channels")
            geometry = zip(shape[1:], op.weight.shape[2:], op.stride, op.padding, op.output_padding, op.dilation)
            sizes = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 + extra for n, k, s, p, extra, d in geometry)
            out = (op.weight.shape[1] * op.groups, *sizes)
        case Scale():
            out = np.broadcast_shapes(op.scale.shape, op.shift.shape, shape)
            _fits(out == shape, f"a scale of {list(op.scale.shape)}")
        case SumPool() | MaxPool():
            dilation = op.dilation if isinstance(op, MaxPool) else (1,) * len(op.kernel)
            _fits(len(shape) == len(op.kernel) + 1, f"windows of {list(op.kernel)}")
            out = (shape[0], *_windows(shape[1:], op.kernel, op.stride, op.padding, dilation))
        case Upsample():
            _fits(len(shape) == len(op.factors) + 1, f"factors {list(op.factors)}")
            out = (shape[0], *(n * factor for n, factor in zip(shape[1:], op.factors)))
        case Reshape():
            _fits(prod(shape) == prod(op.shape), f"shape {list(op.shape)}")
            out = op.shape
        case Concat():
            rest = {(*s[: op.axis], *s[op.axis + 1 :]) for s in shapes}
            _fits(len(rest) == 1, "the other shapes")
            out = (*shape[: op.axis], sum(s[op.axis] for s in shapes), *shape[op.axis + 1 :])
        case _:
            _fits(all(other == shape for other in others), "the other shapes")
            out = shape
    if not all(size > 0 for size in out):
        raise NothingLeft(f"its output of shape {list(map(int, out))} has no element")
    return tuple(int(size) for size in out)


def _windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> Shape:
    geometry = zip(sizes, kernel, stride, padding, dilation)
    return tuple((n + sum(pads) - d * (k - 1) - 1) // s + 1 for n, k, s, pads, d in geometry)


def _fits(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"it does not fit {what}")
