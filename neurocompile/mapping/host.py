"""Which layers the host computes: those that turn real-valued inputs into spikes for a chip that is given no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Input

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
    form = form_of(graph)
    found, problems = set(), []
    for layer in form.layers.values():
        real = [synapse for synapse in layer.synapses if synapse.reads.carries == "real"]
        if not real:
            continue
        found.add(layer.name)
        chip = sorted({s.event for s in layer.synapses if not isinstance(graph[form.emitter(s.source)].op, Input)})
        if chip:
            what = f"it reads a real-valued input and also spikes of the chip ({', '.join(chip)})"
            fix = "use --encode graded on a target with graded spikes, or put a spiking layer behind the input"
            problems.append(Problem(what, layer.name, "--encode host", "layers that read inputs only", fix))
        problems += [
            Problem("it reads a max-pool of a real-valued input, which the host does not compute", layer.name,
                    "--encode host", "layers that read inputs themselves",
                    "pool the data beforehand, or use --encode graded on a target with graded spikes")
            for synapse in real if synapse.source in form.pools
        ]  # fmt: skip
    if problems:
        raise DoesNotFit(problems)
    return frozenset(found)
