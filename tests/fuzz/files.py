"""Altered files, by the thousand: python -m tests.fuzz.files --count N --seed S [--json].

Each is read by a command in a fork of this process that tells of everything it opens for writing, removes or starts, of
the time that it took and of the most memory. A command may do what it is for, or refuse: exit codes 0, 3, 4 and 6 (5
for what compares), one JSON object on stdout, no traceback, nothing run, nothing touched.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import random
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.fuzz.bases import Base, bases
from tests.fuzz.mutations import altered

SECONDS, MEMORY_MB = 10.0, 1024
"""Of a processor, and at most; other processes may take the machine's time, so that what hangs is given longer."""
PATIENCE_S = 120.0
_WATCHED = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.truncate",
    "shutil.rmtree",
)
_STARTED = ("os.system", "os.exec", "os.posix_spawn", "socket.connect", "ctypes.dlopen", "pty.spawn")


def main() -> int:
    """Run it; the exit status is 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.files", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help="only these: model, nir, onnx, program, data, recording, target")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder for the files of what was found")
    given = parser.parse_args()
    found = fuzz(given.count, given.seed, given.kind, given.keep)
    print(json.dumps(found, indent=1) if given.json else _told(found))
    return 1 if found["faults"] else 0


def fuzz(count: int, seed: int, kind: str | None = None, keep: Path | None = None) -> dict[str, Any]:
    """Read so many altered files; returns how they ended, and what was wrong with it."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(NEUROCOMPILE_HOST_SECONDS="5", NEUROCOMPILE_HOST_MEMORY="256")
        folder = Path(scratch) / "given"
        folder.mkdir()
        chosen = [base for base in bases(folder) if kind in (None, base.kind)]
        codes: Counter[str] = Counter()
        faults: list[dict[str, Any]] = []
        slowest = largest = 0.0
        started = time.perf_counter()
        gc.freeze()  # forks share what is there
        with Reader() as reader:
            for number in range(seed, seed + count):
                ended = _one(chosen, number, Path(scratch) / "work", keep, reader)
                codes[f"{ended['kind']} {ended['code']}"] += 1
                slowest, largest = max(slowest, ended["seconds"]), max(largest, ended["memory_mb"])
                faults += [ended] if ended["wrong"] else []
                if count >= 10_000 and (number - seed + 1) % 1000 == 0:
                    print(f"{number - seed + 1} of {count}, {len(faults)} faults", file=sys.stderr, flush=True)
        return {
            "count": count, "seed": seed, "exit_codes": dict(sorted(codes.items())), "slowest_s": round(slowest, 2),
            "largest_mb": round(largest), "seconds": round(time.perf_counter() - started, 1), "faults": faults,
        }  # fmt: skip


def _one(chosen: list[Base], number: int, work: Path, keep: Path | None, reader: Reader) -> dict[str, Any]:
    draw = random.Random(number)
    base = draw.choice(chosen)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    target = work / base.path.name
    how = altered(base.path, target, draw)
    command = shlex.split(draw.choice(base.commands).replace("{}", str(target)))
    ended = reader.run(command, work)
    ended |= {"number": number, "kind": base.kind, "base": base.path.name, "how": how, "command": command}
    ended["wrong"] = _wrong(ended, command, work)
    if ended["wrong"] and keep is not None:
        shutil.copytree(work, keep / str(number), dirs_exist_ok=True)
    ended["out"] = ended["out"][-1500:]
    return ended


def _wrong(ended: dict[str, Any], command: list[str], work: Path) -> list[str]:
    compares = command[0] == "validate" or (command[0] == "export" and "--no-validate" not in command)
    allowed = {0, 3, 4, 6} | ({5} if compares else set())
    if ended["kind"] == "target" and "a price list only" in ended["out"]:  # a file without its arithmetic is one
        allowed.add(2)
    if ended["kind"] == "nir" and '"where": "--dt"' in ended["out"]:  # a file that no longer says it: it is asked for
        allowed.add(2)
    wrong = [f"exit code {ended['code']}"] if ended["code"] not in allowed else []
    if "Traceback" in ended["out"] or "internal error" in ended["out"]:
        wrong.append("an internal error")
    if not wrong:
        try:
            json.loads(ended["out"])
        except ValueError:
            wrong.append("stdout is no JSON object")
    if ended["seconds"] > SECONDS:
        wrong.append(f"it took {ended['seconds']:.1f} s")
    if ended["memory_mb"] > MEMORY_MB:
        wrong.append(f"it took {ended['memory_mb']:.0f} MB")
    if (work / "RAN").exists():
        wrong.append("what the file holds was run")
    return wrong + [f"it did {each}" for each in ended["did"]]


class Reader:
    """A fork of this process that runs one command after another, replaced once it hangs, dies or has run many."""

    COMMANDS = 200

    def __enter__(self) -> Reader:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, command: list[str], work: Path) -> dict[str, Any]:
        """How a command ends in a folder: ``code``, ``out``, ``did``, ``seconds``, ``memory_mb``."""
        if self._left == 0:
            self._end()
            self._start()
        self._left -= 1
        started = time.perf_counter()
        self._wire.send((command, str(work)))
        try:
            if self._wire.poll(PATIENCE_S):
                return self._wire.recv()  # type: ignore[no-any-return]
        except EOFError:
            pass
        took = round(time.perf_counter() - started, 2)
        code, memory = self._end()
        self._start()
        return {"code": code, "out": "", "did": [], "seconds": took, "memory_mb": memory}

    def _start(self) -> None:
        self._wire, other = multiprocessing.Pipe()
        self._left = self.COMMANDS
        self._child = os.fork()
        if not self._child:
            self._wire.close()
            _serve(other)
        other.close()

    def _end(self) -> tuple[int, float]:
        os.kill(self._child, signal.SIGKILL)
        self._wire.close()
        _, status, usage = os.wait4(self._child, 0)
        return os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024


def _serve(wire: Connection[Any, Any]) -> None:
    """Never returns."""
    did: list[str] = []
    sys.addaudithook(lambda event, arguments: _watch(did, event, arguments))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        command, work = wire.recv()
        os.chdir(work)
        output = os.memfd_create("output")
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        peak = os.open("/proc/self/clear_refs", os.O_WRONLY)
        os.write(peak, b"5")  # the largest so far is what there is now
        os.close(peak)
        did.clear()
        before = _spent()
        code = _ended(command)
        seconds, told = round(_spent() - before, 2), did[:5]
        sys.stdout.flush()
        sys.stderr.flush()
        size = os.lseek(output, 0, os.SEEK_END)
        said = os.pread(output, size, 0).decode("utf-8", "replace")
        os.close(output)
        wire.send({"code": code, "out": said, "did": told, "seconds": seconds, "memory_mb": _peak()})


def _ended(command: list[str]) -> int:
    from neurocompile.cli import main as run

    try:
        run(command)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    return 1


def _spent() -> float:
    """Seconds of a processor that this process and those that it waited for took."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _peak() -> float:
    """The most memory that this process took since it was last asked to forget, MB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def _watch(did: list[str], event: str, arguments: tuple[Any, ...]) -> None:
    """What no command that only reads has to do."""
    if event == "open" and not isinstance(arguments[0], int) and _writes(arguments[1], arguments[2]):
        if not str(arguments[0]).startswith((os.devnull, "/proc/self/", tempfile.gettempdir() + "/tmp")):
            did.append(f"open {arguments[0]!s} {arguments[1]}")
    elif (
        event in _WATCHED
        and "__pycache__" not in str(arguments[0])
        and not str(arguments[0]).startswith(tempfile.gettempdir() + "/tmp")
    ):
        did.append(f"{event} {arguments[0]!s}")
    elif event in _STARTED or (event == "subprocess.Popen" and "neurocompile.hosted.worker" not in str(arguments[1])):
        did.append(f"{event} {arguments!r}"[:200])


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _told(found: dict[str, Any]) -> str:
    lines = [f"{found['count']} altered files in {found['seconds']} s: {found['exit_codes']}"]
    lines.append(f"slowest {found['slowest_s']} s, largest {found['largest_mb']} MB, {len(found['faults'])} faults")
    for fault in found["faults"][:40]:
        lines.append(
            f"{fault['number']} {fault['base']} ({fault['how']}): {'; '.join(fault['wrong'])}\n"
            f"  {shlex.join(fault['command'])}"
        )
        lines.append("  " + fault["out"].strip()[-600:].replace("\n", "\n  "))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
