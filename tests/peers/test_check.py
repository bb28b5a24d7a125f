"""The comparison itself, on SpikingJelly's neurons: it counts every layer, and a wrong program does not pass."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

from tests.peers import check
from tests.peers.check import EXAMPLES, FRESH, Case, compare

STEPS, HIDDEN, OUTPUTS = 6, 13, 11


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(8, HIDDEN), neuron.LIFNode(step_mode="m")
        self.fc2, self.lif2 = nn.Linear(HIDDEN, OUTPUTS), neuron.IFNode(step_mode="m")

    def reset_mem(self) -> None:
        functional.reset_net(self)

    def forward(self, x: Tensor) -> Any:
        spikes = self.lif1(self.fc1(x))
        return self.lif2(self.fc2(spikes)), self.fc2(spikes).mean(0)


CASE = Case("spikingjelly", Net, (neuron.LIFNode, neuron.IFNode), steps=STEPS)
SPIKES = (EXAMPLES + FRESH) * STEPS * (HIDDEN + 2 * OUTPUTS)  # the second layer's twice: as an output, too


def test_counts_every_layer(tmp_path: Path) -> None:
    tally = compare(CASE, CASE.model(), tmp_path)
    assert tally.passed, tally
    assert tally.spikes == SPIKES


def test_a_wrong_program_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = check.compiled

    def wrong(case: Case, model: nn.Module, folder: Path) -> Any:
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.get_submodule("fc1").weight[0, 0] += 0.5
        return right(case, other, folder)

    monkeypatch.setattr(check, "compiled", wrong)
    tally = compare(CASE, CASE.model(), tmp_path)
    assert not tally.passed
    assert tally.error > check.TOLERANCE
    assert tally.spikes == SPIKES
