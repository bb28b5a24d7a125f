"""Which blocks go to which chip, so that few axons lead from one chip to another.

Blocks are put in a row, and each chip takes as many of them as it has cores. Three rows are tried: layer after layer;
place after place through layers of one size (a chip then holds a band of rows of several layers, and axons leave it
at the band's borders); and place after place through all layers. The one with the fewest axons that leave is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.mapping.cuts import Axons, Cut

__all__ = ["leaving", "on_chips"]


def on_chips(cuts: Sequence[Cut], axons: Axons, chip: int | None) -> list[tuple[Array, list[Array]]]:
    """Rows of blocks, those with the fewest axons that leave a chip first.

    Args:
        cuts: the layers.
        axons: which sources' neurons share them.
        chip: the cores of a chip; None: all are on one.

    Returns:
        For each row the number of each block in it, those of all layers one after the other, ``[blocks]``; and for each
        layer the axons of each block that leave its chip.
    """
    blocks = sum(cut.cores for cut in cuts)
    numbers = [np.arange(blocks)]
    if chip is not None and blocks > chip:
        numbers += [np.argsort(order) for order in _by_place(cuts)]
    held = chip or max(blocks, 1)
    rows = [(number, leaving(cuts, axons, number // held)) for number in numbers]
    return sorted(rows, key=lambda row: sum(int(each.sum()) for each in row[1]))


def leaving(cuts: Sequence[Cut], axons: Axons, chip: Array) -> list[Array]:
    """How many axons of each block lead to other chips: one for each core there.

    Args:
        cuts: the layers.
        axons: which sources' neurons share them.
        chip: of each block, those of all layers one after the other.
    """
    chips = np.split(chip, np.cumsum([cut.cores for cut in cuts])[:-1])
    found = []
    for cut, here in zip(cuts, chips):
        name = cut.layer.name
        more = np.zeros(cut.cores, np.int64)
        for reader, there in zip(cuts, chips):
            if name not in reader.layer.on_chip:
                continue
            if name in axons.shared:
                reached = reader.layer.places[name].between(reader.intervals, [((0, 1),), *cut.intervals[1:]])
                each = [-(-(stop - start) // axons.atoms) for start, stop in cut.intervals[0]]
                reached = np.concatenate([many * reached for many in each])
            else:
                reached = reader.layer.sources[name].between(reader.intervals, cut.intervals)
            more += (reached * (here[:, None] != there)).sum(1)
        found.append(more.reshape(tuple(map(len, cut.intervals))))
    return found


def _by_place(cuts: Sequence[Cut]) -> Iterator[Array]:
    """Orders of blocks by where they lie along their first axis in space, then along the others."""
    layer = np.repeat(np.arange(len(cuts)), [cut.cores for cut in cuts])
    keys = [np.concatenate([_middles(cut, axis) for cut in cuts]) for axis in (1, 2)]
    sizes = [cut.layer.space[1:] for cut in cuts]
    run = np.cumsum([0, *(a != b for a, b in pairwise(sizes))])[layer]
    for group in (run, np.zeros_like(run)):
        yield np.lexsort((layer, keys[1], keys[0], group))


def _middles(cut: Cut, axis: int) -> Array:
    """Where the middle of each block lies along an axis, from 0 to 1; that of its layer where it has no such axis."""
    shape = tuple(map(len, cut.intervals))
    if axis >= len(shape):
        return np.full(cut.cores, 0.5)
    middles = np.array([(start + stop) / 2 for start, stop in cut.intervals[axis]]) / cut.layer.space[axis]
    return np.broadcast_to(middles.reshape(*(-1 if k == axis else 1 for k in range(len(shape)))), shape).reshape(-1)
