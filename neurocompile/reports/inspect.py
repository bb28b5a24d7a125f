"""What a model or a program is, and what does not fit."""

from __future__ import annotations

from dataclasses import dataclass, field

from neurocompile.errors import Problem
from neurocompile.ir.placed import Placed
from neurocompile.reports.base import Report
from neurocompile.reports.plain import HIDDEN, INLINED
from neurocompile.reports.program import HostRegionReport, Placement, Sizes

__all__ = ["InspectReport"]


@dataclass(frozen=True)
class InspectReport(Report):
    """What a model or a program is.

    Attributes:
        target: that it is compiled for.
        timesteps: T.
        graph: the folded network, a line for each operation.
        integer_graph: the same in the target's integers; None if it cannot be compiled.
        notes: what was done for the target.
        host_regions: what the host computes.
        mapping: what is on which core, where that is known.
        does_not_fit: everything that exceeds the target.
        placement: what runs where, on a chip whose cores are known.
    """

    target: str
    timesteps: int
    sizes: Sizes = field(metadata=INLINED)
    graph: tuple[str, ...]
    integer_graph: tuple[str, ...] | None
    notes: tuple[str, ...]
    host_regions: tuple[HostRegionReport, ...]
    mapping: Placed | None
    does_not_fit: tuple[Problem, ...]
    placement: Placement | None = field(metadata=HIDDEN)
