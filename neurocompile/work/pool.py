"""Processes on this machine, each with one task at a time. A process that ends is replaced, and its task done again."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from neurocompile.errors import Problem, ToolFailed
from neurocompile.work.base import Finished, Task, in_order
from neurocompile.work.process import read_frame, write_frame
from neurocompile.work.remote import call_of, result_of

__all__ = ["Pool", "processors"]

_SERVE = "import sys; from neurocompile.work.process import serve; serve(sys.argv[1])"
_TRIES = 3
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def processors() -> int:
    """How many of them this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Processes of this machine, which start when there is something to do.

    They are interpreters of their own, not copies of this one: nothing of its threads is in them, and a script that
    uses them needs no guard. Libraries compute with one thread in each.

    Args:
        workers: how many; None: one for each processor.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or processors()
        self._folder: Path | None = None
        self._idle: list[_Process] = []

    @property
    def name(self) -> str:
        """How many processes they are."""
        return "1 process" if self.workers == 1 else f"{self.workers} processes"

    def arriving(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        """Results as they come.

        Raises:
            NeurocompileError: what a task raised.
            ToolFailed: for a task whose process ended, again and again.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="neurocompile-"))
        work = _Work(tasks, self._folder)
        crew = [
            threading.Thread(target=self._serve, args=(work,), daemon=True)
            for _ in range(min(self.workers, len(tasks)))
        ]
        for thread in crew:
            thread.start()
        try:
            for _ in tasks:
                number, answer, worker = work.answers.get()
                yield number, result_of(answer, tasks[number].what, worker)
        except BaseException:  # an error, an interrupt, or nobody wants the rest
            work.stop()
            raise
        finally:
            for thread in crew:
                thread.join()

    def run(self, tasks: Sequence[Task], progress: Finished | None = None) -> Iterator[Any]:
        """Results in the order of the tasks.

        Raises:
            NeurocompileError: as :meth:`arriving` does.
        """
        return in_order(self.arriving(tasks), progress)

    def close(self) -> None:
        """End the processes, and remove what they shared."""
        while self._idle:
            self._idle.pop().end()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _serve(self, work: _Work) -> None:
        """Hand tasks to a process, until none is left; to another, where it ends."""
        process: _Process | None = None
        while (number := work.following()) is not None:
            try:
                process = process or self._process(work.folder)
                answer = work.answer(process, number)
            except (OSError, EOFError):
                if process is not None:
                    process.end()
                process = None
                work.again(number)
            except Exception as error:  # what does not pickle, say
                work.answers.put((number, ("failed", (f"{type(error).__name__}: {error}", "")), self.name))
            else:
                work.answers.put((number, answer, process.name))
        if process is not None:
            self._idle.append(process)

    def _process(self, folder: Path) -> _Process:
        """One that has nothing to do."""
        while True:
            try:
                process = self._idle.pop()
            except IndexError:
                return _Process(folder)
            if process.lives:
                return process
            process.end()


class _Work:
    """What is left of some tasks, for the threads that hand them out."""

    def __init__(self, tasks: Sequence[Task], folder: Path) -> None:
        self.folder = folder
        self.answers: queue.SimpleQueue[tuple[int, Any, str]] = queue.SimpleQueue()
        self._tasks = tasks
        self._lock = threading.Lock()
        self._stopped = False
        self._left = deque(range(len(tasks)))
        self._tries: Counter[int] = Counter()
        self._asked: set[_Process] = set()

    def following(self) -> int | None:
        """The number of the next task; None: there is nothing more to do."""
        with self._lock:
            return self._left.popleft() if self._left and not self._stopped else None

    def answer(self, process: _Process, number: int) -> Any:
        """What a process says of a task; what that shares with others lies in the folder before it is asked.

        Raises:
            EOFError, OSError: if the process ends, or is to end.
        """
        call, shared = call_of(self._tasks[number])
        with self._lock:
            if self._stopped:
                raise EOFError
            for digest, each in shared.items():
                if not (self.folder / digest).exists():
                    (self.folder / digest).write_bytes(each.packed)
            self._asked.add(process)
        try:
            return process.ask(call)
        finally:
            with self._lock:
                self._asked.discard(process)

    def again(self, number: int) -> None:
        """A process ended with this task."""
        self._tries[number] += 1
        if self._tries[number] < _TRIES:
            with self._lock:
                self._left.appendleft(number)
            return
        what = f"the process that did this ended, {_TRIES} times"
        fix = "see whether it takes more memory than there is; with --workers 1 it is done in this process"
        error = ToolFailed(Problem(what, self._tasks[number].what, fix=fix))
        self.answers.put((number, ("refused", error), ""))

    def stop(self) -> None:
        """Nobody reads answers any more: whoever works on one is killed."""
        with self._lock:
            self._stopped = True
            for process in self._asked:
                process.kill()


class _Process:
    """One of them."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1")}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True,
        )  # fmt: skip
        self.name = f"process {self._process.pid}"
        assert self._process.stdout is not None
        read_frame(self._process.stdout)  # type: ignore[arg-type]

    def ask(self, call: Any) -> Any:
        """An answer.

        Raises:
            EOFError, OSError: if the process ends.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        write_frame(self._process.stdin, call)  # type: ignore[arg-type]
        return read_frame(self._process.stdout)  # type: ignore[arg-type]

    @property
    def lives(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Whatever it does."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def end(self) -> None:
        """Kill it, and let go of what is left of it."""
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
