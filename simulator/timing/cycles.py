"""How long a program takes on nc1, sample after sample, and what it waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.mapping.placement import refined
from neurocompile.program import Program
from neurocompile.simulator.timing.nc1 import PORTS, Nc1Timer, Timing, timing_missing
from neurocompile.simulator.timing.report import BusyLink, BusyPlace, Cycles, Spread, TimingReport
from neurocompile.simulator.timing.slices import Timeline
from neurocompile.simulator.timing.timeline import as_trace, nc1_timeline, trace_events
from neurocompile.targets.nc1.chip import Nc1, Steps, map_to_nc1

__all__ = ["CycleClock"]


class CycleClock:
    """Times the samples of a program, in as many turns as they come.

    Args:
        program: compiled for nc1.
        placement: of its cores, one of ``placements``; None: in order.
        keep: keep the events of the first sample, for a timeline.

    Raises:
        DoesNotFit: for what nc1 does not do or hold.
        ToolFailed: without the compiled timing simulator.
    """

    placements = ("in-order", "snake", "hilbert", "refined", "balanced")
    """How cores can be placed. "refined" starts in order and looks at the traffic of the first samples that are run;
    "balanced" first cuts the network anew, so that with these samples all cores have about as much to do."""

    def __init__(self, program: Program, placement: str | None = None, keep: bool = False) -> None:
        self._placement = placement or "in-order"
        at_first = "in-order" if self._placement in ("refined", "balanced") else self._placement
        self.chip: Nc1 = map_to_nc1(program, placement=at_first)
        self._timer: Nc1Timer | None = None
        self._keep = keep
        self.first: Timing | None = None
        self._cycles: list[Array] = []
        self._flits = np.zeros((self.chip.parameters.cores, len(PORTS)), np.int64)
        self._words, self._stalled, self._blocked = np.zeros((3, self.chip.parameters.cores), np.int64)
        self._hops = 0

    @staticmethod
    def missing() -> str:
        """Why there is no such clock here."""
        return timing_missing()

    def take(self, inputs: Mapping[str, Array], spikes: Mapping[str, Array]) -> None:
        """Time some samples.

        Args:
            inputs: integers of the program, ``[N, T or 1, *shape]``.
            spikes: of every layer of neurons, ``[N, T, *shape]``.
        """
        if self._keep and self.first is None:
            self._take({n: x[:1] for n, x in inputs.items()}, {n: x[:1] for n, x in spikes.items()}, True)
            inputs, spikes = ({name: x[1:] for name, x in arrays.items()} for arrays in (inputs, spikes))
        self._take(inputs, spikes, False)

    def _take(self, inputs: Mapping[str, Array], spikes: Mapping[str, Array], keep: bool) -> None:
        if not len(next(iter(inputs.values()))):
            return
        timesteps = self.chip.program.timesteps
        given = {name: np.broadcast_to(x, (len(x), timesteps, *x.shape[2:])) for name, x in inputs.items()}
        if self._timer is None and self._placement == "balanced":
            self.chip = self.chip.balanced(given, spikes)
        steps = self.chip.steps_of(given, spikes)
        if self._timer is None:
            if self._placement in ("refined", "balanced"):
                place = refined(traffic_of(self.chip, steps), self.chip.place, self.chip.parameters.mesh)
                self.chip = self.chip.moved(place)
                steps = self.chip.steps_of(given, spikes)
            self._timer = Nc1Timer(self.chip)
        timing = self._timer.run(steps, events=keep)
        if keep:
            self.first = timing
        after = timing.quiet[steps.steps - 1 :: steps.steps] + self.chip.parameters.barrier + 2
        self._cycles.append(after - timing.start[:: steps.steps])
        self._flits += timing.flits
        self._words += timing.words
        self._stalled += timing.stalled
        self._blocked += timing.blocked
        self._hops += timing.hops

    def timeline(self) -> dict[str, Any]:
        """What happened when in the first sample, in the Chrome trace-event format."""
        assert self.first is not None  # it was kept
        return as_trace(trace_events(self.chip, self.first), "one cycle is shown as a microsecond")

    def slices(self) -> Timeline:
        """The same, what layers did and what each step waited for, piece by piece."""
        assert self.first is not None  # it was kept
        return nc1_timeline(self.chip, self.first)

    def report(self) -> TimingReport:
        """Cycles, and where they went."""
        cycles = np.concatenate([np.zeros(0, np.int64), *self._cycles])
        links = self._flits[:, : PORTS.index("local")]
        place, output = np.unravel_index(int(links.argmax()), links.shape)
        core, total = int(self._words.argmax()), int(cycles.sum())
        own = Cycles(
            mesh=self.chip.parameters.mesh,
            placement=self._placement,
            cycles=total,
            cycles_per_sample=Spread(float(cycles.mean()), int(cycles.min()), int(cycles.max())),
            flits=int(self._flits[:, PORTS.index("local")].sum()),
            words=int(self._words.sum()),
            heaviest_link=BusyLink(self._at(int(place)), PORTS[output], int(links.max()), float(links.max() / total)),
            fullest_core=BusyPlace(self._at(core), float(self._words[core] / total)),
            stalled=int(self._stalled.sum()),
            blocked=int(self._blocked.sum()),
        )
        basis = "cycle-exact: the same cycles as the RTL's (docs/nc1.md)"
        return TimingReport(basis, self.chip.partition.cores, self.chip.steps, self._hops, own)

    def _at(self, place: int) -> tuple[int, int]:
        return place % self.chip.parameters.mesh_x, place // self.chip.parameters.mesh_x


def traffic_of(chip: Nc1, steps: Steps) -> Array:
    """Flits from core to core, ``[cores + 1, cores + 1]``, the host last."""
    cores, width = chip.partition.cores, chip.parameters.cores
    found = np.zeros((cores + 1, cores + 1), np.int64)
    found[cores, :cores] = np.bincount(chip.core_at[steps.host_core], minlength=cores)
    place = np.repeat(np.arange(steps.samples * steps.steps * width) % width, np.diff(steps.vector_first))
    for core in range(cores):
        mine = place == chip.place[core]
        lanes = (steps.bits[mine][:, None] >> np.arange(chip.parameters.lanes)) & 1
        group, lane = np.nonzero(lanes)
        fires = np.bincount(steps.group[mine][group] * chip.parameters.lanes + lane, minlength=chip.parameters.neurons)
        first, rows = chip.fanout_of(core)
        np.add.at(found[core], chip.routes.entry_core[rows], np.repeat(fires, np.diff(first)))
    return found
