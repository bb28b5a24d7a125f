"""ONNX Runtime in a process of its own, whose memory and time are bounded: a model file may ask for any amount of both.

The parent writes requests to the worker's standard input and reads answers from its standard output: a line of JSON,
then so many bytes of arrays (npy, one after the other). The worker ends when its input does.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.printable import first_line

__all__ = ["MEMORY", "SECONDS", "Refusal", "Worker", "serve", "the_worker"]

MEMORY, SECONDS = "NEUROCOMPILE_HOST_MEMORY", "NEUROCOMPILE_HOST_SECONDS"
"""Environment variables that say how many MiB a host region may take, and how many seconds."""
_MEMORY_MB, _SECONDS = 1024, 600
_PER_BYTE = 64
"""So many bytes more for each that a region is given or that its model has."""


class Refusal(Exception):
    """Why a region could not be run: "model" (it is none), "memory", "time", or "run" (anything else)."""

    def __init__(self, kind: Literal["model", "memory", "time", "run"], text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


def _limit(name: str, usual: int) -> int:
    try:
        return max(1, int(os.environ.get(name, usual)))
    except ValueError:
        return usual


# -- the parent's side -------------------------------------------------------------------------------------------------


class Worker:
    """A process that holds the models that it was given, and runs them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._held: set[str] = set()
        self._lock = threading.Lock()

    def open(self, key: str, model: bytes) -> dict[str, Any]:
        """Give it a model; returns the names and types of what that takes and gives.

        Raises:
            Refusal: if ONNX Runtime does not take it.
        """
        with self._lock:
            self._held.discard(key)
            answer, _ = self._ask({"do": "open", "key": key}, [np.frombuffer(model, np.uint8)])
            self._held.add(key)
            return answer

    def run(self, key: str, model: bytes, given: Sequence[Array]) -> Array:
        """What a model makes of arrays, in the order of its inputs.

        Raises:
            Refusal: if it cannot be run on them, or not within the limits.
        """
        (result,) = self.run_all(key, model, given)
        return result

    def run_all(self, key: str, model: bytes, given: Sequence[Array]) -> list[Array]:
        """The same of a model with any number of outputs, in their order.

        Raises:
            Refusal: if it cannot be run on them, or not within the limits.
        """
        with self._lock:
            if key not in self._held:  # the process was ended since
                self._ask({"do": "open", "key": key}, [np.frombuffer(model, np.uint8)])
                self._held.add(key)
            _, results = self._ask({"do": "run", "key": key}, given)
            return results

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]
        self._process, self._held = None, set()

    def _ask(self, question: dict[str, Any], arrays: Sequence[Array]) -> tuple[dict[str, Any], list[Array]]:
        packed = _packed(arrays)
        memory = _limit(MEMORY, _MEMORY_MB) << 20
        question |= {"bytes": len(packed), "memory": memory + _PER_BYTE * len(packed)}
        seconds = _limit(SECONDS, _SECONDS)
        process = self._started()
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(question).encode() + b"\n" + packed)
            process.stdin.flush()
            answer, content = self._answer(process, time.monotonic() + seconds, question["memory"])
        except (OSError, EOFError, ValueError) as error:
            self.close()
            what = f"its process ended, having taken more than {question['memory'] >> 20:,} MiB, or by a fault"
            raise Refusal("memory", what) from error
        except BaseException:  # an interrupt: what it says later would be taken for an answer to something else
            self.close()
            raise
        if "refused" in answer:
            raise Refusal(answer["refused"], answer["text"])
        return answer, _unpacked(content)

    def _answer(self, process: subprocess.Popen[bytes], until: float, most: int) -> tuple[dict[str, Any], bytes]:
        head = bytearray()
        while not head.endswith(b"\n"):
            head += self._read(process, 1, until)
        answer: dict[str, Any] = json.loads(head)
        if not 0 <= answer["bytes"] <= most:
            raise ValueError("it says more than it can have")
        return answer, self._read(process, answer["bytes"], until)

    def _read(self, process: subprocess.Popen[bytes], size: int, until: float) -> bytes:
        assert process.stdout is not None
        found = bytearray()
        while len(found) < size:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self.close()
                raise Refusal("time", f"it takes more than {_limit(SECONDS, _SECONDS)} s")
            part = os.read(process.stdout.fileno(), min(size - len(found), 1 << 20))
            if not part:
                raise EOFError
            found += part
        return bytes(found)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        script = "from neurocompile.hosted.worker import serve; serve()"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, bufsize=0, start_new_session=True,
        )  # fmt: skip
        return self._process


_WORKERS: list[Worker] = []


def the_worker() -> Worker:
    """The one of this process."""
    if not _WORKERS:
        _WORKERS.append(Worker())
        atexit.register(_WORKERS[0].close)
    return _WORKERS[0]


def _forget() -> None:
    """A forked child has no worker: the parent's answers only the parent."""
    _WORKERS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _packed(arrays: Sequence[Array]) -> bytes:
    buffer = io.BytesIO()
    for array in arrays:
        np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def _unpacked(content: bytes) -> list[Array]:
    buffer, found = io.BytesIO(content), []
    while buffer.tell() < len(content):
        found.append(np.lib.format.read_array(buffer, allow_pickle=False))
    return found


# -- the worker's side -------------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer requests until there are no more."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whatever else prints is no answer
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    own = _address_space()
    models: dict[str, Any] = {}
    for line in source:
        question = json.loads(line)
        arrays = _unpacked(source.read(question["bytes"]))
        with _bounded(own + question["memory"]):
            try:
                answer, results = _done(onnxruntime, models, question, arrays)
                packed = _packed(results)
            except MemoryError:
                answer, packed = {"refused": "memory", "text": "it takes more memory than it may"}, b""
            except Exception as error:
                answer, packed = _refused(error, question), b""
        sink.write(json.dumps({**answer, "bytes": len(packed)}).encode() + b"\n" + packed)
        sink.flush()


def _done(
    runtime: Any, models: dict[str, Any], question: dict[str, Any], arrays: list[Array]
) -> tuple[dict[str, Any], list[Array]]:
    if question["do"] == "open":
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised, too
        session = runtime.InferenceSession(arrays[0].tobytes(), options, providers=["CPUExecutionProvider"])
        models[question["key"]] = session
        sides = {"inputs": session.get_inputs(), "outputs": session.get_outputs()}
        return {side: [[each.name, each.type] for each in values] for side, values in sides.items()}, []
    session = models[question["key"]]
    names = [each.name for each in session.get_inputs()]
    results = session.run(None, dict(zip(names, arrays)))
    return {}, [np.asarray(result) for result in results]


def _refused(error: Exception, question: dict[str, Any]) -> dict[str, str]:
    memory = any(word in str(error) for word in ("bad_alloc", "allocate memory", "Failed to allocate", "BFCArena"))
    kind = "memory" if memory else "model" if question["do"] == "open" else "run"
    return {"refused": kind, "text": first_line(error, 500)}


def _address_space() -> int:
    """Bytes that this process has mapped."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 1 << 33


@contextlib.contextmanager
def _bounded(most: int) -> Iterator[None]:
    """No more memory than this, while the block runs."""
    try:
        import resource
    except ImportError:  # no POSIX: the parent's time limit is all there is
        yield
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
