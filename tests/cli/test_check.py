"""``neurocompile check``: all that is in the way of a source, at once, whether or not it can be put together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import neurocompile
from tests.cli.helpers import result, run
from tests.frontends.nir.files import N, affine, chain, changed, edges, lif, put


def findings(*arguments: object) -> dict[str, Any]:
    """The JSON of a check that finds something."""
    found = run("check", *arguments, "--json")
    assert found.code == 3, found
    return found.json


def five(path: Path) -> Path:
    """A network with a wrong neuron, a wrong delay, and three that nc1 does not have."""
    short = lif(tau=1e-4)
    waits = nir.Delay(np.full(N, 1.5e-3))
    cuba = nir.CubaLIF(*(np.full(N, value) for value in (5e-3, 1e-2, 1.0, 0.0, 1.0, 1.0, 0.0)))
    return chain(path, affine(), short, waits, affine(seed=1), cuba, affine(seed=2), cuba, affine(seed=3), cuba)


def test_five_things_wrong(tmp_path: Path) -> None:
    path = five(tmp_path / "five.nir")
    found = run("check", path, "--target", "nc1", "--dialect", "text", "--dt", "1e-3", "--json")
    assert found.code == 3
    body = found.json
    told = {finding["where"]: finding["what"] for finding in body["findings"]}
    assert set(told) == {"n1", "n2", "n4", "n6", "n8"}
    assert "shorter than a step" in told["n1"]
    assert "no whole number of steps" in told["n2"]
    assert all("synaptic current" in told[name] for name in ("n4", "n6", "n8"))
    verdicts = {node["name"]: node["fits"] for node in body["nodes"]}
    assert set(verdicts) == {"input", "output", *(f"n{k}" for k in range(9))}
    assert {name for name, fits in verdicts.items() if not fits} == set(told)
    assert body["ok"] is False
    page = run("check", path, "--target", "nc1", "--dialect", "text", "--dt", "1e-3")
    assert page.code == 3
    assert "6 of 11 nodes fit nc1; 5 things are in the way" in page.out
    generic = findings(path, "--dialect", "text", "--dt", "1e-3")
    assert {finding["where"] for finding in generic["findings"]} == {"n1", "n2"}


def test_what_cannot_be_put_together_is_judged_all_the_same(tmp_path: Path) -> None:
    """A node that is none, an edge to nowhere, NaN; and what the neurons that can be read would be on the chip."""

    def broken(held: h5py.File) -> None:
        put(held, "node/nodes/n0/type", "Dense")
        put(held, "node/nodes/n3/bias", np.full(N, np.nan))
        edges(held, [("input", "n0"), ("n0", "n1"), ("n1", "lost"), ("n3", "n4"), ("n4", "output")])

    path = changed(five(tmp_path / "broken.nir"), broken)
    body = findings(path, "--target", "nc1", "--dialect", "text", "--dt", "1e-3")
    told = [(finding["where"].rpartition(": ")[2], finding["what"]) for finding in body["findings"]]
    for where, what in (
        ("n0", "no primitive"), ("n3", "NaN"), ("lost", "leads to no node"), ("n1", "shorter than a step"),
        ("n4", "synaptic current"), ("n6", "synaptic current"), ("n8", "synaptic current"),
    ):  # fmt: skip
        assert any(place == where and what in said for place, said in told), (where, told)
    assert {node["name"]: node["operation"] for node in body["nodes"]}["n0"] == "Dense"


def test_readings_that_fire_otherwise_are_findings(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.nir", affine(), lif(), affine(seed=1), lif())
    found = findings(path)["findings"]
    assert all(finding["fix"].startswith("if so, --dialect ") for finding in found)
    assert len(found) >= 3
    assert result("check", path, "--dialect", "snntorch-zero")["findings"] == []


def test_what_nothing_speaks_for(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.nir", affine(), lif(r=3.0))
    (finding,) = findings(path)["findings"]
    assert "how long a step is" in finding["what"]


def test_no_torch_and_no_nir_is_imported(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.nir", affine(), lif())
    script = (
        "import sys\nfrom neurocompile.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "heavy = {'torch', 'spikingjelly', 'nir', 'onnx', 'onnxruntime'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script, "check", path, "--dialect", "snntorch-zero"], check=True)


@pytest.fixture(scope="module")
def soft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Behind a layer that the host turns into spikes, neurons that Loihi does not have."""
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Linear(4, 6, step_mode="m"), neuron.LIFNode(step_mode="m"),
        layer.Linear(6, 3, step_mode="m"), neuron.LIFNode(tau=3.0, v_reset=None, step_mode="m"),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("soft") / "model.pt"
    neurocompile.save(net.eval(), path, torch.rand(4, 5, 4))
    return path


def test_of_torch(soft: Path) -> None:
    (finding,) = findings(soft, "--target", "loihi")["findings"]
    assert "soft reset" in finding["what"]
    assert result("check", soft)["findings"] == []
    assert neurocompile.check(soft, "loihi").exit_code == 3


class Sine(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return torch.fft.fft(x).real


def test_a_live_module_that_is_refused() -> None:
    net = nn.Sequential(layer.Linear(4, 6, step_mode="m"), Sine(), neuron.IFNode(step_mode="m")).eval()
    report = neurocompile.check(net, input_shape=(4,), timesteps=3)
    assert report.findings
    assert report.exit_code == 3


def test_too_large(tmp_path: Path) -> None:
    net = nn.Sequential(layer.Linear(4, 5000, step_mode="m"), neuron.IFNode(step_mode="m")).eval()
    neurocompile.save(net, tmp_path / "large.pt", torch.rand(4, 5, 4))
    (finding,) = [each for each in findings(tmp_path / "large.pt", "--target", "async28")["findings"]
                  if each["limit"].startswith("256")]  # fmt: skip
    assert finding["actual"] == "10000"  # a readout counts as well
