"""What a source is made of, and all that is in the way."""

from __future__ import annotations

from dataclasses import dataclass

from neurocompile.errors import Problem
from neurocompile.reports.base import Report

__all__ = ["CheckReport", "NodeVerdict"]


@dataclass(frozen=True)
class NodeVerdict:
    """One node of the source.

    Attributes:
        name: as the source has it.
        operation: what it is, in the source's words.
        fits: whether nothing was found that is wrong with it.
        findings: the places of what was, in the report's ``findings``.
    """

    name: str
    operation: str
    fits: bool
    findings: tuple[int, ...]


@dataclass(frozen=True)
class CheckReport(Report):
    """What stands between a source and a target.

    Attributes:
        target: that it was held against.
        nodes: of the source; none for a source that cannot be read far enough.
        findings: all that is wrong, in the file or for the target.
        notes: how the source was taken.
    """

    target: str
    nodes: tuple[NodeVerdict, ...]
    findings: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """3 if anything was found."""
        return 3 if self.findings else 0
