"""What goes wrong between a chip and a file, done to spikes on purpose; and the events that spikes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any


def stream(spikes: Array) -> Array:
    """``[N, T, ...]`` as one sequence of steps, ``[N * T, ...]``."""
    return spikes.reshape(-1, *spikes.shape[2:])


def shifted(spikes: Array, steps: int) -> Array:
    """Recorded so many steps too late (negative: too early); what leaves the recording is lost."""
    whole = np.zeros_like(stream(spikes))
    if steps >= 0:
        whole[steps:] = stream(spikes)[: len(whole) - steps]
    else:
        whole[:steps] = stream(spikes)[-steps:]
    return whole.reshape(spikes.shape)


def dropped(spikes: Array, rows: list[int]) -> Array:
    """Without these steps of the stream: everything after comes earlier."""
    kept = np.delete(stream(spikes), rows, axis=0)
    whole = np.zeros_like(stream(spikes))
    whole[: len(kept)] = kept
    return whole.reshape(spikes.shape)


def reordered(spikes: Array, order: Array) -> Array:
    """With the neuron ``order[a]`` recorded at address a."""
    flat = spikes.reshape(*spikes.shape[:2], -1)
    return flat[:, :, order].reshape(spikes.shape)


@dataclass
class List:
    """Events: row of the stream (sample * T + step), and neuron; ``[E]`` each."""

    row: Array
    neuron: Array
    steps: int

    @classmethod
    def of(cls, spikes: Array) -> List:
        row, neuron = np.nonzero(stream(spikes).reshape(spikes.shape[0] * spikes.shape[1], -1))
        return cls(row, neuron, spikes.shape[1])

    def dense(self, spikes: Array) -> Array:
        """How often each fired in each step; what lies outside is left out."""
        whole = np.zeros((spikes.shape[0] * spikes.shape[1], int(np.prod(spikes.shape[2:]))), np.int16)
        inside = (self.row >= 0) & (self.row < len(whole))
        np.add.at(whole, (self.row[inside], self.neuron[inside]), 1)
        return whole.reshape(spikes.shape)

    def thinned(self, share: float, rng: np.random.Generator) -> List:
        kept = rng.random(len(self.row)) >= share
        return List(self.row[kept], self.neuron[kept], self.steps)

    def doubled(self, share: float, rng: np.random.Generator) -> List:
        again = rng.random(len(self.row)) < share
        row, neuron = (np.concatenate([each, each[again]]) for each in (self.row, self.neuron))
        return List(row, neuron, self.steps)

    def jittered(self, share: float, rng: np.random.Generator) -> List:
        """Some come a step early or late, within their sample."""
        step = self.row % self.steps
        way = np.where(step == 0, 1, np.where(step == self.steps - 1, -1, rng.choice([-1, 1], len(step))))
        moved = rng.random(len(step)) < share
        return List(self.row + way * moved, self.neuron, self.steps)

    def with_noise(self, share: float, spikes: Array, rng: np.random.Generator) -> List:
        """Spikes where there are none, as many as a share of the others."""
        row, neuron = np.nonzero(stream(spikes).reshape(spikes.shape[0] * spikes.shape[1], -1) == 0)
        few = rng.choice(len(row), round(share * len(self.row)), replace=False)
        return List(np.concatenate([self.row, row[few]]), np.concatenate([self.neuron, neuron[few]]), self.steps)
