"""The public names, used as the README shows, and again: no module of ours may hide a function."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import neurocompile


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    net = [layer.Linear(6, 5, step_mode="m"), neuron.LIFNode(v_threshold=0.1, step_mode="m")]
    return nn.Sequential(*net, layer.Linear(5, 3, step_mode="m")).eval()


def test_every_public_name_is_what_it_says() -> None:
    for _ in range(2):
        for name in neurocompile.__all__:
            found = getattr(neurocompile, name)
            assert not inspect.ismodule(found) or (name == "targets" and callable(found)), name
    assert set(neurocompile.__all__) == set(dir(neurocompile))


def test_from_module_to_proof(tmp_path: Path) -> None:
    net, rng = _net(), np.random.default_rng(0)
    x, y = rng.random((20, 6)), rng.integers(0, 3, 20)
    neurocompile.save(net, tmp_path / "model.pt", torch.rand(4, 10, 6))
    program = neurocompile.compile(tmp_path / "model.pt", target="generic", bits=6, scale="membrane")
    program.save(tmp_path / "out")
    for again in (program, tmp_path / "out"):
        result = neurocompile.simulate(again, x, y)
        assert result.accuracy is not None
        assert result.spikes["1"].shape == (20, 4, 5)
        assert result.counts.total("sops").sum() > 0
    for reference in (net, tmp_path / "model.pt"):
        validation = neurocompile.validate(program, x, reference=reference, recorded=result.spikes)
        by_name = {stage.name: stage for stage in validation.stages}
        assert by_name["lowering"].passed
        assert by_name["lowering"].compared == 20 * 4 * 5
        assert by_name["recorded"].passed


def test_a_network_without_spikes_is_compared_by_its_outputs() -> None:
    net = nn.Sequential(layer.Linear(6, 5, step_mode="m"), neuron.NonSpikingLIFNode(decode="max-mem")).eval()
    program = neurocompile.compile(net, input_shape=(6,), timesteps=4)
    lowering, *_ = neurocompile.validate(program, np.random.default_rng(0).random((9, 6)), reference=net).stages
    assert lowering.passed
    assert "outputs alone" in lowering.reason
