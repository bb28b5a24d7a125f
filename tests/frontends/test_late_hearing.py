"""Neurons that hear nothing but numbers at first, and layers that sum nothing then: held against the live module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import base, neuron
from torch import Tensor, nn

import neurocompile
from neurocompile.errors import UsageError
from neurocompile.ir.ops import Neuron

T = 5


@neurocompile.neuron(lambda m: Neuron(threshold=np.asarray(0.7), reset="by", amount=np.asarray(0.7)), layout="loop")
class Own(base.MemoryModule):
    """Fires at 0.7 and subtracts it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_memory("v", 0.0)

    def single_step_forward(self, x: Tensor) -> Tensor:
        self.v = self.v + x
        spikes = (self.v >= 0.7).to(x)
        self.v = self.v - 0.7 * spikes
        return spikes


class Pipelined(nn.Module):
    """Each layer hears what the one before did some steps ago; before that, zeros."""

    def __init__(self, fires: type[nn.Module], late: int) -> None:
        super().__init__()
        self.fc1, self.fc2, self.out = nn.Linear(3, 6), nn.Linear(6, 4), nn.Linear(4, 2)
        self.first, self.second, self.late = fires(), fires(), late

    def forward(self, x: Tensor) -> Tensor:
        queue = [torch.zeros(x.shape[0], 6, dtype=x.dtype) for _ in range(self.late)]
        total = torch.zeros(x.shape[0], 2, dtype=x.dtype)
        for _ in range(T):
            queue.append(self.first(self.fc1(x)))
            total = total + self.out(self.second(self.fc2(queue.pop(0))))
        return total


class Shaped(nn.Module):
    """A sum of layers of other shapes, one of which hears zeros at first."""

    def __init__(self, between: tuple[int, ...]) -> None:
        super().__init__()
        self.fc1, self.fc2, self.conv = nn.Linear(3, 16), nn.Linear(16, 16, bias=False), nn.Conv1d(8, 8, 1, bias=False)
        self.first, self.second, self.between = neuron.IFNode(), neuron.IFNode(), between

    def forward(self, x: Tensor) -> Tensor:
        last, total = None, torch.zeros(x.shape[0], 2, 8, dtype=x.dtype)
        for _ in range(T):
            spikes = self.first(self.fc1(x))
            y = self.fc2(spikes).reshape(-1, *self.between)
            if last is not None:
                y = y + self.conv(last.reshape(-1, 8, 2)).reshape(-1, *self.between)
            last = spikes
            total = total + self.second(y.reshape(-1, 2, 8))
        return total


def proved(module: nn.Module, folder: Path) -> None:
    """Export, and hold every spike of the program against the live module."""
    torch.manual_seed(3)
    for p in module.parameters():
        nn.init.normal_(p, 0.1, 0.7)
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(4))
    module.double().eval()
    neurocompile.save(module, folder / "m.pt", x.double(), layout="N", timesteps=T)
    report = neurocompile.export(folder / "m.pt", out=folder / "out")
    assert report.validation is not None
    lowering = report.validation.stages[0]
    assert lowering.compared > 0
    assert lowering.mismatches == 0


@pytest.mark.parametrize("late", [1, 2, 3])
@pytest.mark.parametrize("fires", [Own, neuron.IFNode], ids=["registered", "spikingjelly"])
def test_each_layer_hears_the_one_before_some_steps_later(fires: type[nn.Module], late: int, tmp_path: Path) -> None:
    proved(Pipelined(fires, late), tmp_path)


@pytest.mark.parametrize("between", [(8, 2), (4, 4), (2, 8), (16,), (8, 1, 2)])
def test_a_sum_may_have_another_shape_before_and_after(between: tuple[int, ...], tmp_path: Path) -> None:
    proved(Shaped(between), tmp_path)


@pytest.mark.parametrize(
    ("named", "where"),
    [({"readout": "weighted"}, "readout"), ({"readout": "men"}, "readout"), ({"carries": 3}, "carries"),
     ({"layout": "TX"}, "layout")],
)  # fmt: skip
def test_what_is_no_choice_is_refused(named: dict[str, Any], where: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{where} cannot be this"):
        neurocompile.save(Pipelined(neuron.IFNode, 1).eval(), tmp_path / "m.pt", torch.rand(2, 3), **named)
    assert not (tmp_path / "m.pt").exists()
