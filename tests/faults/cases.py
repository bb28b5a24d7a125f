"""A case: a fault that is planted and validated, what has to be said of it, and whether that was said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array, Neuron
from neurocompile.reports import plain
from neurocompile.reports.validation import Validation
from tests.faults.chip import Spikes
from tests.faults.faults import FAULTS, OF_NUMBERS, Change, Fault, Place, scaled_bias
from tests.faults.networks import Base
from tests.faults.planted import Spot, alone, first, forced, in_reals

__all__ = ["Case", "Explains", "Verdict", "by_integers", "by_reals", "case_of"]

Explains = Callable[[str, str], bool]
"""Whether a layer with a fault of a name could have fired just so."""

_DRAWS = 40
# So many numbers of a kind of fault are tried before a name that was not planted is held for wrong.
_GRID = 161


@dataclass(frozen=True)
class Verdict:
    """What a validation made of a case.

    Attributes:
        located: it told the layers, no others, and of each the first place.
        name: "named", "unknown" or "misnamed".
        extra: names that it gave beside a right one.
        said: its causes.
    """

    located: bool
    name: str
    extra: int
    said: list[dict[str, Any]]

    @property
    def is_fine(self) -> bool:
        """Whether nothing that it told is wrong, and the place is there."""
        return self.located and self.name != "misnamed"


@dataclass(frozen=True, eq=False)
class Case:
    """A fault that is planted, and its validation.

    Attributes:
        base: with what was planted where: "network 3 for generic, n2".
        names: right ones, by layer; none: only "unknown" is.
        spots: by layer, the places that may be told as its first, each with what was expected there and what came.
        differing: how many spikes of these layers differ.
        validation: of all this.
        stage: that fails.
        explains: whether another name is right, too.
    """

    base: str
    names: Mapping[str, frozenset[str]]
    spots: Mapping[str, Mapping[Spot, tuple[int, int]]]
    differing: int
    validation: Validation
    stage: str
    explains: Explains

    @property
    def causes(self) -> list[dict[str, Any]]:
        """What the stage says."""
        stage = next(stage for stage in self.validation.stages if self.stage in (stage.executor, stage.name))
        found: list[dict[str, Any]] = plain(stage).get("causes") or []
        return found

    def verdict(self) -> Verdict:
        """Hold what was said against what was planted."""
        return self.judged(self.causes)

    def judged(self, said: list[dict[str, Any]]) -> Verdict:
        """What causes are worth."""
        located = sorted(cause["layer"] for cause in said) == sorted(self.spots) and all(map(self._is_there, said))
        told = [self._told(cause) for cause in said if cause["layer"] in self.names]
        names = [name for name, _ in told]
        worst = next((name for name in ("misnamed", "unknown", "named") if name in names), "unknown")
        return Verdict(located, worst, sum(extra for _, extra in told), said)

    def _is_there(self, cause: Mapping[str, Any]) -> bool:
        spot = cause["sample"], cause["step"], tuple(cause["neuron"])
        return self.spots[cause["layer"]].get(spot) == (cause["expected"], cause["actual"])

    def _told(self, cause: Mapping[str, Any]) -> tuple[str, int]:
        names = [name for name in cause["names"] if name != "unknown"]
        if not names:
            return "unknown", 0
        wrong = [name for name in names if name not in self.names[cause["layer"]]]
        if len(wrong) == len(names) and not any(self.explains(cause["layer"], name) for name in wrong):
            return "unknown" if "unknown" in cause["names"] else "misnamed", 0  # it said that it was not sure
        return "named", min(len(wrong), len(names) - 1)


def case_of(
    base: Base,
    names: Mapping[str, frozenset[str]],
    recorded: Spikes,
    validation: Callable[[], Validation],
    stage: str = "recorded",
    least: int = 1,
    expected: Spikes | None = None,
    explains: Explains | None = None,
) -> Case | None:
    """A case; None where too few spikes of a faulty layer differ from what it should have made of what it heard.

    Args:
        base: healthy.
        names: right ones, by layer.
        recorded: what is compared with it, of some layers.
        validation: runs it.
        stage: that compares.
        least: so many spikes of each layer have to differ.
        expected: what should have been fired; None: what the program fires.
        explains: whether another name is right; None: whether its integers can fire so with some fault of that name.
    """
    expected = base.spikes if expected is None else expected
    heard = forced(base, base.spikes | recorded) if stage != "lowering" else expected
    spots: dict[str, dict[Spot, tuple[int, int]]] = {}
    differing = 0
    for layer in names:
        own = int((heard[layer] != recorded[layer]).sum())
        if own < max(least, 1):
            return None
        spots[layer] = _firsts(heard[layer], recorded[layer]) | _firsts(expected[layer], recorded[layer])
        differing += own
    healthy = [name for name in recorded if name not in names and stage != "lowering"]
    if any(not np.array_equal(heard[name], recorded[name]) for name in healthy):
        raise AssertionError(f"{base}: a layer beside {', '.join(names)} differs, too")
    where = f"{base}, {', '.join(names)}"
    explains = explains or by_integers(base, names, heard, base.spikes | recorded)
    return Case(where, names, spots, differing, validation(), stage, explains)


def _firsts(expected: Array, actual: Array) -> dict[Spot, tuple[int, int]]:
    spot = first(expected, actual)
    at = None if spot is None else (*spot[:2], *spot[2])
    return {} if spot is None else {spot: (int(expected[at]), int(actual[at]))}


# -- whether another name is right -------------------------------------------------------------------------------------


def by_integers(base: Base, names: Mapping[str, frozenset[str]], expected: Spikes, recorded: Spikes) -> Explains:
    """Whether integers with a fault of a name fire what was recorded of a layer.

    What comes by chance explains nearly everything: it is a right name only of what came by chance.
    """

    def explains(layer: str, name: str) -> bool:
        if name in _BY_CHANCE:
            return bool(names[layer] & _BY_CHANCE.keys()) and _BY_CHANCE[name](expected[layer], recorded[layer])
        return any(
            found is not None and np.array_equal(found, recorded[layer])
            for k, fault in enumerate(_faults_of(name))
            for found in [alone(base, layer, fault, recorded, np.random.default_rng(k))]
        )

    return explains


def _is_of_one(expected: Array, actual: Array) -> bool:
    return int((expected != actual).any((0, 1)).sum()) == 1


def _are_moved(expected: Array, actual: Array) -> bool:
    """Whether every event is one that was expected, or would be a step earlier or later."""
    near = expected.copy()
    near[:, 1:] |= expected[:, :-1]
    near[:, :-1] |= expected[:, 1:]
    return bool(np.all(actual <= near) and np.all(actual.sum(1) <= expected.sum(1)))


def _are_repeated(expected: Array, actual: Array) -> bool:
    again = expected.copy()
    again[:, 1:] |= expected[:, :-1]
    return bool(np.all(actual >= expected) and np.all(actual <= again))


_BY_CHANCE: dict[str, Callable[[Array, Array], bool]] = {
    "events-lost": lambda expected, actual: bool(np.all(actual <= expected)),
    "events-doubled": _are_repeated,
    "events-jittered": _are_moved,
    "neuron-noisy": _is_of_one,
}


def by_reals(base: Base, recorded: Spikes) -> Explains:
    """The same of a real graph."""

    def explains(layer: str, name: str) -> bool:
        return any(
            found is not None and np.array_equal(found[1].spikes[layer], recorded[layer])
            for k, fault in enumerate(_faults_of(name, only=OF_NUMBERS))
            for found in [in_reals(base, layer, fault, np.random.default_rng(k))]
        )

    return explains


def _faults_of(name: str, only: Mapping[str, Fault] = FAULTS) -> list[Fault]:
    drawn = [fault for key, fault in only.items() if key.partition(" (")[0] == name]
    return drawn * _DRAWS + [_set(name, value) for value in _GRIDS.get(name, ())]


_GRIDS: dict[str, Any] = {
    "threshold-scaled": np.geomspace(0.2, 5.0, _GRID),
    "threshold-shifted": np.linspace(-1.5, 1.5, _GRID),
    "threshold-saturated": np.linspace(0.05, 1.0, _GRID),
    "weights-scaled": np.geomspace(0.2, 5.0, _GRID),
    "weights-saturated": np.linspace(0.02, 1.0, _GRID),
    "bias-scaled": np.linspace(-4.0, 4.0, _GRID),
    "reset-value": np.linspace(-2.0, 2.0, _GRID),
    "decay-value": np.linspace(0.0, 1.2, _GRID),
}


def _set(name: str, value: float) -> Fault:
    """A fault of a size that is given, in parts of the threshold or of the largest weight, where it is no factor."""

    def fault(place: Place) -> Change | None:
        op: Neuron = place.op
        size = float(np.abs(op.threshold).max())
        match name:
            case "threshold-scaled":
                return place.neuron(threshold=place.number(op.threshold * value))
            case "threshold-shifted":
                return place.neuron(threshold=op.threshold + place.number(size * value))
            case "threshold-saturated":
                return place.neuron(threshold=np.minimum(op.threshold, place.number(size * value)))
            case "weights-scaled":
                return place.weights(lambda w: w * value)
            case "weights-saturated":
                return place.weights(lambda w: np.clip(w, -value * np.abs(w).max(), value * np.abs(w).max()))
            case "bias-scaled":
                return scaled_bias(place, value)
            case "reset-value":
                reset = place.number(np.asarray(size * value))
                return place.neuron(amount=reset) if op.reset == "by" else place.neuron(v_reset=reset)
        return place.neuron(decay=place.number(np.asarray(value * place.one)))

    return fault
