"""Which layers the host computes: those that turn real-valued inputs into spikes for a chip that is given no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Input, Integrator, MaxPool, Neuron
from neurocompile.quantization.rows import synapses_of

if TYPE_CHECKING:
    from neurocompile.program import Program

__all__ = ["encoders", "host_layers"]


def host_layers(program: Program) -> frozenset[str]:
    """The layers of a Program that the host computes."""
    return encoders(program.integer) if program.settings.get("encode") == "host" else frozenset()


def encoders(graph: Graph) -> frozenset[str]:
    """The layers that read real-valued inputs.

    Raises:
        DoesNotFit: for layers that read spikes of the chip as well: the host could not compute them beforehand.
    """
    found, problems = set(), []
    for node in graph.of(Neuron, Integrator):
        events = [synapse.node.inputs[0] for synapse in synapses_of(graph, node)]
        real = [name for name in events if graph.edges[name].carries == "real"]
        if not real:
            continue
        found.add(node.name)
        chip = sorted({name for name in events if not _is_input(graph, name)})
        if chip:
            what = f"it reads a real-valued input and also spikes of the chip ({', '.join(chip)})"
            fix = "use --encode graded on a target with graded spikes, or put a spiking layer behind the input"
            problems.append(Problem(what, node.name, "--encode host", "layers that read inputs only", fix))
        problems += [
            Problem("it reads a max-pool of a real-valued input, which the host does not compute", node.name,
                    "--encode host", "layers that read inputs themselves",
                    "pool the data beforehand, or use --encode graded on a target with graded spikes")
            for name in real if _is_pooled(graph, name)
        ]  # fmt: skip
    if problems:
        raise DoesNotFit(problems)
    return frozenset(found)


def _is_pooled(graph: Graph, name: str) -> bool:
    """Whether an event is a max-pool of an input."""
    while not isinstance(graph[name].op, Input | Neuron):
        if isinstance(graph[name].op, MaxPool):
            return True
        (name, *_) = graph[name].inputs
    return False


def _is_input(graph: Graph, name: str) -> bool:
    while not isinstance(graph[name].op, Input) and len(graph[name].inputs) == 1 and not _keeps(graph, name):
        (name,) = graph[name].inputs
    return isinstance(graph[name].op, Input)


def _keeps(graph: Graph, name: str) -> bool:
    return isinstance(graph[name].op, Neuron | Integrator)
