"""From an integer graph to what netx knows: a chain of dense and convolutional layers, each with its neurons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neurocompile.errors import Problem
from neurocompile.ir.form import Layer, Synapse, form_of
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
    """One layer of the chain.

    ``layer`` reads ``synapses``, and beside it ``loop`` (its own spikes of the step before), if that is not None. The
    synapses read what ``source`` emits, which has the shape ``given``.
    """

    layer: Layer
    synapses: Synapse
    loop: Synapse | None
    source: Node
    given: tuple[int, ...]

    @property
    def weights(self) -> list[tuple[str, Linear | Conv]]:
        """Names and operations of the synapses and, behind them, of the loop."""
        return [(each.name, each.op) for each in (self.synapses, *([self.loop] if self.loop else []))]


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
    for layer in form_of(graph).layers.values():
        if layer.name in readers:
            continue
        link = _link(graph, layer, problems)
        if link is not None:
            if link.source.name != before and type(link.source.op) not in _ABSENT:
                what = "netx connects a layer to the one before it only"
                problems.append(Problem(what, link.synapses.name, link.source.name, before, ELSEWHERE))
            links.append(link)
        before = layer.name
    problems += _ends(graph, before, readers) + _delays(graph, links)
    if not links and not problems:
        problems.append(Problem("there is no layer in it", "the network", fix="give it one"))
    return links, problems


def _readers(graph: Graph) -> dict[str, str]:
    """Memoryless integrators of spikes, and the scales that they read: each with the population behind it."""
    found: dict[str, str] = {}
    for layer in form_of(graph).layers.values():
        (synapse, *others) = layer.synapses
        plain = not (others or layer.wiring or synapse.delay) and isinstance(synapse.op, Scale)
        silent = isinstance(layer.op, Integrator) and not np.any(layer.op.decay)
        if plain and silent and isinstance(graph[synapse.source].op, Neuron):
            found |= {layer.name: synapse.source, synapse.name: synapse.source}
    return found


def _link(graph: Graph, layer: Layer, problems: list[Problem]) -> Link | None:
    """What a population reads; None, with a problem, where netx cannot express it."""
    fed = graph[layer.current]
    loops = [synapse for synapse in layer.synapses if _is_loop(synapse, layer)]
    forward = [synapse for synapse in layer.synapses if synapse not in loops]
    if isinstance(fed.op, Add):
        alone = len(layer.wiring) == len(forward) == len(loops) == 1
        if not (alone and isinstance(forward[0].op, Linear)):
            what = "netx adds up nothing but a dense layer and its own spikes of the step before"
            problems.append(Problem(what, fed.name, fix=ELSEWHERE))
            return None
    elif not isinstance(fed.op, Linear | Conv):
        if type(fed.op) not in _ABSENT:
            what = f"netx has a dense layer or a convolution before each population, not {type(fed.op).__name__}"
            problems.append(Problem(what, layer.name, fix=ELSEWHERE))
        return None
    (synapse,) = forward or loops
    source = graph[synapse.source]
    return Link(layer, synapse, loops[0] if loops else None, source, graph.edges[source.name].shape)


def _is_loop(synapse: Synapse, layer: Layer) -> bool:
    """Whether it is the dense synapse through which a population reads its own spikes of the step before."""
    own = (synapse.source, synapse.delay) == (layer.name, 1)
    return own and isinstance(synapse.op, Linear) and isinstance(layer.op, Neuron)


def _ends(graph: Graph, last: str, readers: Mapping[str, str]) -> list[Problem]:
    """Outputs that read anything but the last population."""
    problems = []
    for node in graph.of(Output):
        source, _ = form_of(graph).origins[node.inputs[0]]
        read = readers.get(source, source)
        if read != last and type(graph[source].op) not in _ABSENT:
            what = "netx gives the spikes or the membranes of the last layer only"
            problems.append(Problem(what, node.name, read, last, ELSEWHERE))
    return problems


def _delays(graph: Graph, links: list[Link]) -> list[Problem]:
    loops = {link.loop.event for link in links if link.loop is not None}
    what = "netx delays no spikes but those of a dense layer to itself, by one step"
    return [Problem(what, node.name, fix=ELSEWHERE) for node in graph.of(Delay) if node.name not in loops]
