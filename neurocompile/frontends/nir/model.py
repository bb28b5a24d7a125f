"""A .nir file as a model: read by the dialect that the user names, or by the only one that the file allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from neurocompile.errors import NotTheSame, Problem, UnsupportedModel, UsageError
from neurocompile.frontends.base import Settings
from neurocompile.frontends.nir.dialects import Dialect, dated, differing, told, weighed
from neurocompile.frontends.nir.hdf5 import read_nir
from neurocompile.frontends.nir.lowering import lowered
from neurocompile.frontends.nir.network import Network, network_of
from neurocompile.frontends.nir.running import Runner
from neurocompile.hosted import run_graph
from neurocompile.ir.graph import Graph
from neurocompile.ir.interpret import read_out
from neurocompile.ir.ops import Array, Output, Read
from neurocompile.ir.trace import Trace

__all__ = ["NirModel", "load"]

_SAMPLES = 4
"""So many samples of noise tell readings apart, and hold the graph against the file."""
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
            spikes={name: fired.astype(np.int8) for name, fired in ran.spikes.items()},
            margins=ran.margins,
            thresholds={name: runner.threshold(name) for name in ran.spikes},
        )


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
    _check_settings(settings)
    network = network_of(read_nir(path), str(path))
    steps = settings.timesteps or (settings.otherwise[1] if settings.otherwise else None)
    if steps is None:
        raise UsageError(
            Problem("a .nir file does not say its number of steps", "--timesteps T", fix="give --timesteps")
        )
    dialect, notes = _chosen(network, settings, steps, str(path))
    network = network.past_recurrence() if dialect.after else network
    carries = settings.carries or "real"
    model = NirModel(network, dialect, steps, carries, settings.readout, [*network.notes, *notes])
    _check_same(model, str(path))
    return model


def _check_settings(settings: Settings) -> None:
    given = {"--layout": settings.layout, "--arch": settings.arch, "--input-shape": settings.input_shape}
    problems = [
        Problem("a .nir file says this itself", option, str(value), fix=f"leave out {option}")
        for option, value in given.items()
        if value is not None
    ]
    if problems:
        raise UsageError(problems)


# -- which reading -----------------------------------------------------------------------------------------------------


def _chosen(network: Network, settings: Settings, timesteps: int, where: str) -> tuple[Dialect, list[str]]:
    """How the file is read, and why, if nobody said it."""
    said = told(settings, network.metadata)
    if said is not None:
        return said, []
    fitting = weighed(network)
    if not fitting:
        return dated(Dialect("text", None)), []
    readings = _told_apart(network, fitting, timesteps)
    if len(readings) > 1:
        raise UnsupportedModel(_asking(readings, where))
    (reading,) = readings
    also = f"; {_all(reading.alike)} would fire alike on noise" if reading.alike else ""
    return reading.dialect, [f"read as {reading.dialect.name}: {reading.why}{also}"]


@dataclass
class _Reading:
    """A dialect that fits, and those that fire alike."""

    dialect: Dialect
    why: str
    fired: list[Array]
    alike: list[str] = field(default_factory=list)


def _all(names: Sequence[str]) -> str:
    return " and ".join(names)


def noise(network: Network, timesteps: int, seed: int = 0, scale: float = 1.0) -> dict[str, Array]:
    """Samples that nobody measured: normal numbers around 0.3."""
    draw = np.random.default_rng(seed)
    return {
        name: scale * draw.normal(0.3, 1.0, (_SAMPLES, timesteps, *shape)) for name, shape in network.inputs.items()
    }


def _told_apart(network: Network, fitting: Sequence[tuple[Dialect, str]], timesteps: int) -> list[_Reading]:
    """One reading for each kind of spikes that they give on noise, weak and strong.

    Raises:
        UnsupportedModel: if none of them makes a step of the file.
    """
    found: list[_Reading] = []
    problems: list[Problem] = []
    for dialect, why in fitting:
        try:
            fired = _fired(network, dialect, timesteps)
        except UnsupportedModel as error:  # it cannot have written this
            problems += error.problems
            continue
        same = next((each for each in found if all(map(np.array_equal, fired, each.fired))), None)
        if same is None:
            found.append(_Reading(dialect, why, fired))
        else:
            same.alike.append(dialect.name)
    if not found:
        raise UnsupportedModel(problems)
    return found


def _fired(network: Network, dialect: Dialect, timesteps: int) -> list[Array]:
    """Spikes on noise, and what outputs read."""
    runner = Runner(network, dialect)
    fired = []
    for seed, scale in enumerate((1.0, 4.0)):
        ran = runner.run(noise(network, timesteps, seed, scale), timesteps)
        fired += [ran.spikes[name] for name in sorted(ran.spikes) if not name.endswith(".again")]
        fired += [ran.outputs[name] for name in sorted(ran.outputs)]
    return fired


def _asking(readings: Sequence[_Reading], where: str) -> list[Problem]:
    """What each reading would be, and how far it is from the first."""
    first, problems = readings[0], []
    for reading in readings:
        names = _all([f"{name}'s" for name in (reading.dialect.name, *reading.alike)])
        what = f"it could be {names} ({reading.why})"
        if reading is not first:
            places = sum(x.size for x in reading.fired)
            other = sum(int((a != b).sum()) for a, b in zip(first.fired, reading.fired))
            parts = differing(first.dialect, reading.dialect)
            how = ", ".join(f"{name} {b} instead of {a}" for name, (a, b) in parts.items())
            what += f": on noise {other:,} of {places:,} numbers would be others than {first.dialect.name}'s ({how})"
        problems.append(Problem(what, where, fix=f"if so, --dialect {reading.dialect.name}"))
    return problems


# -- the proof ---------------------------------------------------------------------------------------------------------


def _check_same(model: NirModel, where: str) -> None:
    """The graph fires as the file does, on noise.

    Raises:
        NotTheSame: if it does not.
    """
    steps = min(model.timesteps, 32)
    graph = model.graph
    for seed, scale in enumerate((1.0, 4.0)):
        inputs = noise(model.network, steps, seed, scale)
        if model.carries == "spikes":
            inputs = {name: (x > 0).astype(float) for name, x in inputs.items()}
        ran = Runner(model.network, model.dialect).run(inputs, steps)
        found = run_graph(graph, inputs, steps)
        tied = np.zeros(len(next(iter(inputs.values()))), bool)
        for margins in ran.margins.values():
            near = np.abs(margins) <= _TIE * max(1.0, float(np.abs(margins).max()))
            tied |= near.reshape(len(near), -1).any(1)
        for name, fired in ran.spikes.items():
            if not np.array_equal(fired[~tied], found.spikes[name][~tied]):
                what = "the graph does not fire as the file does"
                raise NotTheSame(Problem(what, f"{where}: {name}", fix="please report it with the file"))
