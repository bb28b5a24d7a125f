"""A membrane that is compared with ``>=`` for the spike, with ``>`` for what is kept: alike, but at the threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

from neurocompile.errors import UnsupportedModel
from neurocompile.frontends.pytorch.model import TorchModel

T = 4


class Written(nn.Module):
    """Integrate and fire, of weights that sum up to the threshold itself; ``kept`` compares for the reset."""

    def __init__(self, kept: str) -> None:
        super().__init__()
        self.fc, self.kept = nn.Linear(8, 6, bias=False), kept
        self.fc.weight.data = torch.randint(-2, 5, (6, 8), generator=torch.Generator().manual_seed(0)) * 0.25

    def forward(self, x: torch.Tensor) -> Any:
        v, total = torch.zeros(x.shape[1], 6), 0.0
        for t in range(T):
            v = v + self.fc(x[t])
            spike = (v >= 1.0).to(x.dtype)
            match self.kept:
                case ">":
                    v = torch.where(v > 1.0, torch.zeros_like(v), v)
                case "<=":
                    v = v * (v <= 1.0)
                case _:
                    v = v * (1 - spike)
            total = total + spike
        return total


def _of_spikes() -> dict[str, np.ndarray]:
    return {"x": (np.random.default_rng(0).random((4, T, 8)) < 0.5).astype(float)}


@pytest.mark.parametrize("kept", [">", "<="])
def test_a_neuron_that_meets_its_threshold_is_refused_in_its_own_words(kept: str) -> None:
    with pytest.raises(UnsupportedModel) as refused:
        TorchModel.from_module(Written(kept).eval(), (8,), T, example=_of_spikes())
    (problem,) = refused.value.problems
    assert "with >= and with >, and meets its threshold exactly" in problem.what
    assert "compare alike" in problem.fix
    assert "test_two_ways.py:" in problem.where


@pytest.mark.parametrize("kept", [">", "<="])
def test_where_nothing_meets_the_threshold_it_is_said_and_done(kept: str) -> None:
    model = TorchModel.from_module(Written(kept).eval(), (8,), T)
    assert [note for note in model.notes if "compared with >= and with >" in note]


def test_who_compares_alike_is_told_nothing() -> None:
    model = TorchModel.from_module(Written("the spike").eval(), (8,), T, example=_of_spikes())
    assert not model.notes


def test_a_normalized_residual_at_the_threshold() -> None:
    """SpikingJelly's MPBNLIFNode normalizes what is kept where h <= threshold, and fires where h >= threshold."""

    def network(threshold: float) -> nn.Module:
        fc = nn.Linear(2, 2, bias=False)
        fc.weight.data = torch.eye(2)
        node = neuron.MPBNLIFNode(tau=2.0, v_threshold=threshold, v_reset=None, out_features=2)
        node.eval().re_parameterize_v_threshold(normalize_residual=True)
        node.gamma.data, node.eps = torch.tensor([0.5, 2.0]), 0.0
        return nn.Sequential(fc, node).eval()

    heard = np.full((2, T, 2), 0.8)
    heard[:, 0] = 1.0
    with pytest.raises(UnsupportedModel, match="meets its threshold exactly"):  # 0.5 / 0.5 is 1, the first thing heard
        TorchModel.from_module(network(0.5), (2,), T, example={"x": heard})
    model = TorchModel.from_module(network(0.49), (2,), T, example={"x": heard})
    assert not model.proof.mismatches


@pytest.mark.parametrize("gamma", [0.0, 0.3])
@pytest.mark.parametrize("steps", [2, 3])
def test_a_normalized_residual_that_hears_the_same_at_every_step(steps: int, gamma: float) -> None:
    """What a silent neuron keeps holds its input once more: that is what it remembers, not what it hears."""

    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.node = neuron.MPBNLIFNode(tau=2.0, decay_input=True, v_reset=-0.5, out_features=3, step_mode="m")
            self.node.vbn.weight.data[0] = gamma
            self.node.eval().re_parameterize_v_threshold(normalize_residual=True)
            last = neuron.LIFNode(step_mode="m", v_threshold=0.3)
            self.first, self.rest = nn.Linear(5, 3), nn.Sequential(layer.Linear(3, 6, step_mode="m"), last)

        def forward(self, x: torch.Tensor) -> Any:
            return self.rest(self.node(self.first(x.unsqueeze(0).repeat(steps, 1, 1))))

    torch.manual_seed(0)
    model = TorchModel.from_module(Repeated().eval(), (5,), steps, layout="N", by_class=False)
    assert model.proof.compared
    assert not model.proof.mismatches
