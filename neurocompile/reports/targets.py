"""What is known of chips, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

from neurocompile.reports.base import Report
from neurocompile.reports.plain import HIDDEN, OMITTED
from neurocompile.targets import Target

__all__ = ["TargetsReport"]


@dataclass(frozen=True)
class TargetsReport(Report):
    """Chips by name; ``one`` if a single one was asked for, ``toml`` the file that describes it, if that was."""

    targets: dict[str, Target]
    one: bool = field(metadata=HIDDEN)
    toml: str | None = field(default=None, metadata=OMITTED)
