"""What is known of chips, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from neurocompile.reports.base import Report
from neurocompile.reports.plain import HIDDEN, OMITTED
from neurocompile.targets import Target

if TYPE_CHECKING:
    from neurocompile.targets.sanafe import Note

__all__ = ["Imported", "TargetsReport"]


@dataclass(frozen=True)
class Imported:
    """Where a target's file was made of another format, and where it was written, if it was.

    Attributes:
        source: the other file.
        out: the target's.
        missing: what it does not say, and what stands in the target's file instead.
        unsaid: what it says, and the target's file does not.
    """

    source: Path
    out: Path | None
    missing: tuple[Note, ...]
    unsaid: tuple[Note, ...]


@dataclass(frozen=True)
class TargetsReport(Report):
    """Chips by name; ``one`` if a single one was asked for, ``toml`` the file that describes it, if that was.

    ``imported`` says what it was made of, if it was made of an architecture of SANA-FE's.
    """

    targets: dict[str, Target]
    one: bool = field(metadata=HIDDEN)
    toml: str | None = field(default=None, metadata=OMITTED)
    imported: Imported | None = field(default=None, metadata=OMITTED)
