"""Where a page was written, and what it says first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurocompile.reports.text import validation

if TYPE_CHECKING:
    from neurocompile.reports.page import PageReport
    from neurocompile.reports.text.parts import Part

__all__ = ["text"]


def text(report: PageReport) -> Iterator[Part]:
    """The verdicts, and the files."""
    if report.validation is not None:
        yield from validation.stages(report.validation, f"{report.samples:,} samples, {report.timesteps} steps")
    if report.path is not None:
        yield f"wrote {report.path} ({report.bytes / 1e6:.2f} MB)"
    if report.csv is not None:
        yield f"wrote its numbers to {report.csv}"
