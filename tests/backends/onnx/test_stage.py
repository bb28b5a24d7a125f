"""The stage of a validation that runs ONNX Runtime."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import neurocompile
from neurocompile.backends.onnx.executor import OnnxExecutor
from neurocompile.backends.onnx.runner import ONNX
from neurocompile.data import Data
from neurocompile.errors import BadInput, DoesNotFit
from neurocompile.hosted.worker import MEMORY, the_worker
from neurocompile.simulator.base import RunnerSettings
from neurocompile.verbs.validate import validate_program
from tests.backends.onnx.against import of_drawn
from tests.cli.helpers import done, refused, run, says
from tests.random_networks.engine import random_integer_network
from tests.test_hosted import given, in_torch_layout, mixed

CHECKPOINTS = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints"


def test_it_runs_beside_the_targets_own(tmp_path: Path) -> None:
    done("demo", "--write-data", tmp_path / "d.npz", "--write-model", tmp_path / "m.pt")
    done("export", tmp_path / "m.pt", "--no-validate", "-o", tmp_path / "chip")
    args = "validate", tmp_path / "chip", "--data", tmp_path / "d.npz", "--backend-samples", "3", "--json"
    body = done(*args, "--require", "onnx").json
    names = [stage["name"] for stage in body["stages"]]
    assert names == ["lowering", "quantization", "backend", "onnx"]
    stage = body["stages"][3]
    assert (stage["passed"], stage["samples_run"], stage["mismatches"], stage["membrane_mismatches"]) == (True, 3, 0, 0)
    assert stage["compared"] > 30_000
    assert stage["against"] == "ONNX Runtime (scan.onnx, int)"
    says(refused(2, *args[:4])[0], fix="--reference")  # it is no reason to validate on its own
    ran = run(*args[:4], "--backend-samples", "0", "--require", "onnx", "--json")
    assert ran.code == 5
    assert ran.json["unmet"] == {"onnx": "did not run: left out (--backend-samples 0)"}


@pytest.mark.parametrize("name", ["_kept", "_floor"])
def test_one_that_computes_something_else_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    others = {
        "_kept": lambda self, value, how, least, most: self._node("Add", value, self._number(1)),
        "_floor": lambda self, value, divisor: self._node("Add", value, self._number(1)),
    }
    monkeypatch.setattr(f"neurocompile.backends.onnx.functions._Body.{name}", others[name])
    drawn = random_integer_network(random.Random(5), 200, 20_000)
    program, inputs = of_drawn(drawn)
    found = validate_program(program, Data(inputs, None, "the samples"), opened=[(ONNX, OnnxExecutor(program))])
    stage = next(stage for stage in found.stages if stage.name == "onnx")
    assert stage.passed is False
    assert not found.passed


def test_why_it_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    program, _ = of_drawn(random_integer_network(random.Random(5), 200, 20_000))
    assert isinstance(ONNX.open(program, RunnerSettings()), OnnxExecutor)
    monkeypatch.setattr("onnxruntime.__version__", "1.23.2")
    assert ONNX.open(program, RunnerSettings()) == (
        "ONNX Runtime 1.23.2 has no convolution of bytes with a sign; pip install 'onnxruntime>=1.24'"
    )
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert "pip install 'neurocompile[onnx]'" in str(ONNX.open(program, RunnerSettings()))


def test_networks_with_a_host_run_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neurocompile.save(mixed(), tmp_path / "m.pt", in_torch_layout(given()), layout="TN")
    program = neurocompile.compile(tmp_path / "m.pt")
    executor = OnnxExecutor(program)
    found = validate_program(program, Data(given(seed=2), None, "the samples"), opened=[(ONNX, executor)])
    stage = next(stage for stage in found.stages if stage.name == "onnx")
    assert (stage.passed, stage.mismatches, stage.samples_run) == (True, 0, 16)
    with pytest.raises(DoesNotFit, match="of all steps at once"):
        OnnxExecutor(program, "step")
    monkeypatch.setenv(MEMORY, "1")
    the_worker().close()
    many = {name: np.repeat(x, 400, 0) for name, x in given().items()}
    with pytest.raises(BadInput, match="does not run this network"):
        OnnxExecutor(program).run(many)
    the_worker().close()
