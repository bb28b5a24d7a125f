"""What random networks are drawn from, and how often their layers are to fire."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["HIGH", "LOW", "Choices", "Numbers", "Shape", "calibrated", "firing_rates"]

Shape = tuple[int, ...]
LOW, HIGH = 0.02, 0.8


class Choices:
    """Choices from a random.Random: a seeded one, or one that Hypothesis controls (and shrinks)."""

    def __init__(self, source: random.Random | Numbers) -> None:
        self.source = source
        self.cases: set[str] = set()

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.source.randrange(len(options))]

    def chance(self, percent: int) -> bool:
        return self.source.randrange(100) < percent

    def whole(self, low: int, high: int) -> int:
        return self.source.randint(low, high)

    def mark(self, case: str, when: Any = True) -> None:
        if when:
            self.cases.add(case)


class Numbers:
    """numpy's generator as such a source."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.random = generator.random
        self.randrange = lambda end: int(generator.integers(end))
        self.randint = lambda low, high: int(generator.integers(low, high + 1))


def firing_rates(spikes: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The share of steps in which a neuron of each layer fires."""
    return {name: float((fired != 0).mean()) for name, fired in spikes.items()}


def calibrated(spikes: Mapping[str, np.ndarray]) -> bool:
    """Whether every layer fires neither hardly nor nearly always."""
    return all(LOW <= rate <= HIGH for rate in firing_rates(spikes).values())
