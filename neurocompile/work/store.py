"""Finished results in a folder, each in a file that is called as its key: complete or not there, checked when read.

Several may use one folder at once: a file appears under its name only when it is complete, and equal keys mean equal
results. A damaged file is as good as none. What is in it cannot run anything (:mod:`neurocompile.work.plain`).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from neurocompile.errors import BadInput, NeurocompileError, Problem, UsageError
from neurocompile.files import content_of, write_file
from neurocompile.work.base import Engine, Finished, Task, in_order
from neurocompile.work.keys import key_of
from neurocompile.work.plain import packed, unpacked
from neurocompile.work.version import versions

__all__ = ["CACHE", "Kept", "Store", "usual_folder"]

CACHE = "NEUROCOMPILE_CACHE"
"""The environment variable that names the folder."""

_MAGIC = b"neurocompile result 1\n"
_log = logging.getLogger("neurocompile")


def usual_folder() -> Path:
    """Where results are kept if nobody says: ``$NEUROCOMPILE_CACHE``, or below the user's folder of caches."""
    if named := os.environ.get(CACHE):
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(caches) if os.path.isabs(caches) else Path.home() / ".cache") / "neurocompile"


class Store:
    """Results by key.

    A disk that takes nothing more ends no sweep: it goes on without keeping, and says so once.

    Args:
        folder: made when the first result is kept.

    Raises:
        UsageError: if there is something else in its place.
    """

    def __init__(self, folder: Path) -> None:
        if os.path.lexists(folder) and not folder.is_dir():
            raise UsageError(Problem("this is no folder", f"--cache {folder}", fix="name a folder, which may be new"))
        self.folder = folder
        self.refused: Problem | None = None

    def get(self, key: str) -> tuple[bool, Any]:
        """Whether there is a result, and which."""
        path = self._path(key)
        try:
            content = content_of(path)
        except BadInput:
            return False, None
        head, body = content[:_HEAD], content[_HEAD:]
        if head != _head(key, body):
            _log.warning("%s is damaged: it is done anew", path)
            return False, None
        try:
            return True, unpacked(body)
        except ValueError:
            _log.warning("%s cannot be read: it is done anew", path)
            return False, None

    def put(self, key: str, result: Any) -> Any:
        """Keep a result; returns it as it will be read.

        Raises:
            TypeError: for what is not plain.
        """
        body = packed(result)
        if self.refused is None:
            path = self._path(key)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, _head(key, body) + body)
            except NeurocompileError as error:
                self._refuse(error.problems[0])
            except OSError as error:
                self._refuse(Problem(f"cannot write there: {error.strerror or error}", str(self.folder)))
        return unpacked(body)

    def _refuse(self, problem: Problem) -> None:
        self.refused = problem
        _log.warning("results are not kept any more: %s", problem)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key


def _head(key: str, body: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(key.encode() + body).hexdigest().encode() + b"\n"


def _name(task: Task) -> str:
    """What a task's result is kept under: other versions may come to another one."""
    return key_of(task.key, task.function, versions())


_HEAD = len(_head("", b""))


class Kept:
    """An engine that looks before it does anything, and keeps what it did as soon as that is done.

    Args:
        engine: does what is not there.
        store: has what was done.

    Attributes:
        found: how many results were there.
        done: how many tasks were done.
    """

    def __init__(self, engine: Engine, store: Store) -> None:
        self.engine, self.store = engine, store
        self.found = self.done = 0

    @property
    def name(self) -> str:
        """The engine's."""
        return self.engine.name

    @property
    def workers(self) -> int:
        """The engine's."""
        return self.engine.workers

    def arriving(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        """What is there first, then what has to be done.

        Raises:
            NeurocompileError: what a task raised.
        """
        left = []
        for number, task in enumerate(tasks):
            there, result = self.store.get(_name(task)) if task.key else (False, None)
            if there:
                self.found += 1
                yield number, result
            else:
                left.append(number)
        for place, result in self.engine.arriving([tasks[number] for number in left]) if left else ():
            task = tasks[left[place]]
            self.done += 1
            yield left[place], self.store.put(_name(task), result) if task.key else result

    def run(self, tasks: Sequence[Task], progress: Finished | None = None) -> Iterator[Any]:
        """Results in the order of the tasks.

        Raises:
            NeurocompileError: what a task raised.
        """
        return in_order(self.arriving(tasks), progress)

    def close(self) -> None:
        """Let go of what the engine holds."""
        self.engine.close()
