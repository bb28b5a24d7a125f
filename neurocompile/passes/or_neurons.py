"""Max-pools of spikes become neurons, for chips that have no pools: one fires if any spike of its window arrives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Concat, Conv, Delay, Input, MaxPool, Neuron, Reshape

__all__ = ["OrNeurons"]

_ANY = 0.5
"""The threshold of a neuron that fires for one spike of weight 1."""


@dataclass(frozen=True)
class OrNeurons:
    """Replace max-pools of spikes by a convolution of ones in each channel and neurons that fire for any of them.

    The largest of spikes, each 0 or 1, is their OR: so nothing changes. Whatever arrives makes them fire, and nothing
    is left on their membranes. Pools of numbers, of several spikes a step or of signed ones stay as they are.
    """

    name: str = "or-neurons"

    def run(self, graph: Graph) -> tuple[Graph, list[str]]:
        """Replace them."""
        changed: dict[str, Node | None] = {}
        added, log = [], []
        for node in graph.of(MaxPool):
            assert isinstance(node.op, MaxPool)
            if not _is_binary(graph, node.inputs[0]):
                continue
            op, channels = node.op, graph.edges[node.name].shape[0]
            ones = np.ones((channels, 1, *op.kernel))
            window = Conv(ones, None, op.stride, op.padding, op.dilation, channels)
            any_of = Node(graph.fresh(f"{node.name}.window"), window, node.inputs, node.line)
            added.append(any_of)
            fires = Neuron(np.asarray(_ANY))
            changed[node.name] = Node(node.name, fires, (any_of.name,), node.line)
            size = f"{graph.edges[node.name].size:,}"
            log.append(f"{node.name}: a max-pool becomes {size} neurons, which fire if any of their window does")
        return graph.rewritten(changed, added), log


def _is_binary(graph: Graph, name: str) -> bool:
    """Whether an event is 0 or 1."""
    node = graph[name]
    match node.op:
        case Neuron(negative_threshold=None, max_spikes=1):
            return bool(np.all(node.op.amplitude == 1))
        case Input():
            return graph.edges[name].carries == "spikes"
        case Concat() | Delay() | MaxPool() | Reshape():
            return all(_is_binary(graph, source) for source in node.inputs)
    return False
