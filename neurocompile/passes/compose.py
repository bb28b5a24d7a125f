"""Layers behind one another as one layer whose weights are still shared between places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array, Conv, ConvTranspose, SumPool, Upsample
from neurocompile.ir.shapes import output_shape

__all__ = ["Tiled", "as_weights", "compose", "is_depthwise", "without_weights"]

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Tiled:
    """What ``second`` does behind ``first``, where that takes several convolutions: each gives a tile of the outputs.

    ``tiles[i]`` (of two axes in space ``tiles[i, j]``) are the convolutions, added up, of the tile in row i (and column
    j). No two of a tile connect the same input and output.
    """

    first: Conv
    second: Conv
    tiles: dict[Shape, tuple[Conv, ...]]

    @property
    def convolutions(self) -> list[Conv]:
        """All of them."""
        return [each for tile in self.tiles.values() for each in tile]


def as_weights(op: SumPool | Upsample, channels: int) -> Conv | ConvTranspose:
    """A pool (or nearest-neighbour upsampling) of so many channels as a depthwise (transposed) convolution of ones."""
    if isinstance(op, SumPool):
        ones = np.ones((channels, 1, *op.kernel))
        return Conv(ones, None, op.stride, op.padding, (1,) * len(op.kernel), channels)
    none = (0,) * len(op.factors)
    one = (1,) * len(op.factors)
    return ConvTranspose(np.ones((channels, 1, *op.factors)), None, op.factors, none, none, one, channels)


def without_weights(op: Any) -> Any:
    """A layer as the pool (or upsampling) that it is, if it is one: the inverse of :func:`as_weights`, and fast."""
    if not is_depthwise(op) or any(d != 1 for d in op.dilation) or not np.all(op.weight == 1):
        return op
    kernel = op.weight.shape[2:]
    if isinstance(op, Conv):
        return SumPool(kernel, op.stride, op.padding)
    return op if kernel != op.stride or any(op.padding) or any(op.output_padding) else Upsample(kernel)


def is_depthwise(op: Any) -> bool:
    """Whether a convolution gives one channel for each channel, and reads no other."""
    if not isinstance(op, Conv | ConvTranspose):
        return False
    return bool(op.groups == op.weight.shape[0] and op.weight.shape[1] == 1)


def _is_pointwise(op: Any) -> bool:
    """Whether a convolution reads, for each place, that place alone, and all channels."""
    plain = isinstance(op, Conv) and op.groups == 1 and op.weight.shape[2:] == (1,) * (op.weight.ndim - 2)
    return plain and all(s == 1 for s in op.stride) and not np.any(op.padding)


def compose(first: Any, second: Any, shape: Shape) -> Conv | ConvTranspose | Tiled | None:
    """One layer that does what ``second`` does behind ``first``, for an input of ``shape``; None if there is none.

    1. A convolution behind a depthwise one (a pool) is a convolution with a larger kernel and stride. Where its zero
       padding lies where a window of the first reaches into the input, outputs at that border have a smaller kernel:
       they are a convolution of their own. Where the windows that it reads leave gaps between them, their first
       elements are a dilated convolution, their second ones another, and so on.
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
    if isinstance(first, Conv):
        return _pooled(first, second, shape, out)
    made = _upsampled(first, second)
    return made if made is not None and output_shape(made, [shape]) == out else None


def _pooled(first: Conv, second: Conv, shape: Shape, out: Shape) -> Conv | Tiled | None:
    if any(d != 1 for d in first.dilation):
        return None
    pooled = output_shape(first, [shape])
    each = _per_channel(first.weight[:, 0], second)
    runs = [
        [list(_pieces(run, first, second, axis, size)) for run in _runs(first, second, axis, size, middle, last)]
        for axis, (size, middle, last) in enumerate(zip(shape[1:], pooled[1:], out[1:]))
    ]
    tiles = {
        place: tuple(_convolution(pieces, second, each) for pieces in product(*(run[k] for run, k in zip(runs, place))))
        for place in product(*(range(len(along)) for along in runs))
    }
    (whole, *others), *more = tiles.values()
    return Tiled(first, second, tiles) if others or more else whole


@dataclass
class _Run:
    """Outputs ``start`` to ``stop - 1`` of an axis, which all have the same kernel: that of the taps ``live``.

    Taps in ``dead`` reach zero padding where the first layer's window is over the input: those have no weight here.
    """

    start: int
    stop: int
    live: set[int]
    dead: set[int]

    @property
    def taps(self) -> range:
        """Those of the kernel."""
        return range(min(self.live), max(self.live) + 1) if self.live else range(0)


def _runs(first: Conv, second: Conv, axis: int, size: int, middle: int, last: int) -> list[_Run]:
    """The outputs of an axis in as few runs as can be; the sizes are those of the input, in between, and the output."""
    wide, step, (before, _) = first.weight.shape[2 + axis], first.stride[axis], first.padding[axis]
    found: list[_Run] = []
    for out in range(last):
        run = _Run(out, out + 1, set(), set())
        for tap in range(second.weight.shape[2 + axis]):
            place = out * second.stride[axis] + tap * second.dilation[axis] - second.padding[axis][0]
            if -wide < place * step - before < size:
                (run.live if 0 <= place < middle else run.dead).add(tap)
        if found:
            both = _Run(found[-1].start, run.stop, found[-1].live | run.live, found[-1].dead | run.dead)
            if both.dead.isdisjoint(both.taps):
                found[-1] = both
                continue
        found.append(run)
    return found


@dataclass(frozen=True)
class _Piece:
    """One axis of a convolution: taps ``tap`` of the second layer, elements ``window`` of the first one's kernel.

    Taps are ``apart`` in the kernel of ``size``.
    """

    taps: range
    window: slice
    size: int
    apart: int
    stride: int
    padding: tuple[int, int]
    dilation: int


def _pieces(run: _Run, first: Conv, second: Conv, axis: int, size: int) -> Iterator[_Piece]:
    wide, step, (before, _) = first.weight.shape[2 + axis], first.stride[axis], first.padding[axis]
    stride, spread, taps = step * second.stride[axis], step * second.dilation[axis], run.taps
    far = (run.stop - run.start - 1) * stride
    if not taps:  # nothing but padding
        yield _Piece(taps, slice(0, 0), 1, 1, stride, (far + 1, -size), 1)
        return
    place = run.start * second.stride[axis] + taps[0] * second.dilation[axis] - second.padding[axis][0]
    in_gaps = len(taps) > 1 and spread > wide
    for at in range(wide) if in_gaps else (0,):
        start = place * step - before + at
        kernel, dilation = (len(taps), spread) if in_gaps else ((len(taps) - 1) * spread + wide, 1)
        after = far + (kernel - 1) * dilation + 1 - size + start
        # A remainder that is less than a stride makes no output.
        padding = (-start, 0 if -stride < after < 0 else after)
        window = slice(at, at + 1) if in_gaps else slice(0, wide)
        yield _Piece(taps, window, kernel, 1 if in_gaps else spread, stride, padding, dilation)


def _convolution(pieces: tuple[_Piece, ...], second: Conv, each: Array) -> Conv:
    """The convolution of one piece an axis; ``each`` are the kernels of the first layer that each weight meets."""
    weight = np.zeros((*second.weight.shape[:2], *(piece.size for piece in pieces)))
    windows: tuple[Any, ...] = (slice(None), slice(None), *(piece.window for piece in pieces))
    kernels = each[windows]
    for tap in product(*(piece.taps for piece in pieces)):
        starts = [(t - piece.taps[0]) * piece.apart for t, piece in zip(tap, pieces)]
        place = tuple(slice(start, start + n) for start, n in zip(starts, kernels.shape[2:]))
        here: tuple[Any, ...] = (slice(None), slice(None), *tap)
        weight[(slice(None), slice(None), *place)] += _outer(second.weight[here], kernels)
    stride, padding, dilation = zip(*((piece.stride, piece.padding, piece.dilation) for piece in pieces))
    return Conv(weight, None, stride, padding, dilation, second.groups)


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
