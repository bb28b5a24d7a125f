"""What a failed stage is asked: the two executors' traces as evidence on the graph of a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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

        Where that is no nearer to what the reference does, the compiler is at fault: it is asked then what would make
        the program do what the reference does.
        """
        against = _told(against, what)
        anew = _synaptic(self.source, REAL_PASSES)
        names = [node.name for node in self.program.real.of(Neuron)]
        if anew is not None and {node.name for node in anew.of(Neuron)} == set(names):
            right = run_graph(anew, inputs, self.program.timesteps)
            known = _told(replace(right, untold=against.untold), what)
            if _differing(known, against, names) < _differing(what, against, names):
                observed = {name: what.spikes[name] for name in names}
                evidence = Evidence({**inputs, **right.values}, right.spikes, observed, {})
                return diagnose(anew, self._rule, evidence)
        own = _synaptic(self.program.real, ())
        if own is None:
            return []
        observed = {name: against.spikes[name] for name in names if name in against.spikes}
        return diagnose(own, self._rule, Evidence({**inputs, **what.values}, what.spikes, observed, {}))

    @property
    def _rule(self) -> RealRule:
        """With the gains that a program's weights have been given when each neuron has synapses of its own."""
        neurons = {node.name: node.op for node in self.program.real.of(Neuron)}
        return RealRule({name: np.asarray(op.gain) for name, op in neurons.items() if isinstance(op, Neuron)})


def _told(reference: Trace, what: Trace) -> Trace:
    """A reference that tells every step: where it does not know its spikes, they are taken to be the other's."""
    spikes = dict(reference.spikes)
    for name, steps in reference.untold.items():
        spikes[name] = spikes[name].copy()
        spikes[name][:, list(steps)] = what.spikes[name][:, list(steps)]
    return replace(reference, spikes=spikes)


def _differing(one: Trace, other: Trace, names: Sequence[str]) -> int:
    """How many spikes of some layers differ."""
    known = [name for name in names if name in other.spikes]
    return sum(int((one.spikes[name] != other.spikes[name]).sum()) for name in known)


def _synaptic(graph: Graph, passes: Sequence[Pass]) -> Graph | None:
    """A graph in which each neuron has synapses of its own; None where it cannot be brought there."""
    try:
        made, _ = run_passes(graph, (*passes, FoldScale("fold-scale-2"), Synapses(event_sums=True)))
    except NeurocompileError:
        return None
    return made
