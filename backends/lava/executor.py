"""Lava as an executor of programs for Loihi."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from neurocompile.backends.lava.bundle import bundle_files
from neurocompile.backends.lava.runner import LavaMissing, find_lava_python, run_bundle
from neurocompile.errors import BadInput, Problem
from neurocompile.hosted import Hosted, Stage
from neurocompile.ir.ops import Array
from neurocompile.ir.trace import Trace
from neurocompile.program import Program
from neurocompile.simulator.base import Runner, RunnerSettings
from neurocompile.targets import target_of

__all__ = ["LAVA", "LavaExecutor"]


@dataclass
class LavaExecutor:
    """Runs a Program's bundle: the one in its folder, or else one made for it.

    A bundle is code. What is in the folder runs only if it is what this package writes, or if it is trusted.
    """

    program: Program
    python: Path
    settings: RunnerSettings = RunnerSettings()
    _made: dict[int, tempfile.TemporaryDirectory[str]] = field(default_factory=dict, init=False, repr=False)

    @property
    def name(self) -> str:
        """What it is."""
        return "Lava, on Loihi" if self.settings.hardware else "Lava, fixed-point simulation"

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Run samples ``inputs[name][N, T, *shape]``, in real units: outputs, spikes, membranes after the reset.

        What a host computes of the network it computes here, and Lava each turn of the chip, as a bundle of its own.
        """
        clipped: dict[str, int] = {}
        if not self.program.integer.hosts:
            trace = self._turn(0, self.program, inputs, clipped)
        else:

            def on_chip(stage: Stage, given: Mapping[str, Array]) -> Trace:
                assert stage.graph is not None
                return self._turn(stage.number, replace(self.program, integer=stage.graph, example={}), given, clipped)

            trace = Hosted(self.program.integer, self.program.timesteps).run(inputs, on_chip)
        trace.clipped = sum(clipped.values())
        return trace

    def _turn(self, number: int, part: Program, inputs: Mapping[str, Array], clipped: dict[str, int]) -> Trace:
        """A program without a host; ``clipped`` is told how many values of each input lay outside its range."""
        whole = {}
        for name, x in inputs.items():
            if name in self.program.inputs:
                whole[name], clipped[name] = self.program.integers_of(name, x)
            else:  # what an earlier turn fired
                whole[name] = x.astype(np.int64)
        hardware, limit = self.settings.hardware, self.settings.time_limit_s
        found = run_bundle(self._bundle(number, part), whole, self.python, hardware=hardware, time_limit_s=limit)
        kinds: dict[str, dict[str, Array]] = {kind: {} for kind in ("outputs", "spikes", "membranes")}
        for key, values in found.items():
            kind, _, name = key.partition("/")
            if kind in kinds:
                kinds[kind][name] = values
        outputs, spikes, left = kinds.values()
        return Trace(outputs=outputs, spikes=spikes, potentials=left)

    def _bundle(self, number: int, part: Program) -> Path:
        folder = None if self.settings.folder is None else self.settings.folder / "lava"
        given = folder if folder is not None and (folder / "run.py").exists() else None
        if self.settings.trust and given:
            return given
        if number not in self._made:
            files = bundle_files(part)
            if given:
                files = _with_data_of(given, files)
            self._made[number] = tempfile.TemporaryDirectory(prefix="neurocompile-bundle-")
            for name, content in files.items():
                path = Path(self._made[number].name) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return Path(self._made[number].name)


def _with_data_of(folder: Path, ours: Mapping[str, bytes]) -> dict[str, bytes]:
    """A bundle with a folder's numbers and our own code, which must be the same as the folder's.

    Raises:
        BadInput: with every file of code that was altered, and of data that is missing.
    """
    code = [name for name in ours if name.endswith(".py")]
    altered = [name for name in code if not (folder / name).is_file() or (folder / name).read_bytes() != ours[name]]
    what, fix = "this code is not what neurocompile writes", "export the program again; --trust runs it as it is"
    problems = [Problem(what, str(folder / name), fix=fix) for name in altered]
    data = [name for name in ("arrays.npz", "bundle.json") if name in ours]
    problems += [
        Problem("the bundle is incomplete", str(folder / name), fix="export the program again")
        for name in data
        if not (folder / name).is_file()
    ]
    if problems:
        raise BadInput(problems)
    return {**ours, **{name: (folder / name).read_bytes() for name in data}}


def _open(program: Program, settings: RunnerSettings) -> LavaExecutor | str:
    """Lava for a program that it runs, or why there is none.

    Raises:
        LavaMissing: if an interpreter was named, and is none.
    """
    if "lava" not in target_of(program).backends:
        return ""
    hosts = program.integer.hosts
    if hosts and any(stage.loop for stage in Hosted(program.integer, program.timesteps).stages):
        return "a part that the host computes is in a loop with the chip, and Lava runs all steps of a turn at once"
    try:
        return LavaExecutor(program, find_lava_python(settings.lava_python), settings)
    except LavaMissing as missing:
        if settings.lava_python is not None:
            raise
        (problem,) = missing.problems
        return f"{problem.what} ({problem.where}): {problem.fix}"


LAVA = Runner("backend", 128, _open, executor="lava", later="`neurocompile validate` runs it in Lava", hosts=True)
"""Runs programs for Loihi."""
