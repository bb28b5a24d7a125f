"""What was compiled and written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from neurocompile.errors import Problem
from neurocompile.ir.placed import Placed
from neurocompile.reports.base import Report
from neurocompile.reports.plain import HIDDEN, INLINED, OMITTED
from neurocompile.reports.program import HostRegionReport, Placement, Sizes
from neurocompile.reports.validation import Validation

__all__ = ["ExportReport", "LayerUnits"]


@dataclass(frozen=True)
class LayerUnits:
    """A layer's membranes: the real value of a step of them, and their decay, each from the least to the most."""

    name: str
    shape: tuple[int, ...]
    unit: tuple[float, float]
    decay: tuple[float, float]


@dataclass(frozen=True)
class ExportReport(Report):
    """What was compiled and written.

    Attributes:
        target: that it was compiled for.
        program: the folder; None if nothing was written.
        weight_bits: of a weight, the widest where they differ.
        layer_bits: by layer, where that was asked for.
        cores: that it takes, where they are known.
        chips: that it takes.
        mapping: what is on which core, where that is known.
        host_regions: what the host computes.
        files: of the folder, by name.
        notes: the log of the passes and of quantization.
        placement: what runs where.
        inputs: what each carries, "spikes" or "real".
        warnings: what the model's owner should know.
        validation: of the program against PyTorch, if there were samples.
        errors: everything that does not fit, of a dry run.
        timesteps: T.
        layers: of neurons and integrators.
        compared_on: the samples of the validation, in the user's words.
    """

    target: str
    program: Path | None
    sizes: Sizes = field(metadata=INLINED)
    weight_bits: int
    layer_bits: dict[str, int] = field(metadata=OMITTED)
    cores: int | None
    chips: int
    mapping: Placed | None
    host_regions: tuple[HostRegionReport, ...]
    files: tuple[str, ...]
    notes: tuple[str, ...]
    placement: Placement = field(metadata=INLINED)
    inputs: dict[str, str]
    warnings: tuple[str, ...]
    validation: Validation | None = field(metadata={"json": "validate", **OMITTED})
    errors: tuple[Problem, ...] = field(metadata=OMITTED)
    timesteps: int = field(metadata=HIDDEN)
    layers: tuple[LayerUnits, ...] = field(metadata=HIDDEN)
    compared_on: str = field(metadata=HIDDEN)

    @property
    def exit_code(self) -> int:
        """4 if it does not fit, 5 if it is not what PyTorch does."""
        if self.errors:
            return 4
        return 5 if self.validation is not None and not self.validation.passed else 0
