"""The joint of everything that is done in pieces: a task, and the engines that do tasks.

A task names a function by module and name, so that any process with this package installed can do it. Its result
depends on nothing but its arguments, and its key stands for them: what was done once is never done again where results
are kept. Tasks take at least a tenth of a second (a design point, a shard of samples), or an engine's own cost shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

__all__ = ["Engine", "Finished", "Here", "Task"]

Finished = Callable[[int], None]
"""Called with how many tasks were finished since the last call."""


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        function: ``module:name``; it takes the arguments by keyword, and its result pickles.
        arguments: they pickle; a file is a Path that the worker can read.
        key: the checksum of all that the result depends on (:func:`neurocompile.work.key_of`); "": it is not kept.
        what: it is, in the user's words: "loihi at 4 bits, samples 0 to 127".
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    what: str = ""

    def done(self) -> Any:
        """The result, computed here."""
        module, _, name = self.function.partition(":")
        return getattr(import_module(module), name)(**self.arguments)


class Engine(Protocol):
    """What does tasks."""

    @property
    def name(self) -> str:
        """In the user's words: "this process", "2 processes", "a Dask cluster at tcp://..."."""
        ...

    @property
    def workers(self) -> int:
        """How many tasks it does at once."""
        ...

    def run(self, tasks: Sequence[Task], progress: Finished | None = None) -> Iterator[Any]:
        """The results, in the order of the tasks, whatever order they are done in; each may be dropped once read.

        Raises:
            NeurocompileError: what a task raised, as it raised it.
        """
        ...

    def close(self) -> None:
        """Let go of processes and connections."""
        ...


class Here:
    """This process, one task after another."""

    name = "this process"
    workers = 1

    def run(self, tasks: Sequence[Task], progress: Finished | None = None) -> Iterator[Any]:
        """The results, one by one, as they are asked for."""
        for task in tasks:
            found = task.done()
            if progress:
                progress(1)
            yield found

    def close(self) -> None:
        """Nothing is held."""
