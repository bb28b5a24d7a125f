"""Which dialect a .nir file is read in: the one that is said, that a recording shows, or that the file allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from neurocompile.errors import Problem, UnsupportedModel
from neurocompile.frontends.base import Settings
from neurocompile.frontends.nir.dialects import DIALECTS, Dialect, dated, differing, told, weighed
from neurocompile.frontends.nir.network import Network
from neurocompile.frontends.nir.recorded import Recorded, recording_of
from neurocompile.frontends.nir.running import Ran, Runner
from neurocompile.ir.ops import Array

__all__ = ["NOISES", "Chosen", "choose", "noise"]

_SAMPLES = 4
"""So many samples of noise tell readings apart, and hold the graph against the file."""
NOISES = (1.0, 4.0)
"""How strong it is, one kind after the other."""
_ROUNDED = 0.01
"""Of the spikes of a recording, so many may differ in the reading that made it: frameworks compute in float32."""
_FARTHER = 10
"""Then, every other reading differs in so many times more."""
_TOLD = 6


@dataclass(frozen=True)
class Chosen:
    """A reading.

    Attributes:
        dialect: how the file is read; the likeliest, if there are problems.
        notes: why.
        problems: every reading that the file allows, where these do not fire alike.
    """

    dialect: Dialect
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def choose(network: Network, settings: Settings, timesteps: int, where: str, run: bool = True) -> Chosen:
    """How a file is read.

    Args:
        network: the file.
        settings: what the user says: a dialect, parts of one, a recording.
        timesteps: of the noise that tells readings apart.
        where: the file.
        run: whether the network can be run; else the likeliest is taken.

    Raises:
        UsageError: for a dialect that there is not; where nothing is said, and nothing speaks for any.
        UnsupportedModel: where none makes a step of the file, or fires as the recording does.
        BadInput: for a recording that is none of this network.
    """
    said = told(settings, network.metadata)
    if settings.recording is not None and run:
        return _by_recording(network, said, settings, where)
    if said is not None:
        return Chosen(said)
    fitting = weighed(network)
    if not fitting:
        return Chosen(dated(Dialect("text", None)))
    if not run:
        return Chosen(fitting[0][0], (f"taken as {fitting[0][0].name}'s: {fitting[0][1]}",))
    readings = _told_apart(network, fitting, timesteps)
    first = readings[0]
    if len(readings) > 1:
        return Chosen(first.dialect, problems=tuple(_asking(readings, where)))
    also = f"; {_all(first.alike)} would fire alike on noise" if first.alike else ""
    return Chosen(first.dialect, (f"read as {first.dialect.name}: {first.why}{also}",))


# -- by a recording ----------------------------------------------------------------------------------------------------


def _by_recording(network: Network, said: Dialect | None, settings: Settings, where: str) -> Chosen:
    """The reading that fires as the network did that somebody recorded."""
    assert settings.recording is not None
    step = settings.dt or (said.dt if said is not None else None)
    recorded = recording_of(settings.recording, network, step)
    tried: list[tuple[int, Dialect]] = []
    for dialect in [said] if said is not None else _candidates(network):
        try:
            ran = Runner(network, dialect).run(recorded.inputs, recorded.timesteps)
        except UnsupportedModel:
            continue
        tried.append((_unlike(network, dialect, ran, recorded), dialect))
    tried.sort(key=lambda pair: pair[0])
    if not tried:
        raise UnsupportedModel(Problem("no reading makes a step of this file", where, fix="say --dt or --dialect"))
    (least, dialect), *others = tried
    alike = [other.name for count, other in others if count == least]
    next_best = min((count for count, _ in others if count > least), default=recorded.fired + 1)
    if least and (least > _ROUNDED * recorded.fired or next_best < _FARTHER * least):
        raise UnsupportedModel(_none_fires_so(tried, recorded, where))
    agree = f"{recorded.positions - least:,} of {recorded.positions:,} positions ({recorded.fired:,} spikes)"
    also = f"; so would {_all(alike)}" if alike else ""
    return Chosen(dialect, (f"read as {dialect.name}: it fires as the recording does at {agree}{also}",))


def _candidates(network: Network) -> Iterator[Dialect]:
    """Those that the file speaks for, then all others whose dt is known."""
    fitting = [dialect for dialect, _ in weighed(network)]
    yield from fitting
    names = {dialect.name for dialect in fitting}
    yield from (dialect for name, dialect in DIALECTS.items() if name not in names and dialect.dt is not None)


def _unlike(network: Network, dialect: Dialect, ran: Ran, recorded: Recorded) -> int:
    """In how many positions a reading fires otherwise than it was recorded."""
    found = 0
    for name, spikes in recorded.spikes.items():
        fired = ran.spikes[name]
        if dialect.after:  # what it shows is what the membrane of the step before did
            fired = np.concatenate((np.zeros_like(fired[:, :1]), fired[:, :-1]), axis=1)
        found += int((fired != spikes).sum())
    return found


def _none_fires_so(tried: Sequence[tuple[int, Dialect]], recorded: Recorded, where: str) -> list[Problem]:
    return [
        Problem(
            f"read as {dialect.name}, {count:,} of {recorded.positions:,} positions ({recorded.fired:,} spikes) are "
            "others than recorded",
            where,
            fix="if it is that all the same, leave the recording out; or say the parts of it (docs/nir.md)",
        )
        for count, dialect in tried[:_TOLD]
    ]


# -- by the file -------------------------------------------------------------------------------------------------------


class _Reading:
    """A dialect that fits, what it gives on noise, and those that give the same."""

    def __init__(self, network: Network, dialect: Dialect, why: str, timesteps: int) -> None:
        self.network, self.dialect, self.why, self.timesteps = network, dialect, why, timesteps
        self.runner = Runner(network, dialect)
        self.alike: list[str] = []
        self.given: list[list[Array]] = []

    def of_noise(self, number: int) -> list[Array]:
        """Spikes on one kind of noise, and what outputs read; run when it is asked for."""
        while len(self.given) <= number:
            seed = len(self.given)
            ran = self.runner.run(noise(self.network, self.timesteps, seed, NOISES[seed]), self.timesteps)
            spikes = [ran.spikes[name] for name in sorted(ran.spikes) if not name.endswith(".again")]
            self.given.append(spikes + [ran.outputs[name] for name in sorted(ran.outputs)])
        return self.given[number]

    def is_alike(self, other: _Reading) -> bool:
        """Whether both give the same on every noise."""
        return all(
            np.array_equal(a, b) for k in range(len(NOISES)) for a, b in zip(self.of_noise(k), other.of_noise(k))
        )


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
            reading = _Reading(network, dialect, why, timesteps)
        except UnsupportedModel as error:  # it cannot have written this
            problems += error.problems
            continue
        same = next((each for each in found if reading.is_alike(each)), None)
        if same is None:
            found.append(reading)
        else:
            same.alike.append(dialect.name)
    if not found:
        raise UnsupportedModel(problems)
    return found


def _asking(readings: Sequence[_Reading], where: str) -> list[Problem]:
    """What each reading would be, and how far it is from the first."""
    first, problems = readings[0], []
    for reading in readings:
        names = _all([f"{name}'s" for name in (reading.dialect.name, *reading.alike)])
        what = f"it could be {names} ({reading.why})"
        if reading is not first:
            pairs = [pair for both in zip(first.given, reading.given) for pair in zip(*both)]
            places, other = sum(a.size for a, _ in pairs), sum(int((a != b).sum()) for a, b in pairs)
            parts = differing(first.dialect, reading.dialect)
            how = ", ".join(f"{name} {b} instead of {a}" for name, (a, b) in parts.items())
            what += f": on noise {other:,} of {places:,} numbers would be others than {first.dialect.name}'s ({how})"
        problems.append(Problem(what, where, fix=f"if so, --dialect {reading.dialect.name}"))
    return problems
