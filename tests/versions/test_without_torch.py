"""Programs of earlier versions, run where nothing but the plain installation is (or where all is)."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from neurocompile.extras import EXTRAS
from neurocompile.simulator.engine import engine_missing

DATA = Path(__file__).parents[1] / "data"
LAYERS = {1: "1", 2: "loop.inner.lif", 3: "2", 4: "1"}
"""Of each version's program, the layer that was written down."""


def run(*arguments: object) -> Any:
    """A command's JSON."""
    command = [sys.executable, "-m", "neurocompile", *map(str, arguments), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in ran.stderr
    return {"code": ran.returncode, **json.loads(ran.stdout)}


def test_the_engine_is_compiled() -> None:
    assert not engine_missing()


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("version", LAYERS)
def test_a_program_fires_as_it_did(version: int, reference: bool) -> None:
    program = neurocompile.load(DATA / f"program-v{version}")
    if program.integer.hosts and find_spec("onnxruntime") is None:
        pytest.skip("its host regions need neurocompile[host]")
    result = neurocompile.simulate(program, program.example, reference=reference)
    with np.load(DATA / f"program-v{version}-expected.npz") as expected:
        np.testing.assert_array_equal(result.spikes[LAYERS[version]], expected["spikes"])
        np.testing.assert_allclose(result.outputs["output"], expected["output"])
        assert int(result.counts.total("sops").sum()) == int(expected["sops"])


def test_on_the_command_line(tmp_path: Path) -> None:
    program = DATA / "program-v4"
    np.savez(tmp_path / "x.npz", **neurocompile.load(program).example)
    simulated = run("simulate", program, "--data", tmp_path / "x.npz", "--spikes", tmp_path / "s.npz")
    assert simulated["code"] == 0, simulated
    assert simulated["sops"] > 0
    for words in (("targets",), ("inspect", program), ("validate", program, "--recorded", tmp_path / "s.npz")):
        assert run(*words)["code"] == 0, words


def test_a_model_says_what_it_needs() -> None:
    if all(find_spec(package) for package in EXTRAS["torch"]):
        pytest.skip("it is all there")
    found = run("inspect", DATA / "model-v1.pt")
    assert found["code"] == 1
    assert found["errors"][0]["fix"] == "pip install 'neurocompile[torch]'"
