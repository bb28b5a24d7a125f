"""What the nodes of a graph can emit: which only 0 and 1, and between which numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Add, Concat, Delay, Input, MaxPool, Neuron, Output, Reshape, SumPool, Upsample

__all__ = ["Range", "binary", "ranges"]

Range = tuple[float, float]


def binary(graph: Graph) -> set[str]:
    """The nodes that only ever emit 0 and 1."""
    found: set[str] = set()
    for node in graph:
        match node.op:
            case Input(carries=carries, low=low, high=high):
                # Declared spikes, not numbers that happen to be small.
                is_binary = carries == "spikes" and low >= 0 and high <= 1
            case Neuron(negative_threshold=negative, max_spikes=most):
                is_binary = negative is None and most == 1
            case MaxPool() | Upsample() | Reshape() | Concat():
                is_binary = all(source in found for source in node.inputs)
            case _:
                is_binary = False
        if is_binary:
            found.add(node.name)
    return found


def ranges(graph: Graph) -> dict[str, Range]:
    """The smallest and the largest number that each node can emit, as far as it matters to synapses."""
    found: dict[str, Range] = {}
    for node in graph:
        ins = [found.get(name, (-np.inf, np.inf)) for name in node.inputs]
        match node.op:
            case Input(low=low, high=high):
                found[node.name] = float(low), float(high)
            case Neuron() as op:
                found[node.name] = _fired(op)
            case SumPool(kernel=kernel):
                size = float(np.prod(kernel))
                found[node.name] = min(0.0, ins[0][0] * size), max(0.0, ins[0][1] * size)
            case Add():
                found[node.name] = sum(low for low, _ in ins), sum(high for _, high in ins)
            case MaxPool() | Upsample() | Reshape() | Concat() | Output():
                found[node.name] = min(low for low, _ in ins), max(high for _, high in ins)
            case Delay():
                # In a loop nothing is known yet of what comes back; only neurons and inputs are known beforehand.
                low, high = _delayed(graph, node, found)
                found[node.name] = min(low, 0.0), max(high, 0.0)
            case _:
                found[node.name] = -np.inf, np.inf
    return found


def _fired(op: Neuron) -> Range:
    return (0.0 if op.negative_threshold is None else -1.0), float(op.max_spikes)


def _delayed(graph: Graph, node: Node, found: Mapping[str, Range]) -> Range:
    source = graph[node.inputs[0]]
    if source.name in found:
        return found[source.name]
    if isinstance(source.op, Neuron):
        return _fired(source.op)
    return -np.inf, np.inf
