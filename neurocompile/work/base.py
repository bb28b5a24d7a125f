"""The joint of everything that is done in pieces: a task, and the engines that do tasks.

A task names a function by module and name, so that any process with this package installed can do it. Its result
depends on nothing but its arguments, and its key stands for them: what was done once is never done again where results
are kept. Tasks take at least a tenth of a second (a design point, a shard of samples), or an engine's own cost shows.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any, Protocol

__all__ = ["Engine", "Finished", "Here", "Shared", "Task", "in_order"]

Finished = Callable[[int], None]
"""Called with how many tasks were finished since the last call."""


class Shared:
    """An argument that many tasks have in common: it is sent to a worker once, and read there once.

    Args:
        value: it pickles.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    @cached_property
    def packed(self) -> bytes:
        """As it is sent."""
        return pickle.dumps(self.value, protocol=5)

    @cached_property
    def digest(self) -> str:
        """What it is called on its way."""
        return hashlib.sha256(self.packed).hexdigest()


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        function: ``module:name``; it takes the arguments by keyword, and its result pickles. Where it is kept, it is
            made of None, bool, int, float, str, lists, dicts by str and arrays (:mod:`neurocompile.work.plain`).
        arguments: they pickle; a file is a Path that the worker can read; what many tasks have in common is a Shared,
            and the function is given its value.
        key: the checksum of all that the result depends on (:func:`neurocompile.work.key_of`); "": it is not kept.
        what: it is, in the user's words: "loihi at 4 bits, samples 0 to 127".
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    what: str = ""

    def done(self) -> Any:
        """The result, computed here."""
        given = {n: each.value if isinstance(each, Shared) else each for n, each in self.arguments.items()}
        module, _, name = self.function.partition(":")
        return getattr(import_module(module), name)(**given)


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

    def arriving(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        """The number of each task and its result, in whatever order they are done.

        Raises:
            NeurocompileError: what a task raised, as it raised it.
        """
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


def in_order(arriving: Iterable[tuple[int, Any]], progress: Finished | None = None) -> Iterator[Any]:
    """Results by the number of their task, each as soon as all before it are there."""
    waiting: dict[int, Any] = {}
    following = 0
    for number, result in arriving:
        waiting[number] = result
        if progress:
            progress(1)
        while following in waiting:
            yield waiting.pop(following)
            following += 1


class Here:
    """This process, one task after another."""

    name = "this process"
    workers = 1

    def arriving(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        """The results, one by one, as they are asked for."""
        for number, task in enumerate(tasks):
            yield number, task.done()

    def run(self, tasks: Sequence[Task], progress: Finished | None = None) -> Iterator[Any]:
        """The results, one by one, as they are asked for."""
        return in_order(self.arriving(tasks), progress)

    def close(self) -> None:
        """Nothing is held."""
