"""An executor of another package joins ``neurocompile validate``, with a stage of its own and no line changed here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

from tests.cli.helpers import SAMPLES, STEPS, Data, exported, npz, saved, small_data, small_net

PACKAGE = Path(__file__).parents[1] / "packages" / "toy_executor"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(small_net(), tmp_path_factory.mktemp("model") / "small.pt")


@pytest.fixture(scope="module")
def program(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(model, tmp_path_factory.mktemp("program") / "small", "--no-validate")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return small_data(tmp_path_factory.mktemp("data") / "small.npz")


def _installed(source: Path, target: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", target, source], check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is installed."""
    folder = tmp_path_factory.mktemp("toy")
    return _installed(Path(shutil.copytree(PACKAGE, folder / "source")), folder / "installed")


def _validated(installed: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    """``neurocompile validate --json``, where the package is installed."""
    main = "from neurocompile.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    ran = subprocess.run(
        [sys.executable, "-c", main, "validate", *map(str, arguments), "--json"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, json.loads(ran.stdout)


def _names(body: dict[str, Any]) -> list[str]:
    return [stage["name"] for stage in body["stages"]]


def test_it_has_a_stage_of_its_own(toy: Path, program: Path, data: Data) -> None:
    """Beside the others, on as many samples as it says; alone it is enough to validate."""
    code, body = _validated(toy, program, "--data", data.path)
    assert code == 0
    assert _names(body) == ["lowering", "quantization", "toy", "onnx"]
    stage = body["stages"][2]
    assert (stage["against"], stage["passed"], stage["samples"]) == ("plain Python", True, 5)
    assert (stage["compared"], stage["mismatches"]) == (5 * STEPS * 9, 0)
    assert (stage["membranes_compared"], stage["membrane_mismatches"]) == (5 * STEPS * (9 + 3), 0)
    assert all(0 < rate < 1 for rate in stage["firing_rates"].values())
    _, body = _validated(toy, program, "--data", data.path, "--backend-samples", SAMPLES)
    assert body["stages"][2]["samples"] == SAMPLES


@pytest.mark.parametrize(
    ("old", "new", "what"), [("a >= b", "a >= 2 * b", "mismatches"), ("h, h\n", "h, x\n", "membrane_mismatches")]
)
def test_one_that_computes_something_else_fails(
    old: str, new: str, what: str, program: Path, data: Data, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(PACKAGE, tmp_path / "source")) / "toy_executor.py"
    assert source.read_text().count(old) == 1
    source.write_text(source.read_text().replace(old, new))
    code, body = _validated(_installed(source.parent, tmp_path / "installed"), program, "--data", data.path)
    assert code == 5
    stage = body["stages"][2]
    assert stage["passed"] is False
    assert stage[what] > 0


def test_what_it_does_not_run(toy: Path, model: Path, data: Data, tmp_path: Path) -> None:
    """It says why, where it would run such programs; other targets are none of its business."""
    net = nn.Sequential(layer.Conv1d(2, 3, 2, step_mode="m"), neuron.IFNode(step_mode="m")).eval()
    x = npz(tmp_path / "x.npz", x=np.random.default_rng(0).random((4, 2, 5)))
    conv = saved(net, tmp_path / "conv.pt", example=torch.rand(STEPS, 4, 2, 5))
    out = exported(conv, tmp_path / "conv", "--no-validate")
    _, body = _validated(toy, out, "--reference", conv, "--data", x)
    assert (_names(body)[2], body["stages"][2]["passed"]) == ("toy", None)
    assert "the toy does not know 0" in body["stages"][2]["reason"]
    out = exported(model, tmp_path / "anp", "--target", "anp-i", "--no-validate")
    _, body = _validated(toy, out, "--reference", model, "--data", data.path)
    assert body["stages"][2]["reason"] == "target anp-i has no executor besides the simulator"


def test_none_of_it_is_seen_without_the_package(program: Path, model: Path, data: Data, tmp_path: Path) -> None:
    _, body = _validated(tmp_path, program, "--reference", model, "--data", data.path)
    assert _names(body) == ["lowering", "quantization", "backend", "onnx"]
