"""What a failed stage is asked: the two executors' traces as evidence on the graph of a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neurocompile.errors import NeurocompileError
from neurocompile.hosted import run_graph
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array, Neuron
from neurocompile.ir.trace import Trace
from neurocompile.passes import REAL_PASSES, FoldScale, Pass, Synapses, run_passes
from neurocompile.program import Program
from neurocompile.reports.causes import Cause
from neurocompile.validation.causes.diagnosis import Evidence, diagnose
from neurocompile.validation.causes.rules import IntegerRule, RealRule

__all__ = ["Examine", "IntegersExamined", "RealsExamined"]

Examine = Callable[[Mapping[str, Array], Trace, Trace], list[Cause]]
"""Finds the causes for which two traces (of a program, of what it is compared with) of some inputs differ."""


@dataclass(frozen=True)
class IntegersExamined:
    """A program's integers are right, and what is compared with them may not be."""

    program: Program

    def __call__(self, inputs: Mapping[str, Array], what: Trace, against: Trace) -> list[Cause]:
        """The causes in what ``against`` did."""
        fed = {**inputs, **{name: x for name, x in what.values.items() if name in self.program.inputs}}
        given, _ = self.program.integers(fed)
        neurons = [node.name for node in self.program.integer.of(Neuron)]
        observed = {name: against.spikes[name] for name in neurons if name in against.spikes}
        left = {name: against.potentials[name] for name in observed if name in against.potentials}
        evidence = Evidence(given, what.spikes, observed, left)
        return diagnose(self.program.integer, IntegerRule(self.program.arithmetic), evidence)


@dataclass(frozen=True)
class RealsExamined:
    """A reference is right, and the real graph of a program may not be.

    Attributes:
        program: whose graph is suspected.
        source: the reference's own graph, before any pass.
    """

    program: Program
    source: Graph

    def __call__(self, inputs: Mapping[str, Array], what: Trace, against: Trace) -> list[Cause]:
        """The causes in what the program's graph did: in what it departs from one that is made anew.

        Where that, too, is not what the reference does, the compiler is at fault: it is asked then what would make the
        program do what the reference does.
        """
        anew = _synaptic(self.source, REAL_PASSES)
        names = [node.name for node in self.program.real.of(Neuron)]
        if anew is not None and [node.name for node in anew.of(Neuron)] == names:
            right = run_graph(anew, inputs, self.program.timesteps)
            known = [name for name in names if name in against.spikes]
            if all(np.array_equal(right.spikes[name], against.spikes[name]) for name in known):
                observed = {name: what.spikes[name] for name in names}
                return diagnose(anew, RealRule(), Evidence({**inputs, **right.values}, right.spikes, observed, {}))
        own = _synaptic(self.program.real, ())
        if own is None:
            return []
        observed = {name: against.spikes[name] for name in names if name in against.spikes}
        return diagnose(own, RealRule(), Evidence({**inputs, **what.values}, what.spikes, observed, {}))


def _synaptic(graph: Graph, passes: Sequence[Pass]) -> Graph | None:
    """A graph in which each neuron has synapses of its own; None where it cannot be brought there."""
    try:
        made, _ = run_passes(graph, (*passes, FoldScale("fold-scale-2"), Synapses(event_sums=True)))
    except NeurocompileError:
        return None
    return made
