"""What the host computes of a network for a chip that is sent no real values: whole layers, and parts of currents.

A layer that reads real-valued inputs, and no spikes of the chip, is an *encoder*: the host computes it and sends its
spikes. A layer that reads both is the chip's. What the inputs add to its current does not depend on the chip: the host
computes it beforehand and *writes* it, step by step, as biases of the layer's neurons. So it does with gains of single
steps, wherever they act on that part, and with biases that differ from step to step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.form import Layer, Synapse, form_of
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import STATEFUL_OPS, WEIGHT_OPS, Concat, Gain, Input, MaxPool, Output

if TYPE_CHECKING:
    from neurocompile.program import Program

__all__ = [
    "chip_gains",
    "chip_graph",
    "encoders",
    "host_layers",
    "host_pools",
    "without_written",
    "written_layers",
    "written_to",
]


def host_layers(program: Program) -> frozenset[str]:
    """The layers of a Program that the host computes."""
    return encoders(program.integer) if _encodes(program) else frozenset()


def host_pools(program: Program) -> frozenset[str]:
    """The max-pools of a Program that the host computes: those of real-valued inputs, where the chip is sent none."""
    graph = program.integer
    real = frozenset(node.name for node in graph.of(MaxPool) if graph.edges[node.name].carries == "real")
    return real if _encodes(program) else frozenset()


def written_layers(program: Program) -> frozenset[str]:
    """The layers of a Program's chip to which the host writes a part of their current."""
    return written_to(program.integer) if _encodes(program) else frozenset()


def chip_graph(program: Program) -> Graph:
    """A Program's integers without what the host writes: what its chip holds, and the layers of the host."""
    return program.integer.kept(without_written) if _encodes(program) else program.integer


def _encodes(program: Program) -> bool:
    return program.settings.get("encode") == "host"


def encoders(graph: Graph) -> frozenset[str]:
    """The layers that read real-valued inputs, and no spikes of the chip."""
    form = form_of(graph)
    return frozenset(
        layer.name
        for layer in form.layers.values()
        if any(_is_real(synapse) for synapse in layer.synapses)
        and all(isinstance(graph[form.emitter(synapse.source)].op, Input) for synapse in layer.synapses)
    )


def written_to(graph: Graph) -> frozenset[str]:
    """The layers of the chip to which the host writes a part of their current.

    Raises:
        DoesNotFit: for layers in which whole neurons hear that part alone, as these could be no neurons of the chip.
    """
    host = encoders(graph)
    found = [
        layer
        for layer in form_of(graph).layers.values()
        if layer.name not in host and (layer.gains or any(_is_real(synapse) for synapse in layer.synapses))
    ]
    problems = [
        Problem("it joins a current of a real-valued input and one of spikes, neurons beside neurons", layer.name,
                wire.node.name, "sums of both in every neuron", "give each of them neurons of its own, and join these")
        for layer in found
        for synapse in layer.synapses
        for wire in synapse.way
        if _is_real(synapse) and isinstance(wire.node.op, Concat)
    ]  # fmt: skip
    if problems:
        raise DoesNotFit(list(dict.fromkeys(problems)))
    return frozenset(layer.name for layer in found)


def chip_gains(graph: Graph) -> Iterator[tuple[Layer, Node, tuple[Synapse, ...]]]:
    """Every gain of single steps that acts on spikes which a layer of the chip hears, and their synapses.

    A gain of one is none: it stands for its biases alone.
    """
    host = encoders(graph)
    for layer in form_of(graph).layers.values():
        on_spikes = [synapse for synapse in layer.synapses if not _is_real(synapse)]
        for node in layer.gains if layer.name not in host else ():
            behind = [s for s in on_spikes if any(wire.node.name == node.name for wire in s.way)]
            assert isinstance(node.op, Gain)
            if behind and np.any(node.op.gains != 2**node.op.fraction):
                yield layer, node, tuple(behind)


def _is_real(synapse: Synapse) -> bool:
    return synapse.reads.carries == "real"


def without_written(graph: Graph) -> Graph:
    """A graph in synaptic form without what the host writes to layers of the chip."""
    changed: dict[str, Node] = {}
    for name in sorted(written_to(graph)):
        node = graph[name]
        left = _left(graph, node.inputs[0], changed)
        assert left is not None  # spikes of the chip
        changed[name] = replace(node, inputs=(left,))
    nodes = {node.name: changed.get(node.name) or node for node in graph}
    wanted = [node.name for node in graph.of(*STATEFUL_OPS, Input, Output)]  # a turn of the chip may have no output
    kept: set[str] = set()
    while wanted:
        if (name := wanted.pop()) not in kept:
            kept.add(name)
            wanted += nodes[name].inputs
    return Graph((node for name, node in nodes.items() if name in kept), graph.hosts.values())


def _left(graph: Graph, name: str, changed: dict[str, Node]) -> str | None:
    """What of a current is the chip's, by name; ``changed`` is told of sums that have fewer terms. None: nothing."""
    node = graph[name]
    if isinstance(node.op, WEIGHT_OPS):
        return None if graph.edges[node.inputs[0]].carries == "real" else name
    parts = [_left(graph, source, changed) for source in node.inputs]
    left = tuple(part for part in parts if part is not None)
    if not left:
        return None
    if isinstance(node.op, Gain) or (len(left) == 1 < len(parts)):
        return left[0]
    if left != node.inputs:
        changed[name] = replace(node, inputs=left)
    return name
