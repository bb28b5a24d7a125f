"""What falls silent in integers is said aloud; so is what inputs were taken for."""

from __future__ import annotations

from pathlib import Path

import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

from neurocompile import save
from tests.cli.helpers import run


def _net(bias: float) -> nn.Module:
    """Of the second layer one weight is large, and never used: in few bits the others are nothing beside it."""
    torch.manual_seed(0)
    first, second = layer.Linear(6, 8, step_mode="m"), layer.Linear(8, 3, step_mode="m")
    with torch.no_grad():
        first.weight[0] = -1.0
        second.weight.mul_(0.01).add_(0.02)
        second.weight[:, 0] = 3.0
        second.bias.fill_(bias)
    fires = neuron.IFNode(v_threshold=0.05, step_mode="m")
    return nn.Sequential(first, neuron.LIFNode(v_threshold=0.3, step_mode="m"), second, fires).eval()


def test_a_layer_that_never_fires_in_integers_is_named(tmp_path: Path) -> None:
    x = (torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    model = tmp_path / "model.pt"
    save(_net(0.0), model, x)
    quiet = run("export", model, "-o", tmp_path / "fine", "--json")
    assert quiet.json["warnings"] == []
    assert quiet.json["inputs"] == {"input": "spikes"}
    loud = run("export", model, "-o", tmp_path / "coarse", "--bits", "2", "--json")
    (warning,) = loud.json["warnings"]
    assert warning.startswith("3: it never fires in the program, and in the model at 0.")
    assert "--bits" in warning
