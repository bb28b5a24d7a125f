"""A case, the files that it is given, and the register of them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CASES", "Case", "Given", "Step", "both", "called", "case"]


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


CASES: dict[str, Case] = {}


def case(name: str, *steps: Step, quick: bool = False) -> None:
    """Keep a case; a text of several lines is a command a line."""
    name = name.replace(" ", "-").replace(":", "-").replace(",", "")
    assert name not in CASES, f"two cases are called {name}"
    each = [line for step in steps for line in (_lines(step) if isinstance(step, str) else [step])]
    CASES[name] = Case(name, tuple(each), quick)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def both(*commands: str) -> list[str]:
    """Each command for people and for scripts; what one exports the other writes over."""
    return [
        f"{command}{form}"
        for several in commands
        for command in _lines(several)
        for form in ("", " --json --overwrite" if command.startswith("export") else " --json")
    ]


def called(step: Step) -> str:
    """The step in a word or a line."""
    return f"given {step.name}" if isinstance(step, Given) else step
