"""The one text writer: a report as a person reads it. It is told nothing but the report."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from neurocompile.reports.base import Report

if TYPE_CHECKING:
    from neurocompile.reports.text.parts import Part

__all__ = ["text"]

_WRITERS = {
    "CheckReport": "check",
    "DemoReport": "demo",
    "DigitsReport": "demo",
    "ExploreReport": "explore",
    "ExportReport": "export",
    "InspectReport": "inspect",
    "PageReport": "page",
    "SimulateReport": "simulate",
    "TargetsReport": "targets",
    "Validation": "validation",
    "ZooReport": "zoo",
}
"""The module that writes a report, loaded when it is needed."""


def text(report: Report) -> Iterator[Part]:
    """The tables and lines of a report, in their order."""
    writer = import_module(f"neurocompile.reports.text.{_WRITERS[type(report).__name__]}")
    parts: Iterator[Part] = writer.text(report)
    return parts
