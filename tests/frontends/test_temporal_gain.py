"""A number for each step that multiplies a current: as a module, as a parameter, in files, and of a wrong length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

import neurocompile
from neurocompile.errors import BadInput, UnsupportedModel
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.ir.ops import Gain, Scale
from neurocompile.models.sddpm import TemporalGain
from tests.exactness import Tally, check
from tests.random_networks.modules import Network

STEPS = 4


def gains(*values: float) -> TemporalGain:
    module = TemporalGain(len(values))
    module.gain.data = torch.tensor(values)
    return module


class Net(nn.Module):
    """A layer, a gain, a norm, a neuron, twice; ``[T, N, 6]`` in."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.bn1 = layer.Linear(6, 8, step_mode="m"), layer.BatchNorm1d(8, step_mode="m")
        self.fc2 = layer.Linear(8, 5, step_mode="m")
        self.lif1, self.lif2 = (neuron.LIFNode(step_mode="m", v_threshold=0.2) for _ in range(2))
        self.gain1, self.gain2 = first, second
        nn.init.normal_(self.bn1.weight, 1.0, 0.5)
        nn.init.normal_(self.bn1.bias, 0.2, 0.1)
        nn.init.normal_(self.bn1.running_mean, 0.0, 0.2)

    def forward(self, x_seq: Tensor) -> Tensor:
        out: Tensor = self.lif2(self.gain2(self.fc2(self.lif1(self.bn1(self.gain1(self.fc1(x_seq)))))))
        return out


class Times(nn.Module):
    """``x * constant`` however it was shaped."""

    def __init__(self, constant: Tensor) -> None:
        super().__init__()
        self.constant = nn.Parameter(constant)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.constant


def lowered(module: nn.Module, timesteps: int = STEPS) -> TorchModel:
    return TorchModel.from_module(module.eval(), (6,), timesteps, "TN")


def test_lowering_is_exact() -> None:
    second = Times(torch.linspace(0.4, 1.7, STEPS)[:, None, None])
    net = Net(gains(0.5, 1.5, -1.0, 0.75), second).eval()
    x = np.random.default_rng(0).normal(size=(60, STEPS, 6))
    network = Network(net, {"x_seq": (6,)}, STEPS, "TN", "mean", {"x_seq": x}, frozenset(), sequence=True)
    tally = Tally()
    model = check(network, tally)
    assert len(model.graph.of(Gain)) == 2
    assert (tally.mismatches, tally.ties, tally.failures) == (0, 0, [])
    assert tally.spikes_compared == 2 * 60 * STEPS * 13
    assert tally.calibrated == 1


def test_equal_gains_are_one_scale() -> None:
    model = lowered(Net(gains(0.5, 0.5, 0.5, 0.5), Times(torch.full((STEPS, 1, 1), 2.0))))
    assert not model.graph.of(Gain)
    assert len(model.graph.of(Scale)) == 3


@pytest.mark.parametrize("timesteps", [1, 3, 5])
def test_another_number_of_steps_is_refused(timesteps: int) -> None:
    with pytest.raises(BadInput) as caught:
        lowered(Net(gains(0.5, 1.5, 1.0, 0.75), nn.Identity()), timesteps)
    (problem,) = caught.value.problems
    assert "gain1" in problem.where
    assert f"a gain for each of 4 time steps, and is given {timesteps}" in problem.what
    assert "--timesteps" in problem.fix


def test_another_gain_for_each_step_and_neuron() -> None:
    constant = torch.linspace(0.5, 1.5, STEPS * 5).reshape(STEPS, 1, 5)
    net, x = Net(nn.Identity(), Times(constant)).eval(), np.random.default_rng(0).random((8, STEPS, 6))
    model = lowered(net)
    stage = neurocompile.validate(neurocompile.compile(model, calibrate=x), x, reference=model).stages[0]
    assert stage.passed
    assert stage.compared == 8 * STEPS * (8 + 5)
    assert all(0.02 < rate < 0.95 for rate in stage.firing_rates.values())


def test_gains_of_one_step_of_many_are_refused() -> None:
    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif, self.gain = nn.Linear(6, 5), neuron.LIFNode(), gains(0.5, 1.5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.lif(self.gain(self.fc(x)))
            return out

    with pytest.raises((UnsupportedModel, BadInput), match="gain for each"):
        TorchModel.from_module(Step().eval(), (6,), 2, "loop")


def test_files_need_no_trust(tmp_path: Path) -> None:
    net = Net(gains(0.5, 1.5, -1.0, 0.75), Times(torch.linspace(0.4, 1.7, STEPS)[:, None, None])).eval()
    x = torch.randn(STEPS, 30, 6, generator=torch.Generator().manual_seed(0))
    neurocompile.save(net, tmp_path / "saved.pt", x)
    torch.save(nn.Sequential(net.fc1, net.gain1, net.bn1, net.lif1), tmp_path / "pickled.pt")
    for name in ("saved", "pickled"):
        program: Any = neurocompile.compile(tmp_path / f"{name}.pt", input_shape=(6,), timesteps=STEPS)
        assert program.real.of(Gain)
        program.save(tmp_path / name)
        assert neurocompile.load(tmp_path / name).files() == program.files()
        assert b'"version": 3' in program.files()["program.json"]
    result = neurocompile.validate(
        tmp_path / "saved", {"x_seq": x.transpose(0, 1).numpy()}, reference=tmp_path / "saved.pt"
    )
    stages = {stage.name: stage for stage in result.stages}
    assert stages["lowering"].compared == 30 * STEPS * 13
    assert stages["lowering"].mismatches == 0
