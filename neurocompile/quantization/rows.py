"""A layer with weights seen as rows: one for each set of weights that feeds one output channel (or neuron)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import networkx as nx
import numpy as np

from neurocompile.ir.arrays import compact
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import WEIGHT_OPS, Array, Conv, ConvTranspose, Gain, Scale

__all__ = ["Synapse", "gains_of", "row_groups", "synapses_of"]


@dataclass(frozen=True)
class Synapse:
    """One layer with weights on its way into a consumer.

    ``rows[row, weight]`` holds its weights; ``row_of[*out]`` says which row feeds each of its outputs;
    ``reaches[*consumer]`` says which row reaches each neuron of the consumer, -1 where none does.
    """

    node: Node
    rows: Array
    row_of: Array
    reaches: Array

    def with_rows(self, rows: Array) -> Any:
        """The operation with other weights, in the same order."""
        op: Any = self.node.op
        if isinstance(op, ConvTranspose):
            inputs, out, *kernel = op.weight.shape
            grouped = rows.reshape(op.groups, out, inputs // op.groups, *kernel)
            return replace(op, weight=np.swapaxes(grouped, 1, 2).reshape(op.weight.shape))
        if isinstance(op, Scale):
            return Scale(rows.reshape(_rowwise(op.scale, self.row_of.shape).shape))
        return replace(op, weight=rows.reshape(op.weight.shape))


def _rowwise(scale: Array, shape: tuple[int, ...]) -> Array:
    """A scale with one number a channel at least."""
    small = compact(scale, shape)
    return small if small.ndim else np.broadcast_to(small, (shape[0], *(1,) * (len(shape) - 1)))


def synapses_of(graph: Graph, consumer: Node) -> list[Synapse]:
    """The layers with weights that feed a neuron or an integrator, in a graph that the synapses pass has made."""
    found, wiring = _feeding(graph, consumer)
    return [_synapse(graph, consumer, node, found, wiring) for node in found]


def gains_of(graph: Graph, consumer: Node) -> list[Node]:
    """The gains between these layers and the consumer, in the order of a step."""
    return [node for node in _feeding(graph, consumer)[1] if isinstance(node.op, Gain)]


def _feeding(graph: Graph, consumer: Node) -> tuple[list[Node], list[Node]]:
    """The layers with weights that feed a consumer, and what stands between, in the order of a step."""
    found: list[Node] = []
    wiring: list[Node] = []
    waiting = list(consumer.inputs)
    while waiting:
        node = graph[waiting.pop()]
        if isinstance(node.op, WEIGHT_OPS):
            found.append(node)
        else:
            wiring.append(node)
            waiting += node.inputs
    order = {node.name: number for number, node in enumerate(graph)}
    found.sort(key=lambda node: order[node.name])
    wiring.sort(key=lambda node: order[node.name])
    return found, wiring


def _synapse(graph: Graph, consumer: Node, node: Node, others: Sequence[Node], wiring: Sequence[Node]) -> Synapse:
    op: Any = node.op
    shape = graph.edges[node.name].shape
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
    values: dict[str, Array] = {other.name: np.zeros((1, *graph.edges[other.name].shape)) for other in others}
    values[node.name] = row_of[None] + 1.0
    for wire in wiring:
        inputs = [values[name] for name in wire.inputs]
        values[wire.name] = inputs[0] if isinstance(wire.op, Gain) else apply(wire.op, inputs)
    reaches = values[consumer.inputs[0]][0].astype(np.int64) - 1
    return Synapse(node, rows, row_of, reaches)


def row_groups(synapses: Sequence[Synapse], together: bool) -> list[Array]:
    """For each synapse the group of each of its rows: rows that meet in one neuron share a group (and so a scale).

    ``together`` puts all rows of all synapses into one group.
    """
    if together:
        return [np.zeros(len(s.rows), np.int64) for s in synapses]
    meets: nx.Graph = nx.Graph()
    for k, synapse in enumerate(synapses):
        meets.add_nodes_from((k, row) for row in range(len(synapse.rows)))
    for k, first in enumerate(synapses):
        for m in range(k + 1, len(synapses)):
            pairs = np.stack((first.reaches.ravel(), synapses[m].reaches.ravel()))
            for a, b in np.unique(pairs[:, (pairs >= 0).all(0)], axis=1).T:
                meets.add_edge((k, int(a)), (m, int(b)))
    groups = [np.zeros(len(s.rows), np.int64) for s in synapses]
    for number, members in enumerate(nx.connected_components(meets)):
        for k, row in members:
            groups[k][row] = number
    return groups
