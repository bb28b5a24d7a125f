"""Running a bundle in Lava: in an interpreter of its own, killed with all its children if it takes too long."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from neurocompile.errors import BadInput, Problem, ToolFailed
from neurocompile.files import pack_arrays
from neurocompile.ir.ops import Array

__all__ = ["TIME_LIMIT_S", "LavaMissing", "find_lava_python", "run_bundle"]

TIME_LIMIT_S = 600.0
"""How long one run may take."""

_INSTALL = (
    "make one with Python 3.10: python3.10 -m venv .venv-lava && .venv-lava/bin/pip install lava-nc==0.10.0 'numpy<2' "
    "(in the checkout: make setup-lava), or name it with --lava-python"
)
# So much of what Lava printed is shown.
_SHOWN_LINES = 40


class LavaMissing(ToolFailed):
    """There is no interpreter with Lava in it."""


def find_lava_python(given: Path | None = None) -> Path:
    """The interpreter that Lava runs in.

    Args:
        given: an interpreter, or the folder of its virtual environment; None: ``$NEUROCOMPILE_LAVA_PYTHON``, else
            ``.venv-lava`` in the current folder or in the checkout.

    Raises:
        LavaMissing: if there is none, with how to get one.
    """
    named = given or (Path(found) if (found := os.environ.get("NEUROCOMPILE_LAVA_PYTHON")) else None)
    folders = [Path.cwd(), Path(__file__).resolve().parents[2]]
    candidates = [named] if named else [folder / ".venv-lava" for folder in folders]
    for candidate in candidates:
        python = candidate / "bin" / "python" if candidate.is_dir() else candidate
        if python.is_file() and os.access(python, os.X_OK):
            return python.absolute()
    where = ", ".join(map(str, candidates))
    raise LavaMissing(Problem("there is no Python with Lava", where, fix=_INSTALL))


def run_bundle(
    folder: Path,
    inputs: Mapping[str, Array],
    python: Path,
    *,
    hardware: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
) -> dict[str, Array]:
    """What a bundle did: ``spikes/LAYER`` and ``membranes/LAYER`` ``[N, T, ...]``, ``outputs/NAME``.

    Args:
        folder: of the bundle.
        inputs: integers of the program ``[N, T, *shape]`` by name.
        python: the interpreter that has Lava.
        hardware: run on Loihi instead of Lava's simulation.
        time_limit_s: after so many seconds everything that was started is killed.

    Raises:
        BadInput: if the folder is no bundle.
        ToolFailed: if Lava stopped (with what its processes raised) or took too long.
    """
    if not (folder / "run.py").exists():
        raise BadInput(Problem("this is no bundle for Lava (no run.py in it)", str(folder), fix="export it again"))
    with tempfile.TemporaryDirectory(prefix="neurocompile-lava-") as scratch:
        given, made = Path(scratch) / "in.npz", Path(scratch) / "out.npz"
        given.write_bytes(pack_arrays({name: x.astype(np.int32) for name, x in inputs.items()}))
        options = ["--data", str(given), "--integers", "--out", str(made), "--membranes"]
        command = [str(python), "run.py", *options, *(["--hardware"] if hardware else [])]
        _run(command, folder, time_limit_s)
        with np.load(made, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def _run(command: list[str], folder: Path, time_limit_s: float) -> None:
    # Lava's processes can hang their parent, so none of them may outlive it: they are one group of their own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=sys.platform != "win32",
    )
    try:
        said, _ = process.communicate(timeout=time_limit_s)
    except subprocess.TimeoutExpired as error:
        kill_group(process)
        said = _last_lines(str(process.communicate()[0] or ""))
        what = f"Lava did not finish within {time_limit_s:g} s and was killed, with all its processes"
        fix = "run fewer samples, or allow more time with --time-limit"
        raise ToolFailed(Problem(what + said, str(folder), fix=fix)) from error
    except BaseException:
        kill_group(process)
        raise
    if process.returncode:
        if "this Python has no Lava" in said:
            raise LavaMissing(Problem("this Python has no Lava", command[0], fix=_INSTALL))
        what = f"Lava stopped with exit code {process.returncode}{_last_lines(said)}"
        fix = f"for Lava's own traceback: cd {folder} && LAVA_TRACEBACK=1 {command[0]} run.py"
        raise ToolFailed(Problem(what, str(folder), fix=fix))


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kill a process and everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_lines(said: str) -> str:
    kept = (line for line in said.splitlines() if line.strip() and "resource_tracker" not in line)
    lines = [line for line in kept if not line.startswith("  warnings.warn(")][-_SHOWN_LINES:]
    return "; it printed:\n" + "\n".join(f"    | {line}" for line in lines) if lines else ""
