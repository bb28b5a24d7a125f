"""What a network needs against what a chip holds."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import WEIGHT_OPS, Integrator, Linear, Neuron, Scale
from neurocompile.targets import Target

if TYPE_CHECKING:
    from neurocompile.program import Program

__all__ = ["Needs", "check_fit", "chips_needed", "needs_of"]


@dataclass(frozen=True)
class Needs:
    """What an integer graph takes: neurons and integrators, and weights stored once (convolutions share theirs)."""

    neurons: int
    weights: int


def needs_of(graph: Graph) -> Needs:
    """Count neurons and stored weights of an integer graph."""
    neurons = sum(graph.edges[node.name].size for node in graph.of(Neuron, Integrator))
    return Needs(neurons, sum(_stored(node.op) for node in graph.of(*WEIGHT_OPS)))


def _stored(op: Any) -> int:
    if isinstance(op, Scale):
        return int(op.scale.size)
    return int(op.stored.sum()) if isinstance(op, Linear) and op.stored is not None else int(op.weight.size)


def chips_needed(graph: Graph, target: Target) -> int | None:
    """The least number of chips that could hold the graph by the target's published limits; None if it has none."""
    needs, limits = needs_of(graph), target.limits
    parts = [
        ceil(need / limit)
        for need, limit in ((needs.neurons, limits.neurons), (needs.weights, limits.synapses))
        if limit is not None
    ]
    return max(parts) if parts else None


def check_fit(program: Program, target: Target, chips: int) -> None:
    """Hold a program against the limits of so many chips.

    Raises:
        DoesNotFit: with every limit that is exceeded.
    """
    needs, limits = needs_of(program.integer), target.limits
    least = chips_needed(program.integer, target)
    problems = [
        Problem(
            f"{target.name} does not hold so many {what}",
            "the network",
            str(need),
            f"{limit} a chip" + (f", {limit * chips} on {chips} chips" if chips > 1 else ""),
            f"use --chips {least} (at least), a smaller network, or simulate --price-as {target.name}",
        )
        for what, need, limit in (
            ("neurons", needs.neurons, limits.neurons),
            ("weights", needs.weights, limits.synapses),
        )
        if limit is not None and need > limit * chips
    ]
    if problems:
        raise DoesNotFit(problems)
