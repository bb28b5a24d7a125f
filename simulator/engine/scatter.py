"""A layer's weights as what each unit of its source adds to the sums around it.

A *unit* is a pixel of the source, or a few side by side; a *place* is where the sums of its surroundings start in a
frame of sums, which has a margin so that no border is tested. Units that meet the same weights at the same distances
are of one *class*. Convolutions of every kind, transposed ones and matrices all come down to this (docs/engine.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array, Conv, ConvTranspose, Linear, Scale

__all__ = [
    "Class",
    "Geometry",
    "Tables",
    "classes_of",
    "limits",
    "neighbours",
    "pixel_bytes",
    "planes",
    "safe_events",
    "tables",
]

_TABLE_BYTES = 40 * 1024  # of one block of outputs and one part of the inputs: it stays in the first-level cache
_PART_BYTES = 32  # of a unit's bits: an event is numbered by one byte


def planes(shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, rows and columns of a shape: (C, H, W), or (C, L), or (F,)."""
    match tuple(shape):
        case (channels,):
            return channels, 1, 1
        case (channels, rows, columns):
            return channels, rows, columns
        case (channels, *rest):
            return channels, 1, int(np.prod(rest))
    return 1, 1, 1


def pixel_bytes(channels: int) -> int:
    """How many bytes the bits of a pixel take."""
    return 2 if channels <= 16 else 4 if channels <= 32 else -(-channels // 64) * 8


@dataclass
class Class:
    """Units with their places (row, column: may be negative), the distances that they reach, and their weights.

    ``weights`` is ``[bits of a unit, distances, outputs]``.
    """

    units: Array
    rows: Array
    columns: Array
    distances: list[tuple[int, int]]
    weights: Array


def classes_of(op: Any, source: tuple[int, ...], out: tuple[int, ...], abreast: int) -> list[Class]:
    """The classes of a layer that reads ``source`` (channels, rows, columns) and feeds ``out``.

    Args:
        op: Linear, Conv, ConvTranspose, or a Scale of one number a channel.
        source: of what it reads; a Linear reads it row-major.
        out: of what it feeds; a Linear feeds it row-major.
        abreast: how many pixels side by side make a unit: a multiple of the stride, or 1.
    """
    channels = source[0]
    match op:
        case Linear():
            return _of_matrix(_small(op.weight), source, out)
        case Scale():
            each = np.broadcast_to(op.scale, (channels, 1, 1)).reshape(channels, 1, 1)
            weight = _small(each[:, :, None])
            return _of_taps(_dense(weight, channels, False), source, (1, 1), (0, 0), (1, 1), False, abreast)
        case Conv():
            before = _both(tuple(first for first, _ in op.padding), 0)
            weight = _dense(_flat_kernel(_small(op.weight)), op.groups, False)
            return _of_taps(weight, source, _both(op.stride), before, _both(op.dilation), False, abreast)
        case ConvTranspose():
            weight = _dense(_flat_kernel(_small(op.weight)), op.groups, True)
            pads = _both(op.padding, 0)
            return _of_taps(weight, source, _both(op.stride), pads, _both(op.dilation), True, 1)
    raise TypeError(f"{type(op).__name__} has no weights")


def limits(op: Any, source: tuple[int, ...], pixels: int) -> tuple[Array, Array]:
    """For each input and output channel the most negative and the most positive that an output gets from an input.

    ``pixels`` are those of the output.
    """
    match op:
        case Linear():
            weight = op.weight.reshape(-1, pixels, source[0], op.weight.shape[1] // source[0])
            low, high = np.minimum(weight, 0).sum(3).min(1), np.maximum(weight, 0).sum(3).max(1)
            return low.T, high.T
        case Scale():
            each = np.diag(np.broadcast_to(op.scale, (source[0], 1, 1)).reshape(-1))
            return np.minimum(each, 0), np.maximum(each, 0)
    weight = _dense(_flat_kernel(op.weight), op.groups, isinstance(op, ConvTranspose))
    return np.minimum(weight, 0).sum((1, 2)), np.maximum(weight, 0).sum((1, 2))


def safe_events(ops: Sequence[Any], most: int) -> int:
    """So many different events, whichever they are, add up to at most ``most`` in every sum, and to at least ``-most``.

    The heaviest weights of an output prove it. What several of ``ops`` feed may get the heaviest of each.
    """
    heaviest = [_heaviest(op, most) for op in ops]
    longest = max(each.shape[1] for each in heaviest)
    padded = [np.pad(each, ((0, 0), (0, longest - each.shape[1])), "edge") for each in heaviest]
    return int((np.sum(padded, 0) <= most).sum(1).min()) - 1


def _heaviest(op: Any, most: int) -> Array:
    """What the n heaviest weights of an output add up to at most, up and down: ``[2, n from 0 on]``."""
    match op:
        case Linear():
            met = op.weight.T
        case Scale():
            met = np.asarray(op.scale).reshape(1, -1)
        case _:
            weight = _dense(_flat_kernel(op.weight), op.groups, isinstance(op, ConvTranspose))
            met = weight.reshape(-1, weight.shape[-1])
    found = np.zeros((2, min(len(met), most + 1) + 1), np.int64)
    for first in range(0, met.shape[1], 64):
        some = np.sort(met[:, first : first + 64].astype(np.int64), 0)
        for way, each in enumerate((some[::-1], -some)):
            sums = np.cumsum(np.maximum(each[: found.shape[1] - 1], 0), 0).max(1, initial=0)
            found[way, 1:] = np.maximum(found[way, 1:], sums)
    return found


def _small(weight: Array) -> Array:
    """In the fewest bytes; nothing here computes with weights."""
    for kind in (np.int8, np.int16, np.int32):
        if weight.size == 0 or (np.iinfo(kind).min <= weight.min() and weight.max() <= np.iinfo(kind).max):
            return weight.astype(kind)
    return weight


def _both(values: Sequence[int], fill: int = 1) -> tuple[int, int]:
    return (fill, *values) if len(values) == 1 else (values[0], values[1])  # type: ignore[return-value]


def _flat_kernel(weight: Array) -> Array:
    return weight[:, :, None] if weight.ndim == 3 else weight


def _dense(weight: Array, groups: int, transposed: bool) -> Array:
    """``[inputs, *kernel, outputs]``, with zeros between the groups."""
    first, second, *kernel = weight.shape
    outputs, inputs = (second * groups, first) if transposed else (first, second * groups)
    dense = np.zeros((inputs, *kernel, outputs), weight.dtype)
    for g in range(groups):
        into = slice(g * inputs // groups, (g + 1) * inputs // groups)
        out = slice(g * outputs // groups, (g + 1) * outputs // groups)
        part = weight[into] if transposed else weight[out]
        dense[into, ..., out] = np.moveaxis(part, 1, -1) if transposed else np.moveaxis(part, (1, 0), (0, -1))
    return dense


def _of_matrix(weight: Array, source: tuple[int, ...], out: tuple[int, ...]) -> list[Class]:
    channels, rows, columns = source
    outputs, out_rows, out_columns = out
    pixels = rows * columns
    whole = weight.reshape(outputs, out_rows * out_columns, channels, pixels)
    distances = [(r, c) for r in range(out_rows) for c in range(out_columns)]
    zero = np.zeros(1, np.int64)
    return [
        Class(np.array([p]), zero, zero, distances, np.ascontiguousarray(whole[..., p].transpose(2, 1, 0)))
        for p in range(pixels)
    ]


def _of_taps(
    weight: Array,
    source: tuple[int, ...],
    stride: tuple[int, int],
    pad: tuple[int, int],
    dilation: tuple[int, int],
    transposed: bool,
    abreast: int,
) -> list[Class]:
    channels, rows, columns = source
    row_classes = _along(rows, weight.shape[1], stride[0], pad[0], dilation[0], transposed)
    if abreast > 1:
        starts = np.arange(0, columns, abreast)
        side_by_side = neighbours(abreast, weight.shape[2], stride[1], pad[1], dilation[1])
        column_classes = [(starts, starts // stride[1], side_by_side)]
    else:
        alone = _along(columns, weight.shape[2], stride[1], pad[1], dilation[1], transposed)
        column_classes = [(xs, places, [(0, k, d) for k, d in taps]) for xs, places, taps in alone]
    found = []
    for (ys, y_places, y_taps), (xs, x_places, x_taps) in product(row_classes, column_classes):
        if not y_taps or not x_taps or not len(ys) or not len(xs):
            continue
        reach = sorted({d for _, _, d in x_taps})
        distances = [(dy, dx) for _, dy in y_taps for dx in reach]
        bits = 8 * pixel_bytes(channels) * (abreast - 1) + channels
        weights = np.zeros((bits, len(distances), weight.shape[-1]), weight.dtype)
        for (row, (ky, _)), (j, kx, dx) in product(enumerate(y_taps), x_taps):
            first = 8 * pixel_bytes(channels) * j
            weights[first : first + channels, row * len(reach) + reach.index(dx)] = weight[:, ky, kx]
        ys, xs = ys[:, None], xs[None, :]
        y_places, x_places = y_places[:, None], x_places[None, :]
        units = ys * (columns // abreast) + xs // abreast
        shape = units.shape
        found.append(
            Class(
                units.ravel(),
                np.broadcast_to(y_places, shape).ravel(),
                np.broadcast_to(x_places, shape).ravel(),
                distances,
                weights,
            )
        )
    return found


def neighbours(abreast: int, kernel: int, stride: int, pad: int, dilation: int) -> list[tuple[int, int, int]]:
    """For pixels side by side: which of them meets which tap, and how far from the first one's output that adds."""
    met = [(j, k, j + pad - k * dilation) for j in range(abreast) for k in range(kernel)]
    return [(j, k, far // stride) for j, k, far in met if far % stride == 0]


def _along(
    size: int, kernel: int, stride: int, pad: int, dilation: int, transposed: bool
) -> list[tuple[Array, Array, list[tuple[int, int]]]]:
    """The classes along one axis: positions, their places, and (tap, distance) for each tap that they meet."""
    index = np.arange(size)
    if transposed:
        return [(index, index * stride - pad, [(k, k * dilation) for k in range(kernel)])]
    found = []
    for rest in range(stride):
        ours = index[(index + pad) % stride == rest]
        taps = [(k, (rest - k * dilation) // stride) for k in range(kernel) if (rest - k * dilation) % stride == 0]
        found.append((ours, (ours + pad) // stride, sorted(taps, key=lambda tap: tap[1])))
    return found


@dataclass
class Geometry:
    """The frame of sums of a layer: its channels in blocks, and its pixels with a margin."""

    channels: int
    rows: int
    columns: int
    block: int
    top: int = 0
    before: int = 0
    padded_rows: int = 0
    padded_columns: int = 0

    @property
    def blocks(self) -> int:
        """How many blocks of channels there are."""
        return -(-self.channels // self.block)

    def surround(self, classes: Sequence[Class]) -> None:
        """Make the margin wide enough for all that these classes reach."""
        spans: list[list[int]] = [[0, self.rows - 1], [0, self.columns - 1]]
        for each in classes:
            for span, places, axis in zip(spans, (each.rows, each.columns), (0, 1)):
                reach = [d[axis] for d in each.distances]
                span[0] = min(span[0], int(places.min()) + min(reach))
                span[1] = max(span[1], int(places.max()) + max(reach))
        self.top, self.before = -spans[0][0], -spans[1][0]
        self.padded_rows = self.top + spans[0][1] + 1
        self.padded_columns = self.before + spans[1][1] + 1
        self.padded_columns += self.padded_columns * self.block // 16 % 2  # rows start where cache lines do


@dataclass
class Tables:
    """Weights as the kernels read them: ``[bits of the part][vectors][lanes]`` of each block, part, class and chunk."""

    table: Array
    at: Array
    chunks: list[list[int]]
    offsets: Array


def part_sizes(classes: Sequence[Class], bits: int, block: int, weight_bytes: int) -> int:
    """How many bits of a unit are taken at a time, so that their weights stay in the cache."""
    widest = max(len(each.distances) for each in classes) * block * weight_bytes
    size = 8 * _PART_BYTES
    while size > 64 and size * widest > _TABLE_BYTES:
        size //= 2
    return min(size, -(-bits // 8) * 8)


def tables(
    classes: Sequence[Class], geometry: Geometry, lanes: int, parts: Sequence[tuple[int, int]], kind: Any, most: int
) -> Tables:
    """Lay out the weights of all classes.

    Args:
        classes: of the layer.
        geometry: of its sums.
        lanes: of a register.
        parts: first and last bit of each part of a unit.
        kind: the type of a weight.
        most: registers that a kernel has.
    """
    block = geometry.block
    pieces: list[Array] = []
    offsets: list[int] = []
    chunks: list[list[int]] = []
    layouts = []
    for each in classes:
        starts, columns = _vectors(each.distances, geometry, lanes)
        sizes = [min(most, len(starts) - first) for first in range(0, len(starts), most)]
        chunks.append(sizes)
        offsets += starts
        layouts.append((columns, sizes))
    at = np.full((geometry.blocks, len(parts), sum(map(len, chunks))), -1, np.int64)
    used = 0
    for b, (part, (begin, end)) in product(range(geometry.blocks), enumerate(parts)):
        column = 0
        for each, (columns, sizes) in zip(classes, layouts):
            ours = each.weights[begin:end, :, b * block : (b + 1) * block]
            rows, distances, outs = ours.shape
            flat = np.zeros((rows, distances * block + 1), kind)  # its last column stands for lanes that meet nothing
            flat[:, :-1].reshape(rows, distances, block)[:, :, :outs] = ours
            some = flat.any()
            first = 0
            for size in sizes:
                if some:
                    piece = flat[:, columns[first : first + size].ravel()].ravel()
                    at[b, part, column] = used
                    pieces.append(piece)
                    used += piece.size
                first += size
                column += 1
    table = np.concatenate([*pieces, np.zeros(64, kind)])
    return Tables(table, at, chunks, np.array(offsets, np.int32))


def _vectors(distances: Sequence[tuple[int, int]], geometry: Geometry, lanes: int) -> tuple[list[int], Array]:
    """Where each register of sums goes (lanes from the unit's place), and which columns of the weights it holds."""
    block = geometry.block
    starts = [(dy * geometry.padded_columns + dx) * block for dy, dx in distances]
    order = np.argsort(starts, kind="stable")
    runs: list[list[int]] = []
    for index in order:
        if runs and starts[runs[-1][-1]] + block == starts[index]:
            runs[-1].append(int(index))
        else:
            runs.append([int(index)])
    firsts: list[int] = []
    columns: list[Array] = []
    nothing = len(distances) * block
    for run in runs:
        lane = np.concatenate([index * block + np.arange(block) for index in run])
        for first in range(0, len(lane), lanes):
            piece = np.full(lanes, nothing)
            held = lane[first : first + lanes]
            piece[: len(held)] = held
            firsts.append(starts[run[0]] + first)
            columns.append(piece)
    return firsts, np.array(columns)
