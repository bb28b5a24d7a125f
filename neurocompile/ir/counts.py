"""Exact counts of what a run made a chip do; :mod:`neurocompile.simulator.counts` says what one of each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from neurocompile.ir.ops import Array

__all__ = ["Counts", "LayerCounts"]


@dataclass
class LayerCounts:
    """Counts of one layer, one whole number a sample ``[N]`` each."""

    sops: Array
    sops_nonzero: Array
    macs: Array
    spikes: Array
    active: Array
    inactive: Array
    bias_writes: Array

    @staticmethod
    def zero(samples: int) -> LayerCounts:
        """Nothing counted yet."""
        return LayerCounts(*(np.zeros(samples, np.int64) for _ in range(7)))


@dataclass
class Counts:
    """The counts of every layer: of each neuron (integrator) with its synapses, of each sum of events."""

    layers: dict[str, LayerCounts] = field(default_factory=dict)

    def total(self, name: str) -> Array:
        """One of the counts summed over layers, ``[N]``."""
        return np.asarray(np.sum([getattr(layer, name) for layer in self.layers.values()], axis=0, dtype=np.int64))

    @staticmethod
    def joined(parts: Sequence[Counts]) -> Counts:
        """Samples and then the next ones; parts that counted nothing are left out."""
        counted = [part.layers for part in parts if part.layers]
        return Counts(
            {
                name: LayerCounts(*(np.concatenate(each) for each in zip(*(vars(p[name]).values() for p in counted))))
                for name in (counted[0] if counted else ())
            }
        )
