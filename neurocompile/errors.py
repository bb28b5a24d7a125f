"""What can go wrong, in the words of the person it goes wrong for.

Every error carries one or more :class:`Problem`: what, where, the actual value against its limit, and what to do.
All problems of one kind are collected before an error is raised, so that nobody mends them one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from neurocompile.printable import printable

__all__ = [
    "BadInput",
    "DoesNotFit",
    "Interrupted",
    "NeurocompileError",
    "NotTheSame",
    "Problem",
    "ToolFailed",
    "UnsupportedModel",
    "UsageError",
    "naming_lines",
]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    what: str
    where: str = ""
    actual: str = ""
    limit: str = ""
    fix: str = ""

    def __str__(self) -> str:
        """The lines of it, as a terminal may be given them."""
        where, actual, limit = map(printable, (self.where, self.actual, self.limit))
        what, fix = (printable(text, keep="\n") for text in (self.what, self.fix))  # the last lines of a tool, say
        line = f"{where}: {what}" if where else what
        if actual and limit:
            line += f" (got {actual}; allowed: {limit})"
        elif actual or limit:
            line += f" (got {actual})" if actual else f" (allowed: {limit})"
        return f"{line}\n    -> {fix}" if fix else line

    def at(self, lines: Mapping[str, str]) -> Problem:
        """The same, with the user's file:line where ``where`` is a layer (or a part of one) whose line is known."""
        name = self.where.partition(" (")[0]
        while name and name not in lines:
            name = name.rpartition(".")[0]
        return replace(self, where=f"{lines[name]} ({self.where.partition(' (')[0]})") if name else self

    def as_json(self) -> dict[str, str]:
        """The problem as the object that ``--json`` prints in ``errors``."""
        return asdict(self)


class NeurocompileError(Exception):
    """Base of all errors that this package raises on purpose; ``exit_code`` is the CLI's."""

    exit_code = 1

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type[NeurocompileError], tuple[tuple[Problem, ...]]]:
        """As other processes are told of it: with its problems."""
        return type(self), (self.problems,)


@contextmanager
def naming_lines(lines: Mapping[str, str]) -> Iterator[None]:
    """Let errors from within name the user's lines where they name layers.

    Args:
        lines: the file:line of each layer, by name.
    """
    try:
        yield
    except NeurocompileError as error:
        error.problems = tuple(problem.at(lines) for problem in error.problems)
        error.args = ("\n".join(map(str, error.problems)),)
        raise


class ToolFailed(NeurocompileError):
    """The machine, not the input: a full disk, a tool that is missing or hangs."""

    exit_code = 1


class UsageError(NeurocompileError):
    """An option or a target that does not exist, an output folder that does."""

    exit_code = 2


class UnsupportedModel(NeurocompileError):
    """The model holds something that cannot be lowered exactly."""

    exit_code = 3


class DoesNotFit(NeurocompileError):
    """The network exceeds a limit of the target, or could overflow its arithmetic."""

    exit_code = 4


class NotTheSame(NeurocompileError):
    """What was made of a model does not do what the live model does."""

    exit_code = 5


class BadInput(NeurocompileError):
    """A file or an array that is missing, damaged, unsafe, or of the wrong shape."""

    exit_code = 6


class Interrupted(NeurocompileError):
    """The user pressed Ctrl-C."""

    exit_code = 130
