"""A chip that another package brings: its file, one rule, a clock and a backend."""

from typing import ClassVar

import numpy as np

from neurocompile.errors import Problem
from neurocompile.ir.ops import Neuron
from neurocompile.simulator.timing.report import Figures, TimingReport
from neurocompile.simulator.timing.slices import Timeline
from neurocompile.targets import Family, target_of
from neurocompile.targets.keys import Key


class Toy(Family):
    """Neurons without a synaptic current."""

    parameters: ClassVar = {"events_a_cycle": Key(low=1, high=64, needed=True)}

    def illegal(self, target, graph, one, encode=None):
        """Every neuron with a current."""
        found = [node.name for node in graph.of(Neuron) if np.any(node.op.current_decay)]
        return [Problem("a toy has no synaptic current", name, fix="use neurons without one") for name in found]


class ToyClock:
    """Its bus takes so many events a cycle."""

    placements = ("snake",)
    missing = staticmethod(lambda: "")

    def __init__(self, program, placement=None, keep=False):
        self.program, self.events = program, 0

    def take(self, inputs, spikes):
        """Count what crosses the bus."""
        self.events += sum(int(np.count_nonzero(fired)) for fired in spikes.values())

    def report(self):
        """How many cycles that is."""
        cycles = -(-self.events // target_of(self.program).parameters["events_a_cycle"])
        return TimingReport("a toy's bus", 1, self.program.timesteps, 0, Figures(cycles=cycles))

    def timeline(self):
        """Nothing was kept."""
        return {"traceEvents": []}

    def slices(self):
        """Likewise."""
        return Timeline(1, ())


def listing(program):
    """The one file of its backend: a line a layer."""
    lines = [f"{node.name} {program.integer.edges[node.name].size}\n" for node in program.integer.of(Neuron)]
    return {"layers.txt": "".join(lines).encode()}


FAMILY = Toy()
