"""What a clock is: it says when things happen on a chip, sample after sample. A target names its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from neurocompile.ir.ops import Array
from neurocompile.program import Program
from neurocompile.registry import Table
from neurocompile.simulator.timing.report import TimingReport
from neurocompile.simulator.timing.slices import Timeline

__all__ = ["CLOCKS", "Clock", "ClockKind", "Cuttable"]


class Clock(Protocol):
    """Times the samples of a program, in as many turns as they come."""

    def take(self, inputs: Mapping[str, Array], spikes: Mapping[str, Array]) -> None:
        """Time some samples.

        Args:
            inputs: integers of the program, ``[N, T or 1, *shape]``.
            spikes: of every layer of neurons, ``[N, T, *shape]``.
        """

    def report(self) -> TimingReport:
        """How long they took, and what they waited for."""

    def timeline(self) -> dict[str, Any]:
        """What happened when in the first sample, in the Chrome trace-event format, if that was to be kept."""

    def slices(self) -> Timeline:
        """The same, and more, piece by piece: for a trace that is written as it is made."""


@runtime_checkable
class Cuttable(Protocol):
    """A clock to which it is all the same what came before a sample: others can time parts of the samples for it."""

    def taken(self) -> dict[str, Any]:
        """What was timed since this was last asked for, as plain values and arrays; it begins anew."""

    def add(self, taken: Mapping[str, Any]) -> None:
        """Samples that another such clock has timed come next."""


class ClockKind(Protocol):
    """What makes a clock for a program."""

    placements: tuple[str, ...]

    def missing(self) -> str:
        """Why there is no such clock here; empty if there is."""

    def __call__(self, program: Program, placement: str | None = None, keep: bool = False) -> Clock:
        """A clock.

        Args:
            program: compiled for a target that names this clock.
            placement: of its cores, one of ``placements``; None: the usual one.
            keep: keep the events of the first sample, for a timeline.

        Raises:
            DoesNotFit: for what the chip does not do or hold.
            ToolFailed: if something is missing that it needs.
        """


CLOCKS: Table[ClockKind] = Table(
    "neurocompile.clocks",
    {
        "cycles": "neurocompile.simulator.timing.cycles:CycleClock",
        "events": "neurocompile.simulator.timing.events:EventClock",
    },
)
"""Clocks by the names that targets call them."""
