"""Lava as an executor that a validation compares with."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from neurocompile.backends.lava.bundle import bundle_files
from neurocompile.backends.lava.runner import TIME_LIMIT_S, LavaMissing, find_lava_python, run_bundle
from neurocompile.errors import BadInput, Problem
from neurocompile.ir.ops import Array
from neurocompile.program import Program
from neurocompile.targets import target_of

__all__ = ["LavaExecutor", "lava_for"]


@dataclass
class LavaExecutor:
    """Runs a Program's bundle: the one in ``folder``, or else one made for it.

    A bundle is code. What is in the folder runs only if it is what this package writes, or if it is trusted.
    """

    program: Program
    python: Path
    folder: Path | None = None
    hardware: bool = False
    time_limit_s: float = TIME_LIMIT_S
    trust: bool = False
    stage: str = field(default="backend", init=False)
    samples: int = field(default=128, init=False)
    cycles: tuple[int, int] = field(default=(0, 0), init=False)
    _made: tempfile.TemporaryDirectory[str] | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """What the program is compared with."""
        where = "on Loihi" if self.hardware else "fixed-point simulation"
        return f"Lava, {where}"

    def run(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Spikes, and membranes after the reset, ``[N, T, ...]`` by layer."""
        found = run_bundle(self._bundle(), inputs, self.python, hardware=self.hardware, time_limit_s=self.time_limit_s)
        kinds = {kind: {} for kind in ("spikes", "membranes")}  # type: dict[str, dict[str, Array]]
        for key, values in found.items():
            kind, _, name = key.partition("/")
            if kind in kinds:
                kinds[kind][name] = values
        return kinds["spikes"], kinds["membranes"]

    def _bundle(self) -> Path:
        given = self.folder is not None and (self.folder / "run.py").exists()
        if self.trust and given and self.folder is not None:
            return self.folder
        if self._made is None:
            files = bundle_files(self.program)
            if given and self.folder is not None:
                files = _with_data_of(self.folder, files)
            self._made = tempfile.TemporaryDirectory(prefix="neurocompile-bundle-")
            for name, content in files.items():
                path = Path(self._made.name) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return Path(self._made.name)


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


def lava_for(
    program: Program,
    python: Path | None = None,
    folder: Path | None = None,
    hardware: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
    trust: bool = False,
) -> tuple[LavaExecutor | None, str]:
    """Lava for a program that it runs; or None, and why there is none.

    Args:
        program: compiled.
        python: the interpreter that has Lava, which must then exist; None: the one that is found.
        folder: of the Program, whose bundle is run; None: one is made.
        hardware: run on Loihi.
        time_limit_s: of each run.
        trust: run the folder's code even if it is not what this package writes.

    Raises:
        LavaMissing: if an interpreter was named, and is none.
    """
    if "lava" not in target_of(program).backends:
        return None, ""
    if program.integer.hosts:
        return None, "parts of this network are computed by the host, which a bundle for Lava does not have"
    try:
        found = find_lava_python(python)
    except LavaMissing as missing:
        if python is not None:
            raise
        (problem,) = missing.problems
        return None, f"{problem.what} ({problem.where}): {problem.fix}"
    bundle = None if folder is None else folder / "lava"
    return LavaExecutor(program, found, bundle, hardware, time_limit_s, trust), ""
