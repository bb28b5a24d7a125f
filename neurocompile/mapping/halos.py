"""What spikes write beyond the borders of blocks, into compartments that nobody reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array
from neurocompile.ir.placed import Block, Placed
from neurocompile.mapping.boxes import silicon_of
from neurocompile.mapping.layers import Kernel, kernels_of

__all__ = ["HaloWrites", "halo_writes"]


@dataclass(frozen=True, eq=False)
class HaloWrites:
    """Of elements ``pre`` of a source: how often each writes into the halo of a block, numbered over all cores."""

    source: str
    block: int
    pre: Array
    writes: Array


def halo_writes(graph: Graph, placed: Placed) -> Iterator[HaloWrites]:
    """All writes into halos of a placed graph, if each element fires once."""
    format = silicon_of(placed.limits, placed.weight_bits).format
    halos = {layer.layer: layer.halo for layer in placed.layers if any(layer.halo)}
    if format is None or not halos:
        return
    kernels = kernels_of(graph, frozenset(placed.host), format, frozenset(halos))
    blocks = ((name, block) for core in placed.cores for name, block in zip(core.layers, core.blocks))
    for number, (name, block) in enumerate(blocks):
        for kernel in kernels.get(name, ()):
            beside = _beside(kernel, block, halos[name])
            for source, event, element in kernel.origins:
                writes = np.bincount(element, beside[event]).astype(np.int64)
                pre = np.flatnonzero(writes)
                if len(pre):
                    yield HaloWrites(source, number, pre, writes[pre])


def _beside(kernel: Kernel, block: Block, halo: Sequence[bool]) -> Array:
    """How often each element of an event writes beyond a block, flat."""
    inside, whole = [], []
    for axis, ((start, stop), wanted, n) in enumerate(zip(block[1:], halo[1:], kernel.event[1:])):
        counts = np.zeros((2, n), np.int64)
        for kept, here in ((False, counts[0]), (wanted, counts[1])):
            for at, reached in kernel.lists.reached(axis + 1, (start, stop), kept).items():
                here[at] = reached
        inside.append(counts[0])
        whole.append(counts[1])
    outs = kernel.lists.channels(block[0])
    written, read = (reduce(np.multiply.outer, each) for each in (whole, inside))
    return np.asarray(np.multiply.outer(outs, written - read)).reshape(-1)
