"""Every layer of a graph against a target, without compiling: all that is in the way, at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neurocompile.compiler import Options, encoding_of, ready_target, synaptic_passes
from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Input, Integrator, Neuron, Output, Scale
from neurocompile.mapping.host import encoders, written_to
from neurocompile.passes import REAL_PASSES, run_passes
from neurocompile.quantization.layer import decays_out_of_range
from neurocompile.quantization.silicon import shortfalls
from neurocompile.targets import Target

__all__ = ["alone", "judged"]


def judged(graph: Graph, target_name: str, options: Options) -> list[Problem]:
    """What keeps a graph from running on a target.

    Weights are not rounded and nothing is placed, so that what only integers tell (an overflow, the memory of a core)
    is not among it. Where layers cannot get synapses of their own, every neuron is judged by itself.

    Args:
        graph: as a frontend made it.
        target_name: of what it is to be compiled for.
        options: the number of chips, and how inputs reach them.

    Raises:
        UsageError: for a target that nothing can be compiled for.
    """
    target = ready_target(target_name, options)
    assert target.arithmetic is not None
    real, _ = run_passes(graph, REAL_PASSES)
    passes = synaptic_passes(target.arithmetic, options, {})
    found: list[Problem] = []
    try:
        synaptic, _ = run_passes(real, passes)
    except DoesNotFit as error:
        found += error.problems
        for each in _each_alone(real):
            found += _of_layers(run_passes(each, passes)[0], target, options)
    else:
        found += _of_layers(synaptic, target, options)
        found += target.code.oversize(target, synaptic, options.chips)
    return [problem.at(graph.lines) for problem in dict.fromkeys(found)]


def _of_layers(graph: Graph, target: Target, options: Options) -> list[Problem]:
    """What a graph in synaptic form has that the target does not do."""
    assert target.arithmetic is not None
    encode = encoding_of(target, options)
    found = target.code.illegal(target, graph, 1.0, encode)
    host = encoders(graph) if encode == "host" else frozenset()
    written: frozenset[str] = frozenset()
    try:
        written = written_to(graph) if encode == "host" else written
        graph, _ = run_passes(graph, target.code.onto_neurons(target.arithmetic, host))
    except DoesNotFit as error:
        found += error.problems
    for layer in form_of(graph).layers.values():
        found += decays_out_of_range(layer.node, target.arithmetic)
        if target.arithmetic.lif is not None and layer.name not in host:
            found += [
                Problem(f"not a neuron of the chip: {each.what}", layer.name, fix=each.fix)
                for each in shortfalls(layer.op, target.arithmetic, written=layer.name in written)
            ]
    return found


def _each_alone(graph: Graph) -> Iterator[Graph]:
    """A network of one layer for every layer of neurons: an event each, and a weight of 1."""
    for node in graph.of(Neuron, Integrator):
        assert isinstance(node.op, Neuron | Integrator)
        yield alone(node.name, node.op, graph.edges[node.name].shape)


def alone(name: str, op: Neuron | Integrator, shape: tuple[int, ...]) -> Graph:
    """A layer that hears one event a neuron, with a weight of 1."""
    read = f"{name}.read" if isinstance(op, Neuron) else name
    nodes = [
        Node(f"{name}.input", Input(shape, "spikes")),
        Node(f"{name}.weight", Scale(np.asarray(1.0)), (f"{name}.input",)),
        Node(name, op, (f"{name}.weight",)),
        *([Node(read, Integrator(), (name,))] if isinstance(op, Neuron) else []),
        Node(f"{name}.output", Output(), (read,)),
    ]
    return Graph(nodes)
