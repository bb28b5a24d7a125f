"""Altered files, by the thousand: python -m tests.fuzz.files --count N --seed S [--json].

Each is read by a command in a child of this process, with limits of time and memory, that tells of everything it
opens for writing, removes or starts. A command may do what it is for, or refuse: exit codes 0, 3, 4 and 6 (5 for what
compares), one JSON object on stdout, no traceback, nothing run, nothing touched.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fuzz.bases import Base, bases
from tests.fuzz.mutations import altered

SECONDS, MEMORY_MB = 10.0, 1024
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
    parser.add_argument("--kind", help="only these: model, program, data, recording, target")
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
        for number in range(seed, seed + count):
            ended = _one(chosen, number, Path(scratch) / "work", keep)
            codes[f"{ended['kind']} {ended['code']}"] += 1
            slowest, largest = max(slowest, ended["seconds"]), max(largest, ended["memory_mb"])
            faults += [ended] if ended["wrong"] else []
        return {
            "count": count, "seed": seed, "exit_codes": dict(sorted(codes.items())), "slowest_s": round(slowest, 2),
            "largest_mb": round(largest), "seconds": round(time.perf_counter() - started, 1), "faults": faults,
        }  # fmt: skip


def _one(chosen: list[Base], number: int, work: Path, keep: Path | None) -> dict[str, Any]:
    draw = random.Random(number)
    base = draw.choice(chosen)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    target = work / base.path.name
    how = altered(base.path, target, draw)
    command = shlex.split(draw.choice(base.commands).replace("{}", str(target)))
    ended = _run(command, work)
    ended |= {"number": number, "kind": base.kind, "base": base.path.name, "how": how, "command": command}
    ended["wrong"] = _wrong(ended, command, work)
    if ended["wrong"] and keep is not None:
        shutil.copytree(work, keep / str(number), dirs_exist_ok=True)
    ended["out"] = ended["out"][-1500:]
    return ended


def _wrong(ended: dict[str, Any], command: list[str], work: Path) -> list[str]:
    allowed = {0, 3, 4, 6} | ({5} if command[0] == "validate" else set())
    if ended["kind"] == "target" and "a price list only" in ended["out"]:  # a file without its arithmetic is one
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


def _run(command: list[str], work: Path) -> dict[str, Any]:
    """One command in a fork of this process."""
    reading, writing = os.pipe()
    started = time.perf_counter()
    child = os.fork()
    if not child:
        os.close(reading)
        _child(command, work, writing)
    os.close(writing)
    output, ended = bytearray(), False
    while not ended:
        left = SECONDS * 2 - (time.perf_counter() - started)
        ready, _, _ = select.select([reading], [], [], max(0.0, left))
        part = os.read(reading, 1 << 16) if ready else b""
        ended = not part
        output += part
    os.close(reading)
    if time.perf_counter() - started > SECONDS * 2:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    text = output.decode("utf-8", "replace")
    said, _, did = text.partition("\0did\0")
    return {
        "code": os.waitstatus_to_exitcode(status), "out": said, "did": [each for each in did.split("\0") if each],
        "seconds": round(time.perf_counter() - started, 2), "memory_mb": usage.ru_maxrss / 1024,
    }  # fmt: skip


def _child(command: list[str], work: Path, writing: int) -> None:
    """Never returns."""
    os.chdir(work)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    did: list[str] = []
    sys.addaudithook(lambda event, arguments: _watch(did, event, arguments))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from neurocompile.cli import main as run

    code: Any = 1
    try:
        run(command)
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    if did:
        os.write(1, ("\0did\0" + "\0".join(did[:5])).encode("utf-8", "replace"))
    os._exit(code if isinstance(code, int) else 1)


def _watch(did: list[str], event: str, arguments: tuple[Any, ...]) -> None:
    """What no command that only reads has to do."""
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        if str(arguments[0]) != os.devnull and not isinstance(arguments[0], int):
            did.append(f"open {arguments[0]!s} {arguments[1]}")
    elif (
        event in _WATCHED
        and "__pycache__" not in str(arguments[0])
        and not str(arguments[0]).startswith(tempfile.gettempdir() + "/tmp")
    ):
        did.append(f"{event} {arguments[0]!s}")
    elif event in _STARTED or (event == "subprocess.Popen" and "neurocompile.hosted.worker" not in str(arguments[1])):
        did.append(f"{event} {arguments!r}"[:200])


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
