"""A layer in blocks, and what a core keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import TypeAlias

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.ir.placed import Resource
from neurocompile.mapping.fields import Interval
from neurocompile.mapping.layers import Layer
from neurocompile.mapping.words import Format

__all__ = ["Axons", "Cut", "Needs", "Silicon"]

Needs: TypeAlias = dict[Resource, Array]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Cut:
    """A layer in blocks of ``block`` neurons an axis (the last of an axis may be shorter), with what each needs.

    ``intervals`` are the blocks' intervals along each axis; ``needs[resource]`` is an array over the blocks; along the
    axes of ``halo`` they have compartments beyond their borders. ``index_bits`` are those of lists in its first block;
    None: as many as the block asks for.
    """

    layer: Layer
    block: Shape
    intervals: tuple[tuple[Interval, ...], ...]
    needs: Needs
    halo: tuple[bool, ...] = ()
    index_bits: int | None = None

    @property
    def cores(self) -> int:
        """How many blocks."""
        return prod(map(len, self.intervals))

    def with_slots(self, more: Array) -> Cut:
        """With so many output axons more in each block."""
        return replace(self, needs={**self.needs, "output axons": self.needs["output axons"] + more})

    def each(self) -> list[tuple[tuple[Interval, ...], dict[Resource, int]]]:
        """The blocks one by one, each with what it needs."""
        columns: tuple[Resource, ...] = tuple(self.needs)
        needs = np.stack([self.needs[resource].reshape(-1) for resource in columns], axis=1).tolist()
        return [(block, dict(zip(columns, need))) for block, need in zip(product(*self.intervals), needs)]

    def in_shared_cores(self, silicon: Silicon, compartments: int) -> Cut:
        """The same with the memory that its lists take in cores of so many compartments, some of other layers."""
        if silicon.format is None:
            return self
        bits = int(silicon.format.index(np.array([compartments]))[0])
        wide, region = replace(silicon.format, index_bits=bits), self.layer.region(self.intervals, self.halo)
        bits_of_weight, shared = silicon.bits_of(self.layer.name), silicon.axons.shared
        words, _ = self.layer.words(self.intervals, region, self.halo, wide, bits_of_weight, shared)
        return replace(self, needs={**self.needs, "synapse memory": words * (wide.word_bits // 8)}, index_bits=bits)


@dataclass(frozen=True)
class Axons:
    """What axons take: the sources whose neurons share one for each place, and the slots of one for each core reached.

    ``atoms`` neurons at most share an axon; ``slots`` are by the name of a source, 1 where it is not named.
    """

    shared: frozenset[str] = frozenset()
    slots: Mapping[str, int] = field(default_factory=dict)
    atoms: int = 1


@dataclass(frozen=True)
class Silicon:
    """How a core keeps synapses: word by word in a ``format``, or (None) as entries alone; and its axons.

    With ``halos`` blocks may have compartments beyond their borders. An axon that leaves its chip takes ``leaving``
    slots more. Weights have ``weight_bits``, but for the layers that ``widths`` names.
    """

    weight_bits: int
    format: Format | None = None
    axons: Axons = Axons()
    halos: bool = False
    leaving: int = 0
    widths: Mapping[str, int] = field(default_factory=dict)

    def bits_of(self, layer: str) -> int:
        """Of a weight of a layer."""
        return self.widths.get(layer, self.weight_bits)
