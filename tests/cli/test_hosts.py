"""Networks with host regions on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from tests.cli.helpers import run as run_command
from tests.test_hosted import STEPS, given, in_torch_layout, mixed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hosts") / "mixed.pt"
    neurocompile.save(mixed(), path, in_torch_layout(given()), layout="TN")
    return path


def run(*arguments: Any, code: int = 0) -> Any:
    ran = run_command(*arguments, "--json")
    assert ran.code == code, ran.err
    return ran.json


@pytest.mark.parametrize("target", ["generic", "loihi", "loihi2"])
def test_export_simulate_validate(model: Path, target: str, tmp_path: Path) -> None:
    options = () if target == "generic" else ("--no-validate",)  # its few bits change too many of so few spikes
    exported = run("export", model, "--target", target, "-o", tmp_path / "out", *options)
    assert [region["kind"] for region in exported["host_regions"]] == ["Mix", "Generate", "Pick", "sigmoid"]
    assert not any(file.startswith("lava") for file in exported["files"])
    assert "host/3.onnx" in exported["files"]
    assert target != "generic" or exported["validate"]["passed"]
    inputs = given(12, seed=2)
    np.savez(tmp_path / "x.npz", **inputs)
    simulated = run("simulate", tmp_path / "out", "--data", tmp_path / "x.npz", "--spikes", tmp_path / "s.npz")
    assert simulated["host_regions"] == exported["host_regions"]
    assert simulated["sops"] > 0
    with np.load(tmp_path / "s.npz") as spikes:
        assert {name: x.shape for name, x in spikes.items()} == {
            "if1": (12, STEPS, 6), "lif2": (12, STEPS, 6), "loop.inner.lif": (12, STEPS, 8)
        }  # fmt: skip
    found = run_command("validate", tmp_path / "out", "--reference", model, "--data", tmp_path / "x.npz", "--json")
    validated = found.json
    assert validated["stages"][0]["mismatches"] == 0
    assert validated["stages"][2]["passed"] is None


def test_a_bundle_that_was_asked_for_is_refused(model: Path, tmp_path: Path) -> None:
    refused = run("export", model, "--target", "loihi", "--emit", "lava", "-o", tmp_path / "out", code=4)
    (error,) = refused["errors"]
    assert "host" in error["what"]
    assert "loop.inner.pick" in error["where"]
    assert not (tmp_path / "out").exists()


def test_inspect_shows_where_each_part_runs(model: Path) -> None:
    shown = run_command("inspect", model)
    assert shown.code == 0
    assert "the host computes" in shown.out
    assert "loop.inner.pick : host[4] = Pick(loop.inner.pick.reads, index; at each step)" in shown.out
    assert run("inspect", model)["host_regions"][3]["output"] == "output"
