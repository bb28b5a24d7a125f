"""The bundled network on real data: what it does on every chip."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from neurocompile.reports.base import Report
from neurocompile.reports.plain import HIDDEN
from neurocompile.reports.simulate import SimulateReport
from neurocompile.reports.validation import Validation
from neurocompile.simulator.timing.report import TimingReport

__all__ = ["Chip", "Conventional", "DemoReport", "DigitsReport"]


@dataclass(frozen=True)
class DigitsReport(Report):
    """Where the held-out digits were written, and how many they are; where the network was (None: not written)."""

    data: Path | None
    samples: int
    model: Path | None = None


@dataclass(frozen=True)
class Chip:
    """What a bill rests on: how the price of a SOP is known ("": it has none); whether anything compiles for it."""

    basis: str
    compiles: bool


@dataclass(frozen=True)
class Conventional:
    """One inference in some arithmetic alone, memory left out: of the program, and of the same network without spikes.

    That one has every weight's synapses once.
    """

    arithmetic: str
    spiking_pj: float
    conventional_pj: float


@dataclass(frozen=True)
class DemoReport(Report):
    """The bundled network, compiled, simulated, priced and compared with PyTorch.

    Attributes:
        targets: what it does and costs on each chip.
        loihi: cores of Loihi, as it is and without one of the ways that save some.
        nc1: for each placement of nc1's cores how long a few samples take; empty without the compiled simulator.
        validation: of its program for ``generic``.
        lava: of its program for Loihi, on a few digits: by Lava, where it is installed.
        report: the page that was written; None: none was.
        seconds: that all this took.
        timed_samples: how many samples ``nc1`` is about.
        weight_bits: of the program.
        summary: of the program, priced as the first chip.
        chips: by name.
        conventional: in two kinds of 45 nm arithmetic.
    """

    accuracy_reference: float | None
    accuracy_program: float | None
    targets: dict[str, SimulateReport]
    loihi: dict[str, int]
    nc1: dict[str, TimingReport]
    validation: Validation = field(metadata={"json": "validate"})
    lava: Validation = field(metadata={"json": "validate_loihi"})
    report: Path | None
    passed: bool
    seconds: float
    timed_samples: int = field(metadata=HIDDEN)
    weight_bits: int = field(metadata=HIDDEN)
    summary: SimulateReport = field(metadata=HIDDEN)
    chips: dict[str, Chip] = field(metadata=HIDDEN)
    conventional: tuple[Conventional, ...] = field(metadata=HIDDEN)

    @property
    def exit_code(self) -> int:
        """5 if it is not what PyTorch does."""
        return 0 if self.passed else 5
