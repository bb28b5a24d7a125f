"""Faults that no name of the vocabulary says: a debugger has to find where they are, and to say that it knows no name.

Some can be called by a name all the same, which is then right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array
from tests.faults.chip import Cell
from tests.faults.faults import Change, Fault, Place, weight_of

__all__ = ["OUTSIDE"]


def weights_exchanged(place: Place) -> Change | None:
    """Two weights of different channels have each other's place."""
    synapse = place.pick(place.synapses)
    weight = weight_of(synapse).copy()
    if weight.ndim < 2 or len(weight) < 2:
        return None
    a, b = place.r.choice(len(weight), 2, replace=False)
    first, second = weight[a].ravel(), weight[b].ravel()
    i, k = int(np.argmax(first)), int(np.argmin(second))
    first[i], second[k] = second[k], first[i]
    weight[a], weight[b] = first.reshape(weight[a].shape), second.reshape(weight[b].shape)
    return place.weights(lambda _: weight, of=synapse)


def weights_dropped(place: Place) -> Change | None:
    """One weight in twenty is zero."""
    return place.weights(lambda w: np.where(place.r.random(w.shape) < 0.05, 0, w), "weights-missing")


def weights_noisy(place: Place) -> Change | None:
    return place.weights(lambda w: w + place.r.normal(size=w.shape) * 0.25 * np.abs(w).mean())


def threshold_random(place: Place) -> Change | None:
    """Another one for each neuron."""
    factor = place.r.uniform(0.5, 1.6, place.shape)
    return place.neuron(threshold=place.number(place.op.threshold * factor))


def decay_random(place: Place) -> Change | None:
    """Another one for each neuron."""
    decay = place.number(place.r.uniform(0.1, 1.0, place.shape) * place.one)
    return place.neuron("decay-value", decay=decay)


def _rule(cell: type[Cell], *names: str) -> Fault:
    return lambda place: place.rule(lambda: cell, *names)


class ThresholdGrows(Cell):
    """By a part of it with every step."""

    def fires(self, h: Array) -> Array:
        return super().fires(h - np.rint(0.15 * self.t * np.abs(self.op.threshold)).astype(np.int64))


class Adapts(Cell):
    """Every spike makes the next one harder."""

    def start(self) -> None:
        super().start()
        self.fatigue = np.zeros(self.size, np.int64)

    def fires(self, h: Array) -> Array:
        spikes = super().fires(h - self.fatigue * np.rint(0.4 * np.abs(self.op.threshold)).astype(np.int64))
        self.fatigue = self.fatigue + spikes
        return spikes


class Floored(Cell):
    """No membrane stays below 0."""

    def reset(self, h: Array, spikes: Array) -> Array:
        return np.maximum(super().reset(h, spikes), 0)


class Refractory(Cell):
    """A neuron that has fired is silent in the next step."""

    def start(self) -> None:
        super().start()
        self.last = np.zeros(self.size, np.int64)

    def fires(self, h: Array) -> Array:
        self.last = super().fires(h) * (1 - self.last)
        return self.last


class OddSamplesLate(Cell):
    """In odd samples, what the layer hears comes a step late."""

    def start(self) -> None:
        super().start()
        self.before = np.zeros(self.size, np.int64)

    def membrane(self, x: Array) -> Array:
        late, self.before = self.before, x
        return super().membrane(np.where(np.arange(self.size[0]).reshape(-1, *[1] * (x.ndim - 1)) % 2, late, x))


class LeaksTwice(Cell):
    """The membrane decays twice a step."""

    def membrane(self, x: Array) -> Array:
        self.v = self.decayed(self.v, self.op.decay)
        return super().membrane(x)


def leaks_twice(place: Place) -> Change | None:
    decay = place.op.decay
    return None if np.all((decay == 0) | (decay == place.one)) else place.rule(lambda: LeaksTwice, "decay-value")


class WinnerTakesAll(Cell):
    """A spike takes that of the next neuron along the last axis."""

    def emitted(self, spikes: Array) -> Array:
        kept = spikes.copy()
        for k in range(1, spikes.shape[-1]):
            kept[..., k] *= 1 - kept[..., k - 1]
        return kept


class StepSkipped(Cell):
    """In one step the layer hears nothing, does nothing and fires nothing."""

    at = 2

    def step(self, x: Array) -> Array:
        if self.t + 1 == self.at:
            self.t += 1
            return np.zeros(self.size, np.int64)
        return super().step(x)


class Fades(Cell):
    """What the layer hears becomes weaker with every step."""

    def membrane(self, x: Array) -> Array:
        return super().membrane(np.rint(x * 0.75**self.t).astype(np.int64))


class Neighbours(Cell):
    """A membrane leaks into that of the next neuron along the last axis."""

    def reset(self, h: Array, spikes: Array) -> Array:
        left = super().reset(h, spikes)
        return np.asarray(left + np.roll(left, 1, -1) // 4)


OUTSIDE: dict[str, Callable[[Place], Any]] = {
    "weights exchanged": weights_exchanged,
    "weights dropped": weights_dropped,
    "weights noisy": weights_noisy,
    "threshold random": threshold_random,
    "threshold grows": _rule(ThresholdGrows),
    "threshold adapts": _rule(Adapts),
    "decay random": decay_random,
    "membrane floored": _rule(Floored),
    "refractory step": _rule(Refractory),
    "late in odd samples": _rule(OddSamplesLate),
    "leak twice": leaks_twice,
    "winner takes all": _rule(WinnerTakesAll, "events-lost"),
    "step skipped": _rule(StepSkipped),
    "current fades": _rule(Fades),
    "membranes coupled": _rule(Neighbours),
}
"""By what is wrong."""
