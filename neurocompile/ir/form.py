"""Synaptic form: a graph as layers of neurons, each with the synapses that feed it.

What reaches a layer in step t is the sum of ``gain_k[t] * (W_k s_k[t - delay_k])`` over its synapses k, each output of
W_k where it lands in the layer, and of the biases that its gains have. Everything that stands between events and a
neuron is found here, once; whoever needs a layer's weights, sources, gains or places reads them off.

Where outputs land is computed when it is asked for, and single connections are listed by :meth:`Synapse.listed` alone:
a form costs what its graph has of nodes, however large these are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from neurocompile.ir.connections import connections
from neurocompile.ir.graph import Edge, Graph, InvalidGraph, Node
from neurocompile.ir.ops import (
    STATEFUL_OPS,
    WEIGHT_OPS,
    Add,
    Array,
    Concat,
    Delay,
    Gain,
    Integrator,
    MaxPool,
    Output,
    Reshape,
    Scale,
    SumPool,
)

__all__ = ["Layer", "Synapse", "SynapticForm", "Wire", "form_of"]

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Wire:
    """What a current passes on its way to the neurons: an Add, a Concat, a Reshape or a Gain.

    ``shape`` is that of what comes out. Of a Concat, the current is the part from ``start`` to ``stop - 1`` along its
    axis.
    """

    node: Node
    shape: Shape
    start: int = 0
    stop: int = 0

    def taken(self, numbers: Array) -> Array:
        """What of something in ``shape`` belongs to the current."""
        op = self.node.op
        return np.take(numbers, range(self.start, self.stop), op.axis) if isinstance(op, Concat) else numbers


@dataclass(frozen=True, eq=False)
class Synapse:
    """A layer of weights on its way from an event into a layer of neurons.

    ``node`` (Linear, Conv, ConvTranspose or Scale, without a bias) reads ``reads`` and gives a current of shape
    ``gives``. ``source`` is the neuron or input whose events these are, or the operation that has made them of several
    (a pool, a sum, ...): what is behind reshapes and delays, which are ``delay`` steps together. ``way`` is what the
    current passes then, the last wire's output being what the neurons read.
    """

    node: Node
    reads: Edge
    gives: Shape
    source: str
    delay: int
    way: tuple[Wire, ...]

    @property
    def name(self) -> str:
        """Of the weights' node."""
        return self.node.name

    @property
    def op(self) -> Any:
        """The weights."""
        return self.node.op

    @property
    def event(self) -> str:
        """The node that the weights read."""
        return self.node.inputs[0]

    @cached_property
    def lands(self) -> Array | None:
        """The number of the neuron (row-major) that each output feeds, ``[*gives]``; None: each the one of its own."""
        if not any(isinstance(wire.node.op, Concat) for wire in self.way):
            return None
        numbers = np.arange(prod(self.way[-1].shape))
        for wire in reversed(self.way):
            numbers = wire.taken(numbers.reshape(wire.shape))
        numbers = numbers.reshape(self.gives)
        numbers.setflags(write=False)
        return numbers

    def listed(self) -> tuple[Array, Array, Array]:
        """Every stored synapse: ``(neurons, elements of the event, weights)``, row-major numbers, one by one."""
        outputs, inputs, weights = connections(self.op, self.reads.shape)
        return outputs if self.lands is None else self.lands.ravel()[outputs], inputs, weights


@dataclass(frozen=True, eq=False)
class Layer:
    """Neurons (or membranes that never fire) of shape ``shape``, with all that feeds them, in the order of a step.

    ``wiring`` are the nodes between ``synapses`` and the neurons: Add, Concat, Reshape, Gain; no other layer reads any
    of these.
    """

    node: Node
    shape: Shape
    synapses: tuple[Synapse, ...]
    wiring: tuple[Node, ...]

    @property
    def name(self) -> str:
        """Of the neurons' node."""
        return self.node.name

    @property
    def op(self) -> Any:
        """The neuron, or the integrator."""
        return self.node.op

    @property
    def current(self) -> str:
        """The node that the neurons read."""
        return self.node.inputs[0]

    @property
    def currents(self) -> tuple[str, ...]:
        """The names of all nodes between its events and its neurons: weights, and wiring."""
        return (*(synapse.name for synapse in self.synapses), *(node.name for node in self.wiring))

    @property
    def gains(self) -> tuple[Node, ...]:
        """The gains of single steps between its weights and its neurons."""
        return tuple(node for node in self.wiring if isinstance(node.op, Gain))

    def rewritten(self, nodes: Mapping[str, Node]) -> Layer:
        """The same layer with other numbers in some of its nodes."""

        def new(part: Any) -> Any:
            return replace(part, node=nodes.get(part.node.name, part.node))

        synapses = tuple(replace(new(synapse), way=tuple(map(new, synapse.way))) for synapse in self.synapses)
        wiring = tuple(nodes.get(node.name, node) for node in self.wiring)
        return Layer(nodes.get(self.name, self.node), self.shape, synapses, wiring)


@dataclass(frozen=True, eq=False)
class SynapticForm:
    """All layers of a graph by name, in the order of a step, and how their events become what synapses read.

    ``origins`` says for every event, and every membrane, what is behind reshapes and delays, and by how many steps it
    is delayed. ``pools`` are the max-pools, each with the origin of what it pools; ``sums`` the nodes that add events
    up (SumPool, Add), as they are counted: once for each event that they read.
    """

    layers: Mapping[str, Layer]
    origins: Mapping[str, tuple[str, int]]
    pools: Mapping[str, tuple[str, int]]
    sums: tuple[Node, ...]

    @staticmethod
    def of(graph: Graph) -> SynapticForm:
        """Find the layers of a graph (use :func:`form_of`, which keeps them), and verify that there is nothing else.

        Raises:
            InvalidGraph: if a current is read by anything but one layer, once; if weights read currents, or have a
                bias; if a layer reads anything but weights, through anything but wiring.
        """
        events = [node for node in graph if graph.edges[node.name].is_event]
        order = {node.name: number for number, node in enumerate(graph)}
        origins = {node.name: _origin(graph, node.name) for node in (*events, *graph.of(Integrator))}
        layers = {node.name: _layer(graph, node, origins, order) for node in graph.of(*STATEFUL_OPS)}
        _check_readers(graph, layers.values())
        pools = {node.name: origins[node.inputs[0]] for node in events if isinstance(node.op, MaxPool)}
        return SynapticForm(layers, origins, pools, tuple(n for n in events if isinstance(n.op, SumPool | Add)))

    @property
    def counted(self) -> tuple[str, ...]:
        """What runs are counted by: every layer, every sum of events."""
        return (*self.layers, *(node.name for node in self.sums))

    def emitter(self, name: str) -> str:
        """Whose spikes they are that a max-pool, or a pool of pools, hands on; of anything else, itself."""
        while name in self.pools:
            name, _ = self.pools[name]
        return name


def form_of(graph: Graph) -> SynapticForm:
    """A graph as layers of neurons with their synapses; the graph keeps it, so that it is found and verified once.

    Raises:
        InvalidGraph: if it is in no synaptic form, into which the synapses pass brings a graph.
    """
    return graph.kept(SynapticForm.of)


def _origin(graph: Graph, name: str) -> tuple[str, int]:
    delay = 0
    while isinstance(op := graph[name].op, Reshape | Delay):
        delay += op.steps if isinstance(op, Delay) else 0
        (name,) = graph[name].inputs
    return name, delay


def _layer(graph: Graph, node: Node, origins: Mapping[str, tuple[str, int]], order: Mapping[str, int]) -> Layer:
    synapses: list[Synapse] = []
    wiring: list[Node] = []
    waiting: list[tuple[str, tuple[Wire, ...]]] = [(node.inputs[0], ())]
    while waiting:
        name, way = waiting.pop()
        each, edge = graph[name], graph.edges[name]
        if isinstance(each.op, WEIGHT_OPS):
            synapses.append(_synapse(graph, each, origins, way))
        elif isinstance(each.op, Add | Concat | Reshape | Gain) and not edge.is_event:
            wiring.append(each)
            start = 0
            for source in each.inputs:
                stop = start + graph.edges[source].shape[each.op.axis] if isinstance(each.op, Concat) else 0
                waiting.append((source, (Wire(each, edge.shape, start, stop), *way)))
                start = stop
        else:
            raise InvalidGraph(f"{node.name} reads {name} ({type(each.op).__name__}) through no weights")
    synapses.sort(key=lambda each: order[each.name])
    wiring.sort(key=lambda each: order[each.name])
    return Layer(node, graph.edges[node.name].shape, tuple(synapses), tuple(wiring))


def _synapse(graph: Graph, node: Node, origins: Mapping[str, tuple[str, int]], way: tuple[Wire, ...]) -> Synapse:
    op: Any = node.op
    (event,) = node.inputs
    if not graph.edges[event].is_event:
        raise InvalidGraph(f"{node.name} has weights, and reads {event}, a current")
    bias = op.shift if isinstance(op, Scale) else op.bias
    if bias is not None and np.any(bias):
        raise InvalidGraph(f"{node.name} has a bias, which its neurons should have")
    return Synapse(node, graph.edges[event], graph.edges[node.name].shape, *origins[event], way)


def _check_readers(graph: Graph, layers: Iterable[Layer]) -> None:
    """Every current goes into one layer, in one way; an Output may look at it."""
    ways = Counter(name for layer in layers for name in layer.currents)
    for node in graph:
        is_current = not graph.edges[node.name].is_event and not isinstance(node.op, Integrator | Output)
        if is_current and ways[node.name] != 1:
            raise InvalidGraph(f"{node.name} is a current that goes {ways[node.name]} ways into a layer, and not one")
