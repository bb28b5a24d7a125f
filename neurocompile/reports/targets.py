"""What is known of chips, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

from neurocompile.reports.base import Report
from neurocompile.reports.plain import HIDDEN, INLINED
from neurocompile.targets.events import AsyncEvents
from neurocompile.targets.target import Target

__all__ = ["TargetReport", "TargetsReport"]


@dataclass(frozen=True)
class TargetReport:
    """A chip, and what single events on it cost, if that was published."""

    target: Target = field(metadata=INLINED)
    events: AsyncEvents | None


@dataclass(frozen=True)
class TargetsReport(Report):
    """Chips by name; ``one`` if a single one was asked for."""

    targets: dict[str, TargetReport]
    one: bool = field(metadata=HIDDEN)
