"""Writers that are killed, and writers that race: python -m tests.fuzz.writers --kills N --races N --seed S [--json].

Whatever the moment, what lies at the output is what was there before, or all of what one writer wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import neurocompile
from tests.fuzz.bases import bases


def main() -> int:
    """Run it; the exit status is 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.writers", description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--races", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = fuzz(given.kills, given.races, given.seed)
    print(json.dumps(found, indent=1) if given.json else "\n".join(f"{name}: {value}" for name, value in found.items()))
    return 1 if found["faults"] else 0


def fuzz(kills: int, races: int, seed: int) -> dict[str, Any]:
    """So many writers killed, and so many pairs at once; returns what was left, and what was wrong with it."""
    faults: list[str] = []
    left: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "given"
        folder.mkdir()
        bases(folder)
        commands = _commands(folder)
        for number in range(seed, seed + kills):
            draw = random.Random(number)
            verb = draw.choice(sorted(commands))
            work = _fresh(Path(scratch))
            faults += [f"kill {number} {verb}: {each}" for each in _killed(commands[verb], verb, work, draw, left)]
        for number in range(seed, seed + races):
            draw = random.Random(-number - 1)
            faults += [f"race {number}: {each}" for each in _raced(folder, _fresh(Path(scratch)), draw, left)]
    return {"kills": kills, "races": races, "seed": seed, "left": dict(sorted(left.items())), "faults": faults}


def _fresh(scratch: Path) -> Path:
    work = scratch / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    return work


def _commands(given: Path) -> dict[str, list[str]]:
    """A command of each verb that writes; {} is where."""
    program, data = str(given / "generic"), str(given / "x.npz")
    return {
        "export": ["export", str(given / "m.pt"), "-o", "{}/out", "--overwrite", "--no-validate"],
        "export loihi": ["export", str(given / "m.pt"), "-o", "{}/out", "--overwrite", "--target", "loihi"],
        "simulate": ["simulate", program, "--data", data, "--spikes", "{}/out.npz", "--overwrite"],
        "timeline": ["simulate", str(given / "nc1"), "--data", data, "--timeline", "{}/out.json", "--overwrite"],
        "trace": ["simulate", str(given / "nc1"), "--data", data, "--timeline", "{}/out.pftrace", "--overwrite"],
        "demo": ["demo", "--write-data", "{}/out.npz", "--overwrite"],
        "zoo": ["zoo", "sgad-small", "-o", "{}/out.pt", "--samples", "1", "--overwrite"],
    }


def _forked(run: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    signal.alarm(120)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    try:
        run()
        os._exit(0)
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        os._exit(99)


def _killed(command: list[str], verb: str, work: Path, draw: random.Random, left: Counter[str]) -> list[str]:
    from neurocompile.cli import main as run

    command = [word.replace("{}", str(work)) for word in command]
    out = next(Path(word) for word in command if word.startswith(str(work)))
    there = draw.random() < 0.5
    started = time.perf_counter()
    if there:
        os.waitpid(_forked(lambda: run(command)), 0)
    before, took = _digest(out), max(0.05, time.perf_counter() - started) if there else 0.4
    sent = draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM))
    child = _forked(lambda: run(command))
    time.sleep(draw.uniform(0, took))
    os.kill(child, sent)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    found = []
    if code not in (0, 130, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM):
        found.append(f"exit code {code}")
    after = _digest(out)
    left["as before" if after == before else "written"] += 1
    if there and after is None:
        found.append("what was there is gone")
    if after != before and not _whole(out):
        found.append("half of it was left")
    os.waitpid(_forked(lambda: run(command)), 0)
    if not _whole(out):
        found.append("it cannot be written any more")
    if [name for name in os.listdir(work) if name.startswith(".")]:
        found.append(f"left behind: {os.listdir(work)}")
    return found


def _raced(given: Path, work: Path, draw: random.Random, left: Counter[str]) -> list[str]:
    """Two programs into one folder at once: one of them, whole, is there in the end."""
    one, other = neurocompile.load(given / "generic"), neurocompile.load(given / "v1")
    replace, out = draw.random() < 0.5, work / "out"
    if draw.random() < 0.5 and replace:
        neurocompile.load(given / "v3").save(out)
    start = time.time() + 0.03
    children = []
    for program, late in ((one, 0.0), (other, draw.uniform(-0.004, 0.004))):

        def run(program: Any = program, late: float = late) -> None:
            time.sleep(max(0.0, start + late - time.time()))
            try:
                program.save(out, replace)
            except neurocompile.errors.UsageError:
                sys.exit(2)

        children.append(_forked(run))
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    found = [] if codes in ([0, 0], [0, 2]) and (replace or codes == [0, 2]) else [f"exit codes {codes}"]
    wanted = [program.files() for program in (one, other)]
    actual = {str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if f.is_file()} if out.exists() else {}
    if actual not in wanted:
        found.append(f"a mixture: {sorted(actual)}")
    else:
        left["the first" if actual == wanted[0] else "the second"] += 1
    if os.listdir(work) != ["out"]:
        found.append(f"left behind: {os.listdir(work)}")
    return found


def _digest(path: Path) -> Any:
    if path.is_dir():
        return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}
    return path.read_bytes() if path.exists() else None


def _whole(path: Path) -> bool:
    """Whether what lies there can be read."""
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return all(len(arrays[name]) for name in arrays.files)
        if path.suffix == ".json":
            return bool(json.loads(path.read_text()))
        if path.suffix == ".pftrace":
            from tests.simulator.perfetto_reader import read

            return bool(read(path.read_bytes()))
        if path.suffix == ".pt":
            from neurocompile.frontends import load_model

            return bool(load_model(path).graph)
        return bool(neurocompile.load(path).integer)
    except Exception:
        return False


if __name__ == "__main__":
    sys.exit(main())
