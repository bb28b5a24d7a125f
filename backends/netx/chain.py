"""From an integer graph to what netx knows: a chain of dense and convolutional layers, each with its neurons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neurocompile.errors import Problem
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import (
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Delay,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Op,
    Output,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)

__all__ = ["ELSEWHERE", "Link", "chain_of"]

ELSEWHERE = "use the Lava backend, which connects Lava's processes itself"
_ABSENT: dict[type[Op], str] = {
    ConvTranspose: "netx has no transposed convolution",
    Scale: "netx has no connection from each neuron to its like (a skip, a scale)",
    SumPool: "netx has no pooling",
    MaxPool: "netx has no pooling",
    Upsample: "netx has no upsampling",
    Concat: "netx has no concatenation",
}


@dataclass(frozen=True)
class Link:
    """One layer of the chain, in the graph's own nodes.

    ``neurons`` reads ``synapses``, and beside it ``loop`` (its own spikes of the step before), if that is not None.
    The synapses read, in the shape ``reads``, what ``source`` emits in the shape ``given``.
    """

    neurons: Node
    synapses: Node
    loop: Node | None
    source: Node
    given: tuple[int, ...]
    reads: tuple[int, ...]

    @property
    def weights(self) -> list[tuple[str, Linear | Conv]]:
        """Names and operations of the synapses and, behind them, of the loop."""
        nodes = [self.synapses, *([self.loop] if self.loop else [])]
        return [(node.name, node.op) for node in nodes if isinstance(node.op, Linear | Conv)]


def chain_of(graph: Graph) -> tuple[list[Link], list[Problem]]:
    """The layers of an integer graph in order, and everything in which it is no chain that netx has layers for.

    An integrator without memory that reads spikes one by one is no layer: whoever has the spikes has its values.
    """
    readers = _readers(graph)
    problems = [
        Problem(_ABSENT[type(node.op)], node.name, fix=ELSEWHERE)
        for node in graph
        if type(node.op) in _ABSENT and node.name not in readers
    ]
    for kind, what in ((Input, "netx feeds one input"), (Output, "netx gives the last layer only")):
        names = [node.name for node in graph.of(kind)]
        if len(names) != 1:
            problems.append(Problem(what, ", ".join(names), str(len(names)), "1", ELSEWHERE))
    links: list[Link] = []
    before = next((node.name for node in graph.of(Input)), "")
    for node in graph.of(Neuron, Integrator):
        if node.name in readers:
            continue
        link = _link(graph, node, problems)
        if link is None:
            before = node.name
            continue
        if isinstance(link.source.op, Integrator):
            problems.append(Problem("netx sends spikes on, not membranes", link.synapses.name, fix=ELSEWHERE))
        elif link.source.name != before and type(link.source.op) not in _ABSENT:
            what = "netx connects a layer to the one before it only"
            problems.append(Problem(what, link.synapses.name, link.source.name, before, ELSEWHERE))
        links.append(link)
        before = node.name
    problems += _ends(graph, before, readers) + _delays(graph, links)
    if not links and not problems:
        problems.append(Problem("there is no layer in it", "the network", fix="give it one"))
    return links, problems


def _readers(graph: Graph) -> dict[str, str]:
    """Memoryless integrators of spikes, and the scales that they read: each with the population behind it."""
    found: dict[str, str] = {}
    for node in graph.of(Integrator):
        scale = graph[node.inputs[0]]
        if isinstance(node.op, Integrator) and isinstance(scale.op, Scale) and not np.any(node.op.decay):
            source = _through_reshapes(graph, scale.inputs[0])
            if isinstance(source.op, Neuron) and len(graph.consumers[scale.name]) == 1:
                found |= {node.name: source.name, scale.name: source.name}
    return found


def _link(graph: Graph, node: Node, problems: list[Problem]) -> Link | None:
    """What a population reads; None, with a problem, where netx cannot express it."""
    source = graph[node.inputs[0]]
    parts = [graph[name] for name in source.inputs] if isinstance(source.op, Add) else [source]
    forward = [part for part in parts if not _is_loop(graph, part, node)]
    loops = [part for part in parts if _is_loop(graph, part, node)]
    if isinstance(source.op, Add) and not (len(forward) == len(loops) == 1 and isinstance(forward[0].op, Linear)):
        what = "netx adds up nothing but a dense layer and its own spikes of the step before"
        problems.append(Problem(what, source.name, fix=ELSEWHERE))
        return None
    (synapses,) = forward or [source]
    if not isinstance(synapses.op, Linear | Conv):
        if type(synapses.op) not in _ABSENT:
            what = f"netx has a dense layer or a convolution before each population, not {type(synapses.op).__name__}"
            problems.append(Problem(what, node.name, fix=ELSEWHERE))
        return None
    loop = loops[0] if loops else None
    found = _through_reshapes(graph, synapses.inputs[0])
    return Link(node, synapses, loop, found, graph.edges[found.name].shape, graph.edges[synapses.inputs[0]].shape)


def _is_loop(graph: Graph, part: Node, node: Node) -> bool:
    """Whether a node is the dense synapse through which a population reads its own spikes of the step before."""
    if not isinstance(part.op, Linear) or not isinstance(node.op, Neuron):
        return False
    source = graph[part.inputs[0]]
    return isinstance(source.op, Delay) and source.op.steps == 1 and source.inputs[0] == node.name


def _through_reshapes(graph: Graph, name: str) -> Node:
    node = graph[name]
    while isinstance(node.op, Reshape):
        node = graph[node.inputs[0]]
    return node


def _ends(graph: Graph, last: str, readers: Mapping[str, str]) -> list[Problem]:
    """Outputs that read anything but the last population."""
    problems = []
    for node in graph.of(Output):
        source = _through_reshapes(graph, node.inputs[0])
        read = readers.get(source.name, source.name)
        if read != last and type(source.op) not in _ABSENT:
            what = "netx gives the spikes or the membranes of the last layer only"
            problems.append(Problem(what, node.name, read, last, ELSEWHERE))
    return problems


def _delays(graph: Graph, links: list[Link]) -> list[Problem]:
    loops = {link.loop.inputs[0] for link in links if link.loop is not None}
    what = "netx delays no spikes but those of a dense layer to itself, by one step"
    return [Problem(what, node.name, fix=ELSEWHERE) for node in graph.of(Delay) if node.name not in loops]
