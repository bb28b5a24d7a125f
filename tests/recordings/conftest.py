"""The digits demo's program, and what it fires."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from neurocompile.data import Data
from neurocompile.ir.ops import Neuron
from neurocompile.models.digits import load_digits_split
from neurocompile.program import Program
from neurocompile.verbs.given import data_of

CHECKPOINTS = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints"
SAMPLES = 60


@dataclass(frozen=True)
class Digits:
    """A program, samples, and the spikes ``[N, T, *shape]`` of its simulator."""

    program: Program
    data: Data
    file: Path
    spikes: dict[str, Any]

    @property
    def last(self) -> str:
        """The layer of files that name none."""
        return [node.name for node in self.program.integer.of(Neuron)][-1]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    program = neurocompile.compile(CHECKPOINTS / "digits.pt")
    _, _, x, y = load_digits_split()
    file = tmp_path_factory.mktemp("digits") / "x.npz"
    np.savez(file, x=x[:SAMPLES], y=y[:SAMPLES])
    data = data_of(x[:SAMPLES], program.input_shapes, program.timesteps, y[:SAMPLES])
    spikes = neurocompile.simulate(program, x[:SAMPLES], spikes=True).spikes
    return Digits(program, data, file, {name: np.asarray(each).astype(np.int8) for name, each in spikes.items()})
