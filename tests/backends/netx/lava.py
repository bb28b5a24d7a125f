"""Lava's own Python, if it is here, and a run of several ``.net`` files in it that ends in any case."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from neurocompile.ir.ops import Array

CHECKOUT = Path(__file__).parents[3]
PYTHON = CHECKOUT / ".venv-lava/bin/python"
LOADER = CHECKOUT / ".venv-lava/netx"
BACKEND = CHECKOUT / "backends/netx"


def need_lava() -> None:
    """Skip the test by name, or fail it where everything must be there, if Lava or lava-dl's loader is not."""
    asked = "import importlib.util as u, sys; sys.exit(not (u.find_spec('h5py') and u.find_spec('lava.magma')))"
    if not PYTHON.exists() or subprocess.run([PYTHON, "-c", asked], check=False).returncode:
        _missing("no Lava with h5py in .venv-lava (make setup-lava)")
    fetched = subprocess.run(
        [PYTHON, BACKEND / "fetch_netx.py", LOADER], capture_output=True, text=True, timeout=3600, check=False
    )
    if fetched.returncode:
        _missing(f"lava-dl's loader could not be fetched: {fetched.stderr[-2000:]}")


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def run_in_lava(folder: Path, jobs: Mapping[str, tuple[bytes, Array]], seconds: float) -> dict[str, dict[str, Array]]:
    """What each ``.net`` file does with its inputs ``[N, T, *shape]``, as run_netx.py writes it.

    One Lava process runs them all; it and its children are killed when the time is over.
    """
    for name, (net, x) in jobs.items():
        (folder / f"{name}.net").write_bytes(net)
        np.savez(folder / f"{name}.npz", x=x)
    environment = {**os.environ, "PYTHONPATH": str(LOADER), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with open(folder / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [PYTHON, BACKEND / "run_netx.py", *jobs],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _kill_group(process)
    found = {}
    for name in jobs:
        path = folder / f"{name}.out.npz"
        said = f"Lava left no result for {name} (exit {code}):\n{(folder / 'log').read_text('utf-8')[-3000:]}"
        assert path.exists(), said
        with np.load(path) as data:
            found[name] = {key: data[key] for key in data.files}
    return found


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
