"""What a network needs against what a chip holds."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import WEIGHT_OPS, Integrator, Linear, Neuron, Scale
from neurocompile.mapping.cores import plan_cores
from neurocompile.mapping.host import host_layers
from neurocompile.targets import Limits, Target

if TYPE_CHECKING:
    from neurocompile.program import Program

__all__ = ["Needs", "check_fit", "chips_needed", "fit_problems", "needs_of"]


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


def chips_needed(
    graph: Graph, target: Target, *, weight_bits: int | None = None, host: frozenset[str] = frozenset()
) -> int | None:
    """The least number of chips that could hold the graph by the target's published limits; None if it has none.

    ``weight_bits`` (None: the target's own) and ``host``, the layers that the host computes, matter where there are
    cores. A neuron that is too large for any core is left out of account: see :func:`plan_cores`.

    Raises:
        DoesNotFit: as :func:`plan_cores` does.
    """
    parts = _chips_by_size(needs_of(graph), target.limits)
    if target.limits.cores is not None:
        bits = _weight_bits(target) if weight_bits is None else weight_bits
        parts.append(plan_cores(graph, target, weight_bits=bits, host=host).chips)
    return max(parts, default=None)


def _chips_by_size(needs: Needs, limits: Limits) -> list[int]:
    pairs = ((needs.neurons, limits.neurons), (needs.weights, limits.synapses))
    return [ceil(need / limit) for need, limit in pairs if limit is not None]


def _weight_bits(target: Target) -> int:
    return target.arithmetic.weight_bits if target.arithmetic is not None else 8


def check_fit(program: Program, target: Target, chips: int) -> None:
    """Hold a program against the limits of so many chips.

    Raises:
        DoesNotFit: with every limit that is exceeded.
    """
    problems = fit_problems(program, target, chips)
    if problems:
        raise DoesNotFit(problems)


def fit_problems(program: Program, target: Target, chips: int) -> list[Problem]:
    """Every limit of so many chips that a program exceeds."""
    needs, limits = needs_of(program.integer), target.limits
    least = max(_chips_by_size(needs, limits), default=1)
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
    if limits.cores is not None:
        bits = program.settings.get("bits") or _weight_bits(target)
        plan = plan_cores(program.integer, target, weight_bits=bits, host=host_layers(program))
        problems += plan.problems(chips)
    return [problem.at(program.lines) for problem in problems]
