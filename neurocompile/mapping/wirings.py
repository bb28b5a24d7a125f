"""Which inputs the outputs of an operation see, along their axes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from neurocompile.ir.ops import (
    Array,
    Conv,
    ConvTranspose,
    Linear,
    Scale,
    SumPool,
    Upsample,
)
from neurocompile.mapping.fields import (
    Every,
    Field,
    Pairs,
    Wiring,
    same,
)

__all__ = ["at_a_place", "fields_of", "taps_of"]

Shape = tuple[int, ...]


def fields_of(op: Any, given: Shape, shape: Shape) -> Wiring:
    """Which inputs (of shape ``given``) an operation's outputs (of shape ``shape``) see, zero weights included."""
    match op:
        case Linear():
            if op.stored is None or op.stored.all():
                return (Every(shape[0], given[0], np.arange(shape[0]), np.arange(given[0])),)
            return (Pairs(shape[0], given[0], *np.nonzero(op.stored)),)
        case Scale():
            return same(shape)
        case Conv() | ConvTranspose():
            channels = _grouped(shape[0], given[0], op.groups)
        case _:
            (channels,) = same(shape[:1])
    return (channels, *(Pairs(n, m, o, i) for n, m, (o, i, _) in zip(shape[1:], given[1:], taps_of(op, given, shape))))


def _grouped(outputs: int, inputs: int, groups: int) -> Field:
    if groups == 1:
        return Every(outputs, inputs, np.arange(outputs), np.arange(inputs))
    each = inputs // groups
    starts = np.arange(outputs) // (outputs // groups) * each
    return Pairs(outputs, inputs, np.repeat(np.arange(outputs), each), np.add.outer(starts, np.arange(each)).ravel())


def taps_of(op: Any, given: Shape, shape: Shape) -> Iterator[tuple[Array, Array, Array]]:
    """For each axis in space every (output, input, tap of the kernel) that exists, sorted by output, then input."""
    for axis, (inputs, outputs) in enumerate(zip(given[1:], shape[1:])):
        match op:
            case Upsample():
                out = np.arange(outputs)
                yield out, out // op.factors[axis], np.zeros_like(out)
                continue
            case ConvTranspose():
                kernel = op.weight.shape[2 + axis]
                source, tap = (a.ravel() for a in np.indices((inputs, kernel)))
                out = source * op.stride[axis] + tap * op.dilation[axis] - op.padding[axis]
            case _:
                kernel = op.weight.shape[2 + axis] if isinstance(op, Conv) else op.kernel[axis]
                dilation = 1 if isinstance(op, SumPool) else op.dilation[axis]
                out, tap = (a.ravel() for a in np.indices((outputs, kernel)))
                source = out * op.stride[axis] + tap * dilation - op.padding[axis][0]
        inside = (source >= 0) & (source < inputs) & (out >= 0) & (out < outputs)
        out, source, tap = out[inside], source[inside], tap[inside]
        order = np.lexsort((source, out))
        yield out[order], source[order], tap[order]


def at_a_place(way: Wiring, space: Shape, shape: Shape) -> Wiring | None:
    """What a layer sees of the places of a source, whose channels at a place are one; None where it has no places."""
    one = np.zeros(1, np.int64)
    if len(way) == len(space) and tuple(field.sources for field in way) == space:
        channels = way[0]
        outs = channels.out if isinstance(channels, Every) else np.unique(channels.out)
        return (Every(channels.outputs, 1, outs, one), *way[1:])
    places = prod(space[1:])
    first, *others = way
    if prod(shape) != prod(space) or first.sources != prod(space) or any(field.sources != 1 for field in others):
        return None
    if isinstance(first, Every):
        return (Every(first.outputs, places, first.out, np.unique(first.source % places)), *others)
    return (Pairs.of(first.outputs, places, first.out, first.source % places), *others)
