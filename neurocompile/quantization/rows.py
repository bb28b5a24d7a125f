"""A layer with weights seen as rows: one for each set of weights that feeds one output channel (or neuron)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import networkx as nx
import numpy as np

from neurocompile.ir.arrays import compact
from neurocompile.ir.form import Layer, Synapse
from neurocompile.ir.graph import Node
from neurocompile.ir.ops import Array, Conv, ConvTranspose, Scale

__all__ = ["Rows", "row_groups", "rows_of"]


@dataclass(frozen=True)
class Rows:
    """The weights of one synapse.

    ``rows[row, weight]`` holds them; ``row_of[*out]`` says which row feeds each output; ``reaches[*layer]`` says which
    row reaches each neuron, -1 where none does.
    """

    synapse: Synapse
    rows: Array
    row_of: Array
    reaches: Array

    def with_rows(self, rows: Array) -> Node:
        """The node with other weights, in the same order."""
        op = self.synapse.op
        if isinstance(op, ConvTranspose):
            inputs, out, *kernel = op.weight.shape
            grouped = rows.reshape(op.groups, out, inputs // op.groups, *kernel)
            op = replace(op, weight=np.swapaxes(grouped, 1, 2).reshape(op.weight.shape))
        elif isinstance(op, Scale):
            op = Scale(rows.reshape(_rowwise(op.scale, self.row_of.shape).shape))
        else:
            op = replace(op, weight=rows.reshape(op.weight.shape))
        return replace(self.synapse.node, op=op)


def _rowwise(scale: Array, shape: tuple[int, ...]) -> Array:
    """A scale with one number a channel at least."""
    small = compact(scale, shape)
    return small if small.ndim else np.broadcast_to(small, (shape[0], *(1,) * (len(shape) - 1)))


def rows_of(layer: Layer) -> list[Rows]:
    """The weights of all synapses of a layer."""
    return [_rows(synapse, layer.shape) for synapse in layer.synapses]


def _rows(synapse: Synapse, layer: tuple[int, ...]) -> Rows:
    op, shape = synapse.op, synapse.gives
    if isinstance(op, Scale):
        scale = _rowwise(op.scale, shape)
        rows = scale.reshape(-1, 1)
        row_of = np.broadcast_to(np.arange(scale.size).reshape(scale.shape), shape)
    else:
        if isinstance(op, ConvTranspose):
            inputs, out, *kernel = op.weight.shape
            grouped = op.weight.reshape(op.groups, inputs // op.groups, out, *kernel)
            rows = np.swapaxes(grouped, 1, 2).reshape(op.groups * out, -1)
        else:
            rows = op.weight.reshape(len(op.weight), -1)
        each = (-1, *(1,) * (len(shape) - 1)) if isinstance(op, Conv | ConvTranspose) else (-1,)
        row_of = np.broadcast_to(np.arange(len(rows)).reshape(each), shape)
    if synapse.lands is None:
        return Rows(synapse, rows, row_of, row_of.reshape(layer))
    reaches = np.full(layer, -1)
    reaches.flat[synapse.lands] = row_of
    return Rows(synapse, rows, row_of, reaches)


def row_groups(parts: Sequence[Rows], together: bool) -> list[Array]:
    """For each synapse the group of each of its rows: rows that meet in one neuron share a group (and so a scale).

    ``together`` puts all rows of all synapses into one group.
    """
    if together:
        return [np.zeros(len(part.rows), np.int64) for part in parts]
    meets: nx.Graph = nx.Graph()
    for k, part in enumerate(parts):
        meets.add_nodes_from((k, row) for row in range(len(part.rows)))
    for k, first in enumerate(parts):
        for m in range(k + 1, len(parts)):
            pairs = np.stack((first.reaches.ravel(), parts[m].reaches.ravel()))
            for a, b in np.unique(pairs[:, (pairs >= 0).all(0)], axis=1).T:
                meets.add_edge((k, int(a)), (m, int(b)))
    groups = [np.zeros(len(part.rows), np.int64) for part in parts]
    for number, members in enumerate(nx.connected_components(meets)):
        for k, row in members:
            groups[k][row] = number
    return groups
