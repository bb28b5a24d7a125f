"""A frontend of another package: networks of one layer of leaky neurons, written as JSON.

``{"toy": 1, "timesteps": T, "weights": [[..]], "decay": d, "threshold": h, "example": [[..]]}``
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.frontends import Frontend, Settings
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Array, Input, Integrator, Linear, Neuron, Output
from neurocompile.ir.trace import Trace

__all__ = ["frontend"]


@dataclass
class ToyModel:
    """One such network, and its slow simulation in plain Python."""

    weights: list[list[float]]
    decay: float
    threshold: float
    timesteps: int
    example: dict[str, Array]
    notes: list[str] = field(default_factory=list)
    name: str = "plain Python, float64"

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"x": (len(self.weights[0]),)}

    @property
    def graph(self) -> Graph:
        neurons = Neuron(np.asarray(self.threshold), decay=np.asarray(self.decay))
        return Graph(
            [
                Node("x", Input(self.input_shapes["x"])),
                Node("weights", Linear(np.asarray(self.weights)), ("x",)),
                Node("lif", neurons, ("weights",)),
                Node("read", Integrator(), ("lif",)),
                Node("output", Output("mean"), ("read",)),
            ]
        )

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        samples = [self._sample(steps) for steps in inputs["x"].tolist()]
        spikes, margins = (np.array([sample[part] for sample in samples]) for part in (0, 1))
        return Trace(
            outputs={"output": spikes.mean(1)},
            spikes={"lif": spikes.astype(np.int8)},
            margins={"lif": margins},
            thresholds={"lif": self.threshold},
        )

    def _sample(self, steps: list[list[float]]) -> tuple[list[list[float]], list[list[float]]]:
        v = [0.0] * len(self.weights)
        spikes, margins = [], []
        for x in steps:
            h = [self.decay * old + sum(w * a for w, a in zip(row, x)) for old, row in zip(v, self.weights)]
            spikes.append([float(each >= self.threshold) for each in h])
            margins.append([each - self.threshold for each in h])
            v = [0.0 if each >= self.threshold else each for each in h]
        return spikes, margins


def recognizes(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(b'{"toy"')


def load(path: Path, settings: Settings) -> ToyModel:
    try:
        said = json.loads(path.read_text())
    except ValueError as error:
        raise BadInput(Problem(f"the toy's JSON is damaged: {error}", str(path), fix="write it again")) from error
    return from_live(said, settings, None)


def takes(model: Any) -> bool:
    return isinstance(model, dict) and "toy" in model


def from_live(model: dict[str, Any], settings: Settings, example: Mapping[str, Array] | None) -> ToyModel:
    if settings.layout is not None:
        raise UsageError(Problem("a toy has one layout only", "--layout", settings.layout, fix="leave out --layout"))
    given = example or ({"x": np.asarray(model["example"])} if "example" in model else {})
    steps = settings.timesteps or model["timesteps"]
    return ToyModel(model["weights"], model["decay"], model["threshold"], steps, dict(given))


frontend = Frontend(recognizes, load, takes, from_live)
