"""What cores hold, the slow and obvious way: every connection of every neuron, found by pushing unit vectors.

Where the mapper multiplies one number for each axis, this counts sets.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, log2, prod
from typing import Any

import numpy as np

from neurocompile.ir import Graph, Node
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import WEIGHT_OPS, Add, Array, Concat, Delay, Input, Integrator, Linear, Neuron, Reshape, Scale

__all__ = ["Expected", "elements", "layers"]

Box = tuple[tuple[int, int], ...]


def layers(graph: Graph, host: frozenset[str]) -> list[Node]:
    """Everything that takes cores."""
    return [node for node in graph.of(Neuron, Integrator) if node.name not in host]


def elements(shape: tuple[int, ...], block: Box) -> Array:
    """The numbers of a block's neurons, row-major in their layer."""
    return np.arange(prod(shape)).reshape(shape)[tuple(slice(*along) for along in block)].ravel()


class Expected:
    """A graph with every connection listed."""

    def __init__(self, graph: Graph, host: frozenset[str], weight_bits: int) -> None:
        self.graph, self.host, self.weight_bits = graph, host, weight_bits
        self.layers = [node.name for node in layers(graph, host)]
        sources = [node.name for node in graph if isinstance(node.op, Neuron | Input) or node.name in host]
        # sees[layer][source][neuron, element]
        self.sees = {name: {s: self._sees(name, s) for s in sources} for name in self.layers}
        # weights[layer]: each layer of weights, the neuron that each of its outputs feeds, which weight connects what
        self.weights = {
            name: [(node, self._fed(name, node), self._identities(node)) for node in self._weights(name)]
            for name in self.layers
        }

    def input_axons(self, layer: str, neurons: Array) -> int:
        """How many elements of any source the neurons see."""
        return sum(int(sees[neurons].any(0).sum()) for sees in self.sees[layer].values())

    def reached(self, layer: str, reader: str, readers: Array) -> Array:
        """Which neurons of a layer reach one core of a reader."""
        if isinstance(self.graph[layer].op, Integrator):
            return np.zeros(self.graph.edges[layer].size, bool)
        return np.asarray(self.sees[reader][layer][readers].any(0))

    def memory_bytes(self, layer: str, shape: tuple[int, ...], neurons: Array) -> int:
        """The entries of all weights into the neurons of one core, with their indices."""
        index_bits = ceil(log2(len(neurons)))
        bits = 0
        for node, fed, of_input in self.weights[layer]:
            here = of_input[:, np.isin(fed, neurons)]
            lists = [tuple(ids[ids > 0]) for ids in here]
            shared = not isinstance(node.op, Linear) and _is_box(fed.reshape(self.graph.edges[node.name].shape), shape)
            entries = sum(map(len, set(lists) if shared else lists))
            run = isinstance(node.op, Linear) and np.array_equal(fed, fed[0] + np.arange(fed.size))
            dense = isinstance(node.op, Linear) and (node.op.stored is None or bool(node.op.stored.all()))
            bits += entries * (self.weight_bits + (0 if run and dense else index_bits))
        return ceil(bits / 8)

    # -- connections ---------------------------------------------------------------------------------------------------

    def _sees(self, layer: str, source: str) -> Array:
        x = self._pushed(self.graph[layer].inputs[0], source, {})
        return x.reshape(len(x), -1).T > 0

    def _pushed(self, name: str, source: str, done: dict[str, Array]) -> Array:
        """A value where one element of the source after the other is one, all else zero and every weight one."""
        node, n = self.graph[name], self.graph.edges[source].size
        if name not in done:
            shape = self.graph.edges[name].shape
            if name == source:
                done[name] = np.eye(n).reshape(n, *shape)
            elif isinstance(node.op, Neuron | Integrator | Input) or name in self.host:
                done[name] = np.zeros((n, *shape))
            else:
                inputs = [self._pushed(given, source, done) for given in node.inputs]
                done[name] = inputs[0] if isinstance(node.op, Delay) else apply(_ones(node.op), inputs)
        return done[name]

    def _weights(self, name: str) -> list[Node]:
        found = [self.graph[given] for given in self.graph[name].inputs]
        return [
            one for node in found for one in ([node] if isinstance(node.op, WEIGHT_OPS) else self._weights(node.name))
        ]

    def _fed(self, layer: str, node: Node) -> Array:
        """For each output of a weight layer the neuron that it feeds."""
        size = self.graph.edges[node.name].size
        found = self._through(self.graph[layer].inputs[0], node.name, size)
        return found.reshape(size, -1).argmax(1)

    def _through(self, name: str, start: str, size: int) -> Array:
        node, shape = self.graph[name], self.graph.edges[name].shape
        if name == start:
            return np.eye(size).reshape(size, *shape)
        if not isinstance(node.op, Add | Concat | Reshape):
            return np.zeros((size, *shape))
        return apply(node.op, [self._through(given, start, size) for given in node.inputs])

    def _identities(self, node: Node) -> Array:
        """``[inputs, outputs]``: which stored weight connects them, counted from 1; 0 for none."""
        op: Any = node.op
        shape = self.graph.edges[node.inputs[0]].shape
        eye = np.eye(prod(shape)).reshape(-1, *shape)
        if isinstance(op, Scale):
            # One weight for each channel at least.
            own = np.broadcast_to(op.scale, np.broadcast_shapes(op.scale.shape, (shape[0], *(1,) * (len(shape) - 1))))
            numbered: Any = Scale(np.arange(1, own.size + 1).reshape(own.shape))
        else:
            numbered = replace(op, weight=np.arange(1.0, op.weight.size + 1).reshape(op.weight.shape), bias=None)
        if isinstance(op, Linear) and op.stored is not None:
            numbered = Linear(numbered.weight * op.stored)
        return apply(numbered, [eye]).reshape(prod(shape), -1).astype(int)


def _ones(op: Any) -> Any:
    match op:
        case Scale():
            return Scale(np.ones(op.scale.shape))
        case Linear():
            return Linear(np.ones(op.weight.shape) if op.stored is None else op.stored.astype(float))
    return replace(op, weight=np.ones(op.weight.shape), bias=None) if isinstance(op, WEIGHT_OPS) else op


def _is_box(fed: Array, shape: tuple[int, ...]) -> bool:
    """Whether the outputs lie in the layer as they lie beside each other."""
    if fed.ndim != len(shape):
        return False
    first = np.unravel_index(fed.flat[0], shape)
    return all(
        np.unravel_index(fed[place], shape) == tuple(a + b for a, b in zip(first, place))
        for place in np.ndindex(*fed.shape)
    )
