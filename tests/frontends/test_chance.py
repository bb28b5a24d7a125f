"""Random numbers in forward: those of torch become inputs, and whoever exports is told; others stay what they were."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

import neurocompile
from neurocompile.errors import UnsupportedModel


class Noisy(nn.Module):
    """A layer whose input is changed by something."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change
        self.fc = nn.Linear(4, 60)  # many neurons: that none of them hears a number would be a wonder
        self.lif = neuron.IFNode(step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.lif(self.fc(self.change(x)))
        return found


def _exported(change: Callable[[Tensor], Tensor], folder: Path) -> tuple[str, ...]:
    torch.manual_seed(0)
    neurocompile.save(Noisy(change).eval(), folder / "m.pt", torch.rand(5, 8, 4))
    return neurocompile.export(folder / "m.pt", folder / "out").warnings


def _added(x: Tensor) -> Tensor:
    return x + torch.rand_like(x)


def test_numbers_of_torch_are_an_input(tmp_path: Path) -> None:
    (warning,) = _exported(_added, tmp_path)
    assert "test_chance.py" in warning
    assert "an input of the program, random" in warning
    assert set(neurocompile.load(tmp_path / "out").input_shapes) == {"x", "random"}
    assert neurocompile.validate(tmp_path / "out", reference=tmp_path / "m.pt").stages[0].mismatches == 0


def _seeded(x: Tensor) -> Tensor:
    np.random.seed(7)
    return x + float(np.random.rand())


def _small(x: Tensor) -> Tensor:
    return x + 1e-30 * random.random()


@pytest.mark.parametrize("change", [_seeded, _small])
def test_numbers_that_are_frozen_are_told_of(change: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    (warning,) = _exported(change, tmp_path)
    assert "random numbers" in warning
    assert "stay as they were when it was recorded" in warning


_OWN = torch.Generator()
UNSEEDED: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x + float(np.random.rand()),
    lambda x: x * random.random(),  # also where no neuron fires
    lambda x: x + float(np.random.default_rng().random()),
    lambda x: x + torch.rand(x.shape, generator=_OWN, dtype=x.dtype),
)


@pytest.mark.parametrize("number", range(len(UNSEEDED)))
def test_numbers_that_change_are_refused(number: int, tmp_path: Path) -> None:
    for _ in range(3):  # it does not depend on what was drawn before
        with pytest.raises(UnsupportedModel, match="draw random numbers with torch") as caught:
            _exported(UNSEEDED[number], tmp_path)
        assert "test_chance.py" in str(caught.value)


@pytest.mark.parametrize("runs", range(4))
def test_numbers_that_agree_by_chance_at_first(runs: int, tmp_path: Path) -> None:
    agreed, entropy = iter([0.5] * runs), np.random.default_rng()
    with pytest.raises(UnsupportedModel, match="draw random numbers with torch"):
        _exported(lambda x: x + next(agreed, float(entropy.random())), tmp_path)


def test_a_generator_of_ones_own_with_a_seed_is_taken(tmp_path: Path) -> None:
    def noise(x: Tensor) -> Tensor:
        return x + torch.rand(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)

    _exported(noise, tmp_path)
    assert neurocompile.validate(tmp_path / "out", reference=tmp_path / "m.pt").stages[0].mismatches == 0


def test_a_forward_that_draws_nothing_leaves_all_generators_alone(tmp_path: Path) -> None:
    random.seed(3)
    np.random.seed(3)
    expected = random.random(), np.random.random()
    random.seed(3)
    np.random.seed(3)
    assert _exported(lambda x: 2 * x, tmp_path) == ()
    assert (random.random(), np.random.random()) == expected
