"""A Dask cluster that exists: its scheduler hands tasks to workers, and to others where a worker dies.

The scheduler may end and come back: what was not finished is submitted anew. Few tasks are with it at a time, so that
neither it nor a worker holds more for a longer sweep.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from neurocompile.errors import Problem, ToolFailed
from neurocompile.extras import needing
from neurocompile.work.base import Finished, Shared, Task, in_order
from neurocompile.work.remote import another_version, call_of, result_of
from neurocompile.work.version import differences

__all__ = ["Cluster"]

_PATIENCE_S = 10.0
"""So long a scheduler, and a first worker, are waited for when a sweep begins."""
_AGAIN_S = 120.0
"""So long they are waited for when they were there before."""
_AHEAD = 4
"""So many tasks a worker are with the scheduler."""
_TRIES = 3
_VERSIONS = "__import__('neurocompile.work.version', fromlist=['versions']).versions()"
_FIX = "start one: python -m neurocompile.work scheduler (docs/cluster.md)"


class _Lost(Exception):
    """The scheduler does not know any more what it was to do."""


class Cluster:
    """Workers of a Dask scheduler.

    Args:
        address: as ``tcp://host:8786``.

    Raises:
        ToolFailed: if there is no scheduler, no worker, or a worker with other versions; without Dask.
    """

    def __init__(self, address: str) -> None:
        with needing("--scheduler", "cluster"):
            import distributed
        for name in ("distributed", *(n for n in logging.root.manager.loggerDict if n.startswith("distributed."))):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is told here
        self._dask: Any = distributed
        self.address = address
        self._client: Any = None
        self._sent: dict[str, Any] = {}
        self._connect(_PATIENCE_S)

    @property
    def name(self) -> str:
        """Where it is."""
        return f"a Dask cluster at {self.address}"

    @property
    def workers(self) -> int:
        """How many tasks its workers do at once, as many as there are now."""
        threads: dict[str, int] = self._client.nthreads() if self._client is not None else {}
        return max(1, sum(threads.values()))

    def arriving(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        """Results as they come.

        Raises:
            NeurocompileError: what a task raised.
            ToolFailed: for a task that workers die of; if the scheduler goes away and does not come back.
        """
        left, lost = list(range(len(tasks)))[::-1], Counter[int]()
        while left:
            running: dict[str, tuple[int, Any]] = {}
            try:
                for number, result in self._session(tasks, left, running):
                    lost.clear()
                    yield number, result
            except _Lost as error:
                numbers = sorted((number for number, _ in running.values()), reverse=True)
                left += numbers
                lost.update(numbers[-1:])
                if max(lost.values(), default=0) >= _TRIES:
                    what = f"the cluster lost this {_TRIES} times: {error}"
                    raise ToolFailed(Problem(what, tasks[numbers[-1]].what, self.address)) from None
                self._connect(_AGAIN_S)
            finally:
                for _, future in running.values():
                    with contextlib.suppress(Exception):
                        future.cancel()

    def run(self, tasks: Sequence[Task], progress: Finished | None = None) -> Iterator[Any]:
        """Results in the order of the tasks.

        Raises:
            NeurocompileError: as :meth:`arriving` does.
        """
        return in_order(self.arriving(tasks), progress)

    def close(self) -> None:
        """Leave the cluster as it was."""
        if self._client is not None:
            self._sent.clear()
            with contextlib.suppress(Exception):
                self._client.close(timeout=2)
            self._client = None

    # -- the connection ------------------------------------------------------------------------------------------------

    def _connect(self, patience_s: float) -> None:
        """A new connection, and workers that are as this process is."""
        self.close()
        until = time.monotonic() + patience_s
        while self._client is None:
            try:
                self._client = self._dask.Client(
                    self.address, timeout=max(1.0, min(_PATIENCE_S, until - time.monotonic())), set_as_default=False
                )
            except Exception as error:  # of connections, addresses, and what else listens there
                said = (str(error).splitlines() or [type(error).__name__])[0]
                if time.monotonic() >= until or isinstance(error, ValueError):
                    said = f"nothing answers, {patience_s:g} s long" if isinstance(error, OSError) else said
                    what = f"there is no Dask scheduler: {said}"
                    raise ToolFailed(Problem(what, f"--scheduler {self.address}", fix=_FIX)) from error
                time.sleep(0.5)
        try:
            self._client.wait_for_workers(1, timeout=max(1.0, until - time.monotonic()))
        except Exception as error:
            self.close()
            fix = f"start some: python -m neurocompile.work worker {self.address} (docs/cluster.md)"
            what = f"the scheduler has no worker, {patience_s:g} s long"
            raise ToolFailed(Problem(what, f"--scheduler {self.address}", fix=fix)) from error
        self._check_versions()

    def _check_versions(self) -> None:
        """That each worker has this version of everything that results depend on.

        Raises:
            ToolFailed: with all that have not.
        """
        problems: list[Problem] = []
        for worker, said in sorted(self._client.run(eval, _VERSIONS, on_error="return").items()):
            if isinstance(said, dict):
                wrong = differences(said)
            else:  # no such package, or one that cannot say more
                [older] = self._client.run(
                    eval, "__import__('neurocompile').__version__", workers=[worker], on_error="return"
                ).values()
                wrong = differences({"neurocompile": older if isinstance(older, str) else "none"})[:1]
                wrong = wrong or [("neurocompile", f"{older}, older", "this one")]
            if wrong:
                problems += another_version(worker, wrong).problems
        if problems:
            self.close()
            raise ToolFailed(problems)

    # -- tasks ---------------------------------------------------------------------------------------------------------

    def _session(
        self, tasks: Sequence[Task], left: list[int], running: dict[str, tuple[int, Any]]
    ) -> Iterator[tuple[int, Any]]:
        """Results as long as the connection holds; what is not finished then is in ``left`` and ``running``."""
        ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        most = _AHEAD * self.workers
        alone_since: float | None = None
        while left or running:
            while left and len(running) < most:
                number = left.pop()
                running[f"lost-{number}"] = (number, None)  # until it is submitted
                future = self._submit(tasks[number])
                del running[f"lost-{number}"]
                running[future.key] = (number, future)
                future.add_done_callback(lambda future: ended.put(future.key))
            try:
                key = ended.get(timeout=1.0)
            except queue.Empty:
                alone_since = self._watched(alone_since)
                most = max(most, _AHEAD * self.workers)
                continue
            number, future = running[key]
            result = self._result(future, tasks[number])
            del running[key]
            yield number, result

    def _submit(self, task: Task) -> Any:
        from neurocompile.work.dasked import do_there

        call, shared = call_of(task)
        try:
            values = {digest: self._scattered(digest, each) for digest, each in shared.items()}
            key = f"neurocompile-{uuid.uuid4().hex}"
            return self._client.submit(do_there, call, list(values), list(values.values()), key=key, pure=False)
        except Exception as error:
            raise _Lost(str(error)) from error

    def _scattered(self, digest: str, shared: Shared) -> Any:
        """A value that is with the cluster: with one worker, and from there with each that needs it."""
        if digest not in self._sent:
            self._sent[digest] = self._client.scatter(shared.packed, hash=False)
        return self._sent[digest]

    def _result(self, future: Any, task: Task) -> Any:
        if future.status in ("cancelled", "lost"):
            raise _Lost("it forgot it")
        try:
            answer, worker = future.result(timeout=60)
        except self._dask.KilledWorker as error:
            fix = "see whether it takes more memory than workers have (docs/cluster.md)"
            raise ToolFailed(Problem(f"workers died of this: {error}", task.what, self.address, fix=fix)) from error
        except Exception as error:  # a connection, or what went with it
            raise _Lost(f"{type(error).__name__}: {error}") from error
        return result_of(answer, task.what, worker)

    def _watched(self, alone_since: float | None) -> float | None:
        """Since when there has been nobody to work.

        Raises:
            _Lost: without a scheduler.
            ToolFailed: if that is too long.
        """
        if self._client.status != "running":
            raise _Lost("the scheduler went away")
        try:
            if self._client.nthreads():
                return None
        except Exception as error:
            raise _Lost("the scheduler went away") from error
        now = time.monotonic()
        if alone_since is not None and now - alone_since > _AGAIN_S:
            what = f"all workers are gone, {_AGAIN_S:g} s long"
            raise ToolFailed(Problem(what, self.address, fix="start some, and give the same command again"))
        return alone_since or now
