"""What a network needs of whole chips."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from neurocompile.errors import Problem
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import WEIGHT_OPS, Integrator, Linear, Neuron, Op, Scale
from neurocompile.limits import Limits

__all__ = ["Needs", "chips_by_size", "needs_of", "too_much"]


@dataclass(frozen=True)
class Needs:
    """What an integer graph takes: neurons and integrators, and weights stored once (convolutions share theirs)."""

    neurons: int
    weights: int


def needs_of(graph: Graph) -> Needs:
    """Count neurons and stored weights of an integer graph."""
    neurons = sum(graph.edges[node.name].size for node in graph.of(Neuron, Integrator))
    return Needs(neurons, sum(_stored(node.op) for node in graph.of(*WEIGHT_OPS)))


def _stored(op: Op) -> int:
    if isinstance(op, Scale):
        return int(op.scale.size)
    assert isinstance(op, WEIGHT_OPS)
    return int(op.stored.sum()) if isinstance(op, Linear) and op.stored is not None else int(op.weight.size)


def chips_by_size(limits: Limits, graph: Graph) -> list[int]:
    """How many chips each published limit of a whole chip asks for."""
    needs = needs_of(graph)
    pairs = ((needs.neurons, limits.neurons), (needs.weights, limits.synapses))
    return [ceil(need / limit) for need, limit in pairs if limit is not None]


def too_much(target: str, limits: Limits, graph: Graph, chips: int) -> list[Problem]:
    """Every limit of so many whole chips that an integer graph exceeds."""
    needs, least = needs_of(graph), max(chips_by_size(limits, graph), default=1)
    return [
        Problem(
            f"{target} does not hold so many {what}",
            "the network",
            str(need),
            f"{limit} a chip" + (f", {limit * chips} on {chips} chips" if chips > 1 else ""),
            f"use --chips {least} (at least), a smaller network, or simulate --price-as {target}",
        )
        for what, need, limit in (
            ("neurons", needs.neurons, limits.neurons),
            ("weights", needs.weights, limits.synapses),
        )
        if limit is not None and need > limit * chips
    ]
