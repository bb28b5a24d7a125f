"""What is refused after a model came in names the line of its code, from a live module or from a file."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn
from torch.nn import functional as F

import neurocompile
from neurocompile.errors import BadInput, DoesNotFit, Problem

T = 4


class ByClass(nn.Module):
    """Known by its classes; its layers are called in a line of a forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), nn.Linear(12, 4)
        self.lif = neuron.LIFNode(v_threshold=0.1, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool(self.conv(x))  # here
        return self.fc(self.lif(y.unsqueeze(0).repeat(T, 1, 1, 1, 1)).flatten(2)).mean(0)


class Recorded(ByClass):
    """Recorded, as its neurons are written inside forward."""

    def forward(self, x: Tensor) -> Tensor:
        v, out = 0.0, 0.0
        for _ in range(T):
            v = 0.5 * v + F.max_pool2d(self.conv(x), 2)  # here
            s = (v > 0.1).to(x.dtype)
            v = v * (1 - s)
            out = out + self.fc(s.flatten(1))
        return out


class Noisy(ByClass):
    """Draws at each step."""

    def forward(self, x: Tensor) -> Tensor:
        v, out = 0.0, 0.0
        for _ in range(T):
            v = 0.5 * v + self.conv(x) + 0.1 * torch.randn(len(x), 3, 4, 4)  # here
            s = (v > 0.1).to(x.dtype)
            v = v * (1 - s)
            out = out + self.fc(s[:, :, :2, :2].flatten(1))
        return out


def _here(kind: type[nn.Module]) -> str:
    """How the marked line of a forward is shown."""
    lines, first = inspect.getsourcelines(kind.forward)
    marked = next(n for n, line in enumerate(lines) if "# here" in line)
    return f"{Path(__file__).name}:{first + marked}"


def _saved(kind: type[nn.Module], folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "model.pt"
    neurocompile.save(kind().eval(), path, torch.rand(3, 2, 4, 4), layout="N", timesteps=T)
    return path


@pytest.mark.parametrize("kind", [ByClass, Recorded])
def test_a_pass_names_the_line(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    for model in (kind().eval(), _saved(kind, tmp_path)):
        given: Any = {} if isinstance(model, Path) else {"input_shape": (2, 4, 4), "timesteps": T, "layout": "N"}
        with pytest.raises(DoesNotFit, match="MaxPool of currents") as caught:
            neurocompile.compile(model, **given)
        assert f"{_here(kind)} (" in caught.value.problems[0].where
        assert str(caught.value.problems[0]) == str(caught.value)


def test_a_program_keeps_the_lines_and_is_the_same_without(tmp_path: Path) -> None:
    program = neurocompile.compile(_saved(Noisy, tmp_path))
    assert program.lines["random"].endswith(_here(Noisy))
    program.save(tmp_path / "program")
    loaded = neurocompile.load(tmp_path / "program")
    assert loaded.lines == program.lines
    assert loaded.real.same_as(program.real)
    assert b'"lines"' not in type(program)(**{**vars(program), "lines": {}}).files()["program.json"]


def test_who_leaves_random_numbers_out_is_told_where_they_are_drawn(tmp_path: Path) -> None:
    path = _saved(Noisy, tmp_path)
    x, drawn = np.random.default_rng(0).random((3, 2, 4, 4)), np.random.default_rng(1).normal(size=(3, T, 3, 4, 4))
    for run in (
        lambda: neurocompile.simulate(neurocompile.compile(path), x),
        lambda: neurocompile.compile(path, calibrate=x),
    ):
        with pytest.raises(BadInput, match=f"random numbers that forward draws at .*{_here(Noisy)}"):
            run()
    given = {"x": x, "random": drawn}
    program = neurocompile.compile(path, calibrate=given)
    assert neurocompile.simulate(program, given, real=True).outputs["output"].shape == (3, 4)


def test_a_part_of_a_layer_has_its_line() -> None:
    lines = {"block.conv": "net.py:7", "fc": "net.py:9"}
    assert Problem("too wide", "block.conv.scale").at(lines).where == "net.py:7 (block.conv.scale)"
    assert Problem("too wide", "fc (Linear)").at(lines).where == "net.py:9 (fc)"
    for place in ("block", "fc2", "", "the network"):
        assert Problem("too wide", place).at(lines).where == place
