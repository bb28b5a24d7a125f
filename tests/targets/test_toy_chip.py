"""A chip that another package brings: found by its entry points, compiled for, timed and emitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spikingjelly.activation_based import layer, neuron
from torch import nn

from tests.cli.helpers import SHAPE, STEPS, pickled, small_net
from tests.packages import installed, neurocompile


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed("toy_chip", tmp_path_factory.mktemp("toy"))


def export(site: Path, folder: Path, net: nn.Module, code: int = 0) -> dict[str, Any]:
    model = pickled(net, folder / "net.pt")
    given = ("--input-shape", SHAPE[0], "--timesteps", STEPS, "--target", "toy", "-o", "out", "--overwrite", "--json")
    ran = neurocompile(site, folder, "export", model, *given)
    assert ran.returncode == code, ran
    body: dict[str, Any] = json.loads(ran.stdout)
    return body


def test_it_is_compiled_for_timed_and_emitted(site: Path, tmp_path: Path) -> None:
    body = export(site, tmp_path, small_net())
    assert "toytext/layers.txt" in body["files"]
    assert body["cores"] == len(body["mapping"]["placement"]) > 0
    assert (tmp_path / "out" / "toytext" / "layers.txt").read_text().split()[1].isdigit()
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).uniform(0, 1, (3, *SHAPE)))
    ran = neurocompile(site, tmp_path, "simulate", "out", "--data", "x.npz", "--json")
    assert ran.returncode == 0, ran
    body = json.loads(ran.stdout)
    assert body["cycles"] == body["timing"]["cycles"] == -(-body["spikes"] // 2) > 0
    assert body["energy_pj"] == 2.0 * body["sops"]
    assert "cycles" in neurocompile(site, tmp_path, "simulate", "out", "--data", "x.npz").stdout


def test_its_rule_and_its_limits_are_told_together(site: Path, tmp_path: Path) -> None:
    wide = nn.Sequential(
        layer.Linear(SHAPE[0], 300), neuron.LIFNode(step_mode="m"), layer.Linear(300, 2), neuron.IFNode(step_mode="m"),
    )  # fmt: skip
    errors = export(site, tmp_path, wide.eval(), code=4)["errors"]
    assert any("does not have so many cores" in error["what"] for error in errors)


def test_it_is_listed(site: Path, tmp_path: Path) -> None:
    ran = neurocompile(site, tmp_path, "targets", "--json")
    assert json.loads(ran.stdout)["targets"]["toy"]["family"] == "toy"
    assert "events_a_cycle = 2" in neurocompile(site, tmp_path, "targets", "toy", "--toml").stdout
