"""A .nir file as a model: read by the dialect that the user names, or by the only one that the file allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.errors import NotTheSame, Problem, UnsupportedModel, UsageError
from neurocompile.frontends.base import Settings
from neurocompile.frontends.nir.choosing import NOISES, choose, noise
from neurocompile.frontends.nir.dialects import Dialect, reading_of
from neurocompile.frontends.nir.hdf5 import read_nir
from neurocompile.frontends.nir.lowering import lowered
from neurocompile.frontends.nir.network import Network, network_of
from neurocompile.frontends.nir.running import Runner
from neurocompile.hosted import run_graph
from neurocompile.ir.graph import Graph
from neurocompile.ir.interpret import read_out
from neurocompile.ir.ops import MOST_SPIKES, Array, Output, Read
from neurocompile.ir.trace import Trace

__all__ = ["NirModel", "check_settings", "load"]

_TIE = 1e-9


@dataclass
class NirModel:
    """The network of a .nir file, in one reading (:class:`neurocompile.frontends.base.Model`)."""

    network: Network
    dialect: Dialect
    timesteps: int
    carries: str
    read: Read | None
    notes: list[str]
    example: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.input_shapes = self.network.inputs

    @property
    def name(self) -> str:
        """What runs it, and in which numbers."""
        return f"the .nir file, as {self.dialect.name} has it, float64"

    @property
    def reading(self) -> dict[str, object]:
        """What a user would have to say for it to be read so."""
        return reading_of(self.dialect)

    @cached_property
    def graph(self) -> Graph:
        """The network as a graph."""
        return lowered(self.network, self.dialect, self.carries, self.read)

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Run the file itself, step by step, in float64; membranes are told by their margins."""
        runner = Runner(self.network, self.dialect)
        ran = runner.run({name: inputs[name] for name in self.input_shapes}, self.timesteps)
        read = Output(self.read or "mean")
        return Trace(
            outputs={name: np.asarray(read_out(read, values)) for name, values in ran.outputs.items()},
            spikes={name: fired.astype(_narrow(fired)) for name, fired in ran.spikes.items()},
            margins=ran.margins,
            thresholds={name: runner.threshold(name) for name in ran.spikes},
        )


def _narrow(spikes: Array) -> type[np.integer[Any]]:
    """8 bits, unless a neuron fired more often in a step than a program's ever does."""
    return np.int8 if spikes.max(initial=0) <= MOST_SPIKES else np.int32


def load(path: Path, settings: Settings) -> NirModel:
    """Read a .nir file.

    Args:
        path: of the file.
        settings: what it leaves open: the number of steps, and how it is read.

    Raises:
        BadInput: for a file that is damaged or contradicts itself.
        UsageError: if the number of steps is not known, or no reading is.
        UnsupportedModel: for what no neuron of a program does; where two readings fit, and do not fire alike.
        NotTheSame: if the graph does not do what the file does.
    """
    check_settings(settings)
    network = network_of(read_nir(path), str(path))
    steps = settings.timesteps or (settings.otherwise[1] if settings.otherwise else None)
    if steps is None:
        raise UsageError(
            Problem("a .nir file does not say its number of steps", "--timesteps T", fix="give --timesteps")
        )
    chosen = choose(network, settings, steps, str(path))
    if chosen.problems:
        raise UnsupportedModel(chosen.problems)
    carries = settings.carries or "real"
    notes = [*network.notes, *chosen.notes]
    model = NirModel(network, chosen.dialect, steps, carries, settings.readout, notes)
    _check_same(model, str(path))
    return model


def check_settings(settings: Settings) -> None:
    """Refuse what a .nir file says itself.

    Raises:
        UsageError: with all of it.
    """
    given = {"--layout": settings.layout, "--arch": settings.arch, "--input-shape": settings.input_shape}
    problems = [
        Problem("a .nir file says this itself", option, str(value), fix=f"leave out {option}")
        for option, value in given.items()
        if value is not None
    ]
    if problems:
        raise UsageError(problems)


# -- the proof ---------------------------------------------------------------------------------------------------------


def _check_same(model: NirModel, where: str) -> None:
    """The graph fires as the file does, on noise.

    Raises:
        NotTheSame: if it does not.
    """
    steps = min(model.timesteps, 32)
    graph = model.graph
    for seed, scale in enumerate(NOISES):
        inputs = noise(model.network, steps, seed, scale)
        if model.carries == "spikes":
            inputs = {name: (x > 0).astype(float) for name, x in inputs.items()}
        ran = Runner(model.network, model.dialect).run(inputs, steps)
        found = run_graph(graph, inputs, steps)
        tied = np.zeros(len(next(iter(inputs.values()))), bool)
        for margins in ran.margins.values():
            near = np.abs(margins) <= _TIE * max(1.0, float(np.abs(margins).max()))
            tied |= near.reshape(len(near), -1).any(1)
        for fired in ran.spikes.values():  # a program's neurons stop there, and go on in the next step
            tied |= (fired > MOST_SPIKES).reshape(len(fired), -1).any(1)
        for name, fired in ran.spikes.items():
            if not np.array_equal(fired[~tied], found.spikes[name][~tied]):
                what = "the graph does not fire as the file does"
                raise NotTheSame(Problem(what, f"{where}: {name}", fix="please report it with the file"))
