"""Exact counts of what a run made a chip do; :mod:`neurocompile.simulator.counts` says what one of each is."""

from __future__ import annotations

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

    def joined(self, other: Counts) -> Counts:
        """These samples and then the other's."""
        if not self.layers:
            return other
        return Counts(
            {
                name: LayerCounts(*(np.concatenate(pair) for pair in zip(vars(layer).values(), vars(more).values())))
                for name, layer in self.layers.items()
                for more in (other.layers[name],)
            }
        )
