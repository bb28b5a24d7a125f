"""Arrays against arrays: spikes, down to the first neuron that differs, and outputs, by the largest error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array

__all__ = ["TIE", "Comparison", "Divergence", "compare_spikes", "near", "output_error", "tolerance_of"]

TIE = 1e-9
"""How far two correct float64 computations may differ: spikes where |h - threshold| <= TIE * max(1, |threshold|),
outputs by this part of the largest."""

# So far may whatever comes after a host region differ that ONNX Runtime has in float32 only.
_IN_FLOAT32 = 1e-5


@dataclass(frozen=True)
class Divergence:
    """The first spike that differs: earliest step, then earliest layer, of the first sample that differs."""

    sample: int
    step: int
    layer: str
    neuron: tuple[int, ...]
    expected: int
    actual: int
    margin: float | None


@dataclass
class Comparison:
    """How many places were compared, how many of them fired, how many differ; and the same for each layer.

    A place is a neuron at a step of a sample. ``fired`` counts the spikes that are expected, ``answered`` those that
    came, ``met`` those that came where they are expected, with the sign that they should have. A sample whose first
    difference is a tie counts in ``ties`` and is followed no further.
    """

    compared: int = 0
    mismatches: int = 0
    ties: int = 0
    first: Divergence | None = None
    fired: dict[str, int] = field(default_factory=dict)
    differing: dict[str, int] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    met: dict[str, int] = field(default_factory=dict)

    def add(self, more: Comparison) -> None:
        """What was compared of the samples that come next."""
        self.compared += more.compared
        self.mismatches += more.mismatches
        self.ties += more.ties
        self.first = self.first or more.first
        for name in ("fired", "differing", "places", "answered", "met"):
            mine = getattr(self, name)
            for layer, count in getattr(more, name).items():
                mine[layer] = mine.get(layer, 0) + count

    @property
    def silenced(self) -> list[str]:
        """The layers that should have fired, and never did."""
        return [name for name, count in self.fired.items() if count and not self.answered.get(name, 0)]

    @property
    def firing_rates(self) -> dict[str, float]:
        """Of the expected spikes, by layer."""
        return {name: self.fired[name] / places if places else 0.0 for name, places in self.places.items()}

    @property
    def agreement(self) -> dict[str, float]:
        """The share of places where both agree, by layer."""
        return {name: 1.0 - self.differing[name] / places for name, places in self.places.items() if places}

    @property
    def f1(self) -> float | None:
        """Of all layers: the harmonic mean of precision and recall; None if nothing fired on either side."""
        spikes = sum(self.fired.values()) + sum(self.answered.values())
        return 2 * sum(self.met.values()) / spikes if spikes else None

    @property
    def precision(self) -> dict[str, float]:
        """Of the spikes that came, the share that is expected, by layer; none where none came."""
        return {name: self.met[name] / came for name, came in self.answered.items() if came}

    @property
    def recall(self) -> dict[str, float]:
        """Of the spikes that are expected, the share that came, by layer; none where none is expected."""
        return {name: self.met[name] / fired for name, fired in self.fired.items() if fired}


def compare_spikes(
    found: Comparison,
    expected: Mapping[str, Array],
    actual: Mapping[str, Array],
    order: Sequence[str],
    first_sample: int = 0,
    margins: Mapping[str, Array] | None = None,
    thresholds: Mapping[str, float] | None = None,
    tie: float = TIE,
    untold: Mapping[str, Sequence[int]] | None = None,
) -> Array:
    """Add a chunk of samples to a comparison.

    Args:
        found: what was compared so far; changed in place.
        expected: spikes ``[N, T, ...]`` by layer.
        actual: the same layers.
        order: the layers in the order of a step.
        first_sample: the number of the chunk's first sample.
        margins: for each layer, where known, the membrane minus the threshold ``[N, T, ...]`` behind ``expected``.
        thresholds: the size of that threshold.
        tie: how near to the threshold, as a part of it.
        untold: for some layers, steps of which nobody knows what to expect.

    Returns:
        For each sample whether it was a tie.
    """
    samples = len(next(iter(expected.values())))
    tied = np.zeros(samples, bool)
    differs = {name: expected[name] != actual[name] for name in order}
    for name in order:
        told = np.ones(differs[name].shape[1], bool)
        told[list((untold or {}).get(name, ()))] = False
        differs[name][:, ~told] = False
        _count(found, name, expected[name][:, told], actual[name][:, told])
    somewhere = np.zeros(samples, bool)
    for name in order:
        somewhere |= differs[name].reshape(samples, -1).any(1)
    for sample in map(int, np.flatnonzero(somewhere)):
        step, layer = _first(differs, order, sample)
        neurons = np.argwhere(differs[layer][sample, step])
        margin = None if not margins or layer not in margins else margins[layer][sample, step]
        if margin is not None:
            limit = tie * max(1.0, (thresholds or {}).get(layer, 1.0))
            tied[sample] = all(abs(float(margin[tuple(neuron)])) <= limit for neuron in neurons)
        if tied[sample]:
            found.ties += 1
            continue
        found.mismatches += sum(int(differs[name][sample].sum()) for name in order)
        if found.first is None:
            where = tuple(int(i) for i in neurons[0])
            found.first = Divergence(
                first_sample + sample,
                step,
                layer,
                where,
                int(expected[layer][sample, step][where]),
                int(actual[layer][sample, step][where]),
                None if margin is None else float(margin[where]),
            )
    return tied


def _count(found: Comparison, name: str, expected: Array, actual: Array) -> None:
    """Add what one layer fires, and should fire, to a comparison."""
    for kind, number in (
        (found.places, expected.size), (found.fired, (expected != 0).sum()), (found.answered, (actual != 0).sum()),
        (found.met, ((expected == actual) & (expected != 0)).sum()), (found.differing, (expected != actual).sum()),
    ):  # fmt: skip
        kind[name] = kind.get(name, 0) + int(number)
    found.compared += expected.size


def _first(differs: Mapping[str, Array], order: Sequence[str], sample: int) -> tuple[int, str]:
    """The first step, and in it the first layer, in which a sample differs."""
    steps = {name: np.flatnonzero(differs[name][sample].reshape(differs[name].shape[1], -1).any(1)) for name in order}
    earliest = min(int(found[0]) for found in steps.values() if found.size)
    return earliest, next(name for name in order if steps[name].size and int(steps[name][0]) == earliest)


def tolerance_of(graph: Graph) -> float:
    """How far a real graph's outputs may be from the model's, as a part of the largest, and ties from the threshold."""
    return _IN_FLOAT32 if any(region.precision == "float32" for region in graph.hosts.values()) else TIE


def output_error(expected: Array, actual: Array) -> float:
    """How far outputs are off, as a part of the largest expected one (at least 1); infinite for another shape.

    What is infinite, or no number, in both is the same.
    """
    if expected.shape != actual.shape:
        return np.inf
    known = np.asarray(expected, np.float64)
    same = (known == actual) | (np.isnan(known) & np.isnan(actual))
    if same.all():
        return 0.0
    error = float(np.abs(known[~same] - actual[~same]).max()) / max(
        1.0, float(np.abs(known[np.isfinite(known)]).max(initial=0.0))
    )
    return np.inf if np.isnan(error) else error


def near(expected: Array, actual: Array, bound: float) -> bool:
    """Whether outputs are the same but for ``bound`` as a part of the largest."""
    return output_error(expected, actual) <= bound
