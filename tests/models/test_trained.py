"""The trained networks of the papers: as good on the held-out digits as their records say, and programs beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neurocompile
from neurocompile.frontends.pytorch import load_model
from neurocompile.models import digits

CHECKPOINTS = Path(digits.__file__).parent / "checkpoints"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small tensors: threads would only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHECKPOINTS / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize(("name", "least"), [
    ("dsr-vgg-digits-if", 0.97),
    ("dsr-vgg-digits-lif", 0.97),
    ("mpbn-vgg-digits", 0.97),
    ("mpbn-resnet20-digits", 0.96),
])  # fmt: skip
def test_a_classifier_and_its_program(name: str, least: float) -> None:
    """As many of the held-out digits as its record says, and at most half a point less in integers."""
    model = load_model(CHECKPOINTS / f"{name}.pt")
    _, _, x, y = digits.load_digits_split()
    (argument,) = model.input_shapes
    run = model.run({argument: np.repeat(x[:, None], model.timesteps, axis=1)})
    accuracy = float((run.outputs["output"].argmax(1) == y).mean())
    assert len(x) == record(name)["held_out"]
    assert accuracy == pytest.approx(record(name)["accuracy"], abs=1e-6)
    assert accuracy >= least
    assert all(0.02 < spikes.mean() < 0.8 for spikes in run.spikes.values())
    in_integers = neurocompile.simulate(neurocompile.compile(model, bits=8), x, y)
    assert in_integers.accuracy is not None
    assert accuracy - in_integers.accuracy <= 0.005
    assert in_integers.overflows == in_integers.clipped == 0
