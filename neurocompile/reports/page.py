"""What ``neurocompile report`` gathers: everything that is known of a program, for one page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from neurocompile.ir.ops import Array
from neurocompile.ir.placed import Placed
from neurocompile.reports.base import Report
from neurocompile.reports.plain import HIDDEN
from neurocompile.reports.program import Placement, Sizes
from neurocompile.reports.simulate import SimulateReport
from neurocompile.reports.validation import Validation
from neurocompile.targets.events import Constant

__all__ = ["LayerFacts", "PageReport", "Raster", "StepTimes"]


@dataclass(frozen=True)
class LayerFacts:
    """A layer as it went to the chip.

    Attributes:
        kind: "input", "neurons", "readout" or "sum".
        shape: without time and batch.
        sources: the layers that it hears, each with the steps of delay and the stored weights.
        depth: layers between it and the inputs, at most (loops left out).
        bits: of its largest weight, sign included; None without weights.
        runs_on: "chip", "simulation" or "host".
        line: of the user's code.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    sources: tuple[tuple[str, int, int], ...]
    depth: int
    bits: int | None
    runs_on: str
    line: str


@dataclass(frozen=True, eq=False)
class Raster:
    """Spikes of one sample: the steps and the numbers of the neurons that fired, ``[events]`` each."""

    layer: str
    neurons: int
    shown: int
    steps: Array
    fired: Array


@dataclass(frozen=True)
class StepTimes:
    """Of the first sample: how long each step took, in nanoseconds or cycles, and what each core was busy with."""

    unit: str
    steps: tuple[float, ...]
    cores: Mapping[str, float]


@dataclass(frozen=True)
class PageReport(Report):
    """All that is known of a program; the page, and its numbers as CSV, are written from it.

    Attributes:
        program: what it is called.
        target: that it was compiled for.
        path: where the page was written; None: it was not.
        csv: where its numbers were written.
        validation: if it was compared with anything.
        runs: what it did with the data, by the chip whose prices these are; the program's own first.
        sources: the constants of each chip's price list.
        basis: by chip, how the price of a SOP is known.
    """

    program: str
    target: str
    path: Path | None
    csv: Path | None
    bytes: int = field(metadata={"json": "bytes"})
    samples: int = 0
    timesteps: int = 0
    weight_bits: int = 0
    sizes: Sizes = Sizes()
    validation: Validation | None = None
    runs: Mapping[str, SimulateReport] = field(default_factory=dict)
    placement: Placement = field(default=Placement(), metadata=HIDDEN)
    placed: Placed | None = field(default=None, metadata=HIDDEN)
    layers: tuple[LayerFacts, ...] = field(default=(), metadata=HIDDEN)
    rasters: tuple[Raster, ...] = field(default=(), compare=False, metadata=HIDDEN)
    times: StepTimes | None = field(default=None, metadata=HIDDEN)
    sources: Mapping[str, Mapping[str, Constant]] = field(default_factory=dict, metadata=HIDDEN)
    notes: tuple[str, ...] = field(default=(), metadata=HIDDEN)

    @property
    def exit_code(self) -> int:
        """5 if something was compared and is not as alike as it has to be."""
        return 0 if self.validation is None else self.validation.exit_code
