"""How many biases the host writes for the layers of a chip that hear real-valued inputs beside spikes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir.form import Layer, form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import WEIGHT_OPS, Array, Delay, Gain, Input, Integrator
from neurocompile.simulator.reference import shifted

__all__ = ["bias_writes"]


def bias_writes(
    graph: Graph, arithmetic: Arithmetic, layers: Iterable[str], inputs: Mapping[str, Array]
) -> dict[str, Array]:
    """The biases written in each sample, ``[N]`` by layer: all in its first step, then those that change.

    A readout of which no membrane stays has none: its current is read, and the host adds its own part to it.

    Args:
        graph: the integer graph of a Program, or one turn of it.
        arithmetic: of its target.
        layers: to which the host writes; those that the graph has not are left out.
        inputs: integers ``inputs[name][N, T, *shape]``.
    """
    here = [form_of(graph).layers[name] for name in layers if name in graph]
    found = {}
    for layer in here:
        if isinstance(layer.op, Integrator) and not np.any(layer.op.decay):
            continue
        samples = range(len(next(iter(inputs.values()))))
        found[layer.name] = np.array([_of_sample(graph, arithmetic, layer, inputs, n) for n in samples], np.int64)
    return found


def _of_sample(graph: Graph, arithmetic: Arithmetic, layer: Layer, inputs: Mapping[str, Array], sample: int) -> int:
    given = _Given(graph, arithmetic, {name: x[sample] for name, x in inputs.items()})
    current = given.current(layer.current)
    size = int(np.prod(layer.shape))
    return size if current is None else size + int((current[1:] != current[:-1]).sum())


@dataclass(frozen=True)
class _Given:
    """One sample of a graph's inputs, ``[T, *shape]`` each, and what is made of them alone."""

    graph: Graph
    arithmetic: Arithmetic
    inputs: Mapping[str, Array]
    known: dict[str, Array] = field(default_factory=dict)

    def event(self, name: str) -> Array:
        """A real-valued input, or what pools and delays make of it."""
        if name not in self.known:
            op = self.graph[name].op
            if isinstance(op, Input):
                self.known[name] = np.asarray(self.inputs[name], np.float64)
            elif isinstance(op, Delay):
                x = self.event(self.graph[name].inputs[0])
                self.known[name] = np.concatenate((np.zeros_like(x[: op.steps]), x))[: len(x)]
            else:
                self.known[name] = apply(op, [self.event(source) for source in self.graph[name].inputs])
        return self.known[name]

    def current(self, name: str) -> Array | None:
        """What a node of a layer's wiring gives where nothing fires, ``[T, *shape]``; None: nothing."""
        node = self.graph[name]
        if isinstance(node.op, WEIGHT_OPS):
            real = self.graph.edges[node.inputs[0]].carries == "real"
            return apply(node.op, [self.event(node.inputs[0])]) if real else None
        terms = [term for source in node.inputs if (term := self.current(source)) is not None]
        if isinstance(node.op, Gain):
            return self._gained(node.op, terms)
        if not terms or len(node.inputs) == 1:
            return apply(node.op, terms) if terms else None
        return np.asarray(sum(terms))  # of spikes and inputs: a layer joins them by no other way

    def _gained(self, op: Gain, terms: list[Array]) -> Array | None:
        if not terms:
            return op.bias if op.bias.ndim else None
        (current,) = terms
        gains = op.gains[: len(current)].reshape(-1, *(1,) * (current.ndim - 1))
        product = shifted(current.astype(np.int64) * gains, -op.fraction, self.arithmetic.rounding)
        return (product + (op.bias[: len(current)] if op.bias.ndim else op.bias)).astype(np.float64)
