"""A case, and the files that it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Case", "Given", "Step", "called"]


@dataclass(frozen=True)
class Given:
    """A file that a user would have: a model, data, a program that was damaged since."""

    name: str
    write: Callable[[Path], object]


Step = str | Given
"""A command without the word neurocompile, or a file that the later ones find."""


@dataclass(frozen=True)
class Case:
    """Steps in a folder of their own, one after the other; ``quick``: among those that say most in a minute."""

    name: str
    steps: tuple[Step, ...]
    quick: bool = False


def called(step: Step) -> str:
    """The step in a word or a line."""
    return f"given {step.name}" if isinstance(step, Given) else step
