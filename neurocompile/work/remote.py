"""The worker's side of any engine: a task as it is sent, and what is done with it there."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from neurocompile.errors import BadInput, NeurocompileError, Problem, ToolFailed
from neurocompile.work.base import Shared, Task
from neurocompile.work.version import differences, versions

__all__ = ["Answer", "Call", "another_version", "call_of", "do", "result_of"]

_HELD = 8
"""So many values that tasks share stay in a worker at a time."""

Answer = tuple[Literal["done", "refused", "failed"], Any]
"""A result; an error of ours; or what else went wrong, in words."""


@dataclass(frozen=True)
class _Sent:
    """Where a shared value stood among the arguments."""

    digest: str


@dataclass(frozen=True)
class Call:
    """A task on its way: for an engine, and for whoever does it."""

    task: Task
    versions: dict[str, str]
    where: str = ""


def call_of(task: Task, where: str = "") -> tuple[Call, dict[str, Shared]]:
    """A task with names for the values that it shares with others, and these.

    Args:
        task: to be done elsewhere.
        where: the engine, for messages.
    """
    shared = {each.digest: each for each in task.arguments.values() if isinstance(each, Shared)}
    sent = {n: _Sent(each.digest) if isinstance(each, Shared) else each for n, each in task.arguments.items()}
    return Call(Task(task.function, sent, task.key, task.what), versions(), where), shared


def do(call: Call, fetch: Callable[[str], bytes], worker: str) -> Answer:
    """Do a task in this process.

    Args:
        call: the task.
        fetch: gives a shared value as it was packed, by its digest.
        worker: what this process is called.
    """
    try:
        if wrong := differences(call.versions):
            # What is here is another version to whoever sent this.
            raise another_version(worker, [(name, mine, sent) for name, sent, mine in wrong])
        _check_files(call.task, worker)
        given = {
            n: _value(each.digest, fetch) if isinstance(each, _Sent) else each
            for n, each in call.task.arguments.items()
        }
        return "done", Task(call.task.function, given).done()
    except NeurocompileError as error:
        return "refused", error
    except Exception as error:
        import traceback

        return "failed", (f"{type(error).__name__}: {error}", traceback.format_exc())


def result_of(answer: Answer, what: str, worker: str) -> Any:
    """The result of an answer.

    Raises:
        NeurocompileError: what the task raised, or that it failed.
    """
    kind, result = answer
    if kind == "done":
        return result
    if kind == "refused":
        raise result
    said, trace = result
    fix = "please report it, with the output of --workers 1 --debug"
    raise ToolFailed(Problem(f"internal error: {said}", what, worker, fix=fix)) from RuntimeError(trace)


def another_version(worker: str, wrong: list[tuple[str, str, str]]) -> ToolFailed:
    """What is said of a worker whose results might be others: by name, its version and ours."""
    fix = "install the same there as here, and start it again"
    return ToolFailed(
        [Problem(f"a worker has another version of {name}", worker, its, ours, fix) for name, its, ours in wrong]
    )


_here = threading.local()


def _value(digest: str, fetch: Callable[[str], bytes]) -> Any:
    """A shared value, unpacked once in each thread: what is made of it need not stand being used by several."""
    held: dict[str, Any] = _here.__dict__.setdefault("held", {})
    if digest not in held:
        while len(held) >= _HELD:
            del held[next(iter(held))]
        held[digest] = pickle.loads(fetch(digest))
    held[digest] = value = held.pop(digest)
    return value


def _check_files(task: Task, worker: str) -> None:
    """That this process sees the files of a task.

    Raises:
        BadInput: with all that it does not.
    """
    fix = "put it where every worker sees it under the same path, or give arrays, which are sent"
    problems = [
        Problem("a worker cannot see this file", str(each), worker, fix=fix)
        for each in task.arguments.values()
        if isinstance(each, Path) and not each.exists()
    ]
    if problems:
        raise BadInput(problems)
