"""Random numbers that forward draws are inputs of the program: given the same, it does the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import neurocompile

N, T, INPUTS, HIDDEN = 6, 5, 8, 12


class Drawn(nn.Module):
    """Membranes start from random numbers, and what they hear passes by chance."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, 4)
        self.drawn: dict[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        v, s = torch.rand(len(x), HIDDEN), torch.rand(len(x), HIDDEN)
        self.drawn = {"random": v, "random.2": s}
        passed, y = [], torch.zeros(len(x), 4)
        for _ in range(T):
            passed.append(torch.rand_like(x))
            v = 0.8 * (v - s) + self.fc((x > passed[-1]).to(x.dtype))
            s = (v > 0.4).to(x.dtype)
            y = y + self.head(s)
        self.drawn["random.3"] = torch.stack(passed, 1)
        return y / T


def test_random_numbers_are_inputs_of_a_saved_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Drawn().eval(), torch.rand(N, INPUTS, dtype=torch.float64)
    neurocompile.save(net, tmp_path / "model.pt", x.float(), layout="N", timesteps=T)
    program = neurocompile.compile(tmp_path / "model.pt")

    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            expected = net.double()(x)
    finally:
        torch.set_default_dtype(torch.float32)
    drawn = {name: values.numpy() for name, values in net.drawn.items()}
    found = neurocompile.simulate(program, {"x": x.numpy(), **drawn}, real=True)

    assert np.abs(found.outputs["output"] - expected.numpy()).max() < 1e-12
    assert 0.02 < found.spikes["neuron"].mean() < 0.98
