"""Programs held against Lava, integer for integer: one Lava process for many of them, with a time limit for each."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurocompile.backends.lava import bundle_files
from neurocompile.backends.lava.runner import LavaMissing, find_lava_python, kill_group
from neurocompile.program import Program
from neurocompile.simulator import simulate_integers

__all__ = ["Compared", "Worker", "compare", "count", "need_lava", "write_bundle"]

WORKER = Path(__file__).with_name("worker.py")


def need_lava() -> Path:
    """The interpreter with Lava; without one a test is skipped, but for CI, where it fails."""
    try:
        return find_lava_python()
    except LavaMissing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


def write_bundle(program: Program, folder: Path) -> Path:
    """The bundle's files."""
    for name, content in bundle_files(program).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


class Worker:
    """A Lava process that is started when it is needed, and killed (with its children) when it hangs."""

    def __init__(self, limit_s: float = 3600.0) -> None:
        self.python, self.limit_s = need_lava(), limit_s
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.process is not None:
            kill_group(self.process)
            self.process = None

    def run(self, program: Program, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What Lava did with integer inputs ``[N, T, *shape]``."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = write_bundle(program, Path(scratch) / "lava")
            given, made = Path(scratch) / "in.npz", Path(scratch) / "out.npz"
            np.savez(given, **{name: x.astype(np.int32) for name, x in inputs.items()})
            answer = self._ask({"folder": str(folder), "data": str(given), "out": str(made)})
            if not answer["ok"]:
                raise RuntimeError(answer["error"] + "\n" + answer["trace"])
            with np.load(made) as archive:
                return {name: archive[name] for name in archive.files}

    def _ask(self, job: dict[str, str]) -> dict[str, Any]:
        if self.process is None:
            self.process = subprocess.Popen(
                [str(self.python), str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                bufsize=1,
                start_new_session=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        ends = time.monotonic() + self.limit_s
        while time.monotonic() < ends:
            if not select.select([self.process.stdout], [], [], 1.0)[0]:
                continue
            line = self.process.stdout.readline()
            if not line:
                break
            if line.startswith("@@"):
                found: dict[str, Any] = json.loads(line[2:])
                return found
        self.stop()
        raise TimeoutError(f"Lava did not finish within {self.limit_s} s")


@dataclass
class Compared:
    """Sums over programs."""

    programs: int = 0
    spikes: int = 0
    spikes_differing: int = 0
    membranes: int = 0
    membranes_differing: int = 0
    outputs_differing: int = 0
    fired: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def compare(worker: Worker, program: Program, inputs: Mapping[str, np.ndarray], into: Compared) -> None:
    """Run a program on real inputs ``[N, T, ...]`` in the simulator and in Lava."""
    whole, _ = program.integers(inputs)
    known = simulate_integers(program.integer, program.arithmetic, whole, membranes=True)
    found = worker.run(program, whole)
    into.programs += 1
    for name, spikes in known.spikes.items():
        count(into, "spikes", name, spikes, found[f"spikes/{name}"])
        into.fired.append(float((spikes != 0).mean()))
    for name, membranes in known.potentials.items():
        count(into, "membranes", name, membranes, found[f"membranes/{name}"])
    for name, values in known.outputs.items():
        into.outputs_differing += int((values != found[f"outputs/{name}"]).sum())


def count(into: Compared, kind: str, name: str, known: np.ndarray, found: np.ndarray) -> None:
    """Add a comparison of spikes or membranes."""
    differs = known != found
    setattr(into, kind, getattr(into, kind) + differs.size)
    setattr(into, f"{kind}_differing", getattr(into, f"{kind}_differing") + int(differs.sum()))
    if differs.any():
        place = [int(i) for i in np.argwhere(differs)[0]]
        into.wrong.append(f"{kind} of {name} at {place}: {known[tuple(place)]} here, {found[tuple(place)]} in Lava")
