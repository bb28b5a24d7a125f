"""Where every neuron of a network is on the cores of so many chips, and what each core then holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from neurocompile.errors import Problem
from neurocompile.ir.ops import Array
from neurocompile.limits import Limits

__all__ = [
    "AxonKind",
    "Block",
    "Bounds",
    "Core",
    "Excess",
    "Fullest",
    "LayerCores",
    "Placed",
    "Resource",
    "SoftReset",
    "bounds_of",
    "layer_cores",
    "nearest_limit",
]

Resource: TypeAlias = Literal["neurons", "compartments", "synapse memory", "input axons", "output axons"]
Block: TypeAlias = tuple[tuple[int, int], ...]
AxonKind: TypeAlias = Literal["discrete", "pop16", "pop32"]
Needs: TypeAlias = Mapping[Resource, int]
Bounds: TypeAlias = Mapping[Resource, int]
"""What one core holds of each resource; one that is absent binds nothing."""

# What is wrong with a neuron that is too large, and what to do.
_TOO_LARGE: dict[Resource, tuple[str, str]] = {
    "neurons": ("a core holds no neuron", "use another target"),
    "compartments": ("a core holds no neuron", "use another target"),
    "synapse memory": (
        "the synapses of one of its neurons alone do not fit into a core's synapse memory",
        "use fewer bits a weight, a smaller kernel or fewer channels in front of this layer",
    ),
    "input axons": (
        "one of its neurons has more sources than a core has input axons",
        "use a smaller kernel, fewer channels or groups of channels in front of this layer",
    ),
    "output axons": (
        "one of its neurons reaches more cores than it has output axons",
        "use smaller layers behind this one, or put a smaller layer between",
    ),
}


def bounds_of(limits: Limits, weight_bits: int) -> Bounds:
    """The published limits of one core; synapse memory in bytes."""
    memory = limits.synapse_bytes_per_core
    if memory is None and limits.synapse_words_per_core is not None:
        memory = limits.synapse_words_per_core * (limits.lanes or 1) * weight_bits // 8
    held: dict[Resource, int | None] = {
        "neurons": None if limits.list_word_bits is not None else limits.neurons_per_core,
        "compartments": limits.neurons_per_core if limits.list_word_bits is not None else None,
        "synapse memory": memory,
        "input axons": limits.input_axons_per_core,
        "output axons": limits.output_axons_per_core,
    }
    return {resource: limit for resource, limit in held.items() if limit is not None}


@dataclass(frozen=True)
class SoftReset:
    """How two compartments make a neuron that subtracts from its membrane where it fires.

    The first integrates, and neither fires nor resets. The second keeps nothing: at each step it takes the membrane of
    the first (a join), compares it with the threshold, and fires. Its spike goes back to the first by a synapse for
    each of ``weights``, (mantissa, exponent): they take ``mantissa << exponent`` each, in steps of the synaptic sum
    that the chip shifts left itself, and arrive with the input of the next step.
    """

    weights: tuple[tuple[int, int], ...]

    @property
    def compartments(self) -> int:
        """Of a neuron."""
        return 2

    def as_json(self) -> dict[str, Any]:
        """It as plain data."""
        return {"compartments": self.compartments, "weights": [list(weight) for weight in self.weights]}


@dataclass(frozen=True)
class Excess:
    """A single neuron that no core holds: what it takes of a resource."""

    layer: str
    resource: Resource
    needed: int
    held: int


@dataclass(frozen=True)
class Core:
    """One core in use: where it is, whose neurons it holds, and what they need.

    ``chip`` counts from 0, ``tile`` is (steps east, steps south) and ``core`` the number in the tile; where tiles are
    not published there is no tile and ``core`` is the number on the chip. A core of boxes has a block of each of its
    ``layers``: (start, stop) for each axis of the layer's :attr:`LayerCores.shape`.
    """

    chip: int
    tile: tuple[int, int] | None
    core: int
    layers: tuple[str, ...]
    needs: Mapping[Resource, int]
    blocks: tuple[Block, ...] = ()

    @property
    def layer(self) -> str:
        """The names of its layers."""
        return ", ".join(dict.fromkeys(self.layers))

    @property
    def neurons(self) -> int:
        """How many neurons and integrators."""
        return self.needs["neurons"]

    @property
    def synapse_bytes(self) -> int:
        """Synapse memory."""
        return self.needs["synapse memory"]

    @property
    def input_axons(self) -> int:
        """Elements of sources that it hears."""
        return self.needs["input axons"]

    @property
    def output_axons(self) -> int:
        """Pairs of its neurons and cores that they reach."""
        return self.needs["output axons"]

    def as_json(self) -> dict[str, Any]:
        """It as plain data."""
        return {
            "chip": self.chip,
            "tile": None if self.tile is None else list(self.tile),
            "core": self.core,
            "layer": self.layer,
            "blocks": [
                {"layer": layer, "block": [list(interval) for interval in block]}
                for layer, block in zip(self.layers, self.blocks)
            ],
            "neurons": self.neurons,
            "synapse_bytes": self.synapse_bytes,
            "input_axons": self.input_axons,
            "output_axons": self.output_axons,
        }


@dataclass(frozen=True)
class LayerCores:
    """The cores of one layer, some of which it may share with others.

    ``shape`` is the shape in which it is cut (its own, or the one in front of a reshape), ``block`` the largest block.
    Its blocks alone: ``neurons`` and ``synapse_bytes`` are sums, ``input_axons`` and ``output_axons`` the largest of
    any. ``bound`` is the limit that one of them comes nearest to, ``percent`` how near; None without limits.

    Where lists of synapses are known word by word: ``compartments`` are those of all cores, halos among them, ``halo``
    the axes that have one, and ``encodings`` how each set of weights is kept (:mod:`neurocompile.mapping.words`). A
    neuron takes ``compartments_per_neuron``.
    """

    layer: str
    shape: tuple[int, ...]
    block: tuple[int, ...]
    cores: int
    neurons: int
    synapse_bytes: int
    input_axons: int
    output_axons: int
    bound: Resource | None
    percent: float | None
    compartments: int = 0
    halo: tuple[bool, ...] = ()
    encodings: Mapping[str, str] = field(default_factory=dict)
    compartments_per_neuron: int = 1

    @property
    def beside(self) -> int:
        """The compartments of its halos."""
        return self.compartments - self.compartments_per_neuron * self.neurons


@dataclass(frozen=True)
class Fullest:
    """The core that comes nearest to a limit: ``percent`` of the resource is taken."""

    core: Core
    resource: Resource
    percent: float


@dataclass(frozen=True)
class Placed:
    """A network on the cores of as many chips as it takes.

    ``excesses`` are single neurons that no core holds, the worst of each layer and resource: with any, this is what the
    other limits ask for, and cannot be built. ``axons`` are those by which each source is heard, if the chip has
    several kinds: one for each neuron ("discrete"), or one for all channels at a place of a block; ``crossing`` of them
    lead from one chip to another, where that is counted. ``soft_resets`` are the layers whose neurons are made of two
    compartments. ``listed`` has for
    each layer that was cut into lists the core of each neuron and its slot there, ``[size]`` each.
    """

    target: str
    limits: Limits
    weight_bits: int
    host: tuple[str, ...]
    layers: tuple[LayerCores, ...]
    cores: tuple[Core, ...]
    excesses: tuple[Excess, ...] = ()
    axons: Mapping[str, AxonKind] = field(default_factory=dict)
    crossing: int = 0
    soft_resets: Mapping[str, SoftReset] = field(default_factory=dict)
    listed: Mapping[str, tuple[Array, Array]] = field(default_factory=dict, repr=False, compare=False)

    def of(self, layer: str) -> tuple[Array, Array]:
        """The core of each neuron of a layer (an index into ``cores``), and its slot there, ``[size]`` each."""
        if layer in self.listed:
            return self.listed[layer]
        core, _, slot = self._boxed(layer)
        return core, slot

    def blocks_of(self, layer: str) -> Array:
        """The block of each neuron of a layer that was cut into boxes, numbered over all cores, ``[size]``."""
        return self._boxed(layer)[1]

    def _boxed(self, layer: str) -> tuple[Array, Array, Array]:
        shape = next(each.shape for each in self.layers if each.layer == layer)
        numbers = np.arange(math.prod(shape)).reshape(shape)
        core, block, slot = np.zeros((3, numbers.size), np.int64)
        blocks = 0
        for number, each in enumerate(self.cores):
            first = 0
            for name, box in zip(each.layers, each.blocks):
                if name == layer:
                    own = numbers[tuple(slice(*interval) for interval in box)].ravel()
                    core[own], block[own], slot[own] = number, blocks, np.arange(first, first + len(own))
                first += math.prod(stop - start for start, stop in box)
                blocks += 1
        return core, block, slot

    @property
    def chips(self) -> int:
        """The least number of chips with so many cores."""
        return max((core.chip for core in self.cores), default=0) + 1

    @property
    def fullest(self) -> Fullest | None:
        """The core with the highest utilization of any resource, the first of equals; None without cores or limits."""
        bounds = bounds_of(self.limits, self.weight_bits)
        found = [nearest for core in self.cores if (nearest := nearest_limit(core, bounds))]
        return max(found, key=lambda nearest: nearest.percent, default=None)

    def problems(self, chips: int) -> list[Problem]:
        """Everything that keeps it from so many chips."""
        return [*map(self._excess, self.excesses), *self._too_many_cores(chips)]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data, the same for the same network."""
        full = self.fullest
        return {
            "target": self.target,
            "weight_bits": self.weight_bits,
            "chips": self.chips,
            "cores": len(self.cores),
            "host": list(self.host),
            "axons": dict(self.axons),
            "soft_resets": {name: each.as_json() for name, each in self.soft_resets.items()},
            "fullest": None if full is None else {**vars(full), "core": full.core.as_json()},
            "layers": [
                {**asdict(layer), "shape": list(layer.shape), "block": list(layer.block), "halo": list(layer.halo)}
                for layer in self.layers
            ],
            "excesses": [asdict(excess) for excess in self.excesses],
            "placement": [core.as_json() for core in self.cores],
        }

    def _excess(self, excess: Excess) -> Problem:
        what, fix = _TOO_LARGE[excess.resource]
        unit = "bytes" if excess.resource == "synapse memory" else excess.resource
        return Problem(what, excess.layer, f"{excess.needed} {unit}", f"{excess.held} {unit} a core", fix)

    def _too_many_cores(self, chips: int) -> list[Problem]:
        held = self.limits.cores
        if held is None or self.chips <= chips:
            return []
        limit = f"{held} a chip" + (f", {held * chips} on {chips} chips" if chips > 1 else "")
        many = f"use --chips {self.chips} (at least), a smaller network, or simulate --price-as {self.target}"
        what = f"{self.target} does not have so many cores"
        found = [Problem(what, "the network", f"{len(self.cores)} cores", limit, many)]
        for layer in self.layers:
            if layer.cores > held * chips:
                why = f"this layer alone takes more cores than that (it is bound by {layer.bound})"
                alone = f"use --chips {-(-layer.cores // held)} (at least) for this layer alone, or a smaller layer"
                found.append(Problem(why, layer.layer, f"{layer.cores} cores", limit, alone))
        return found


def layer_cores(
    layer: str, shape: tuple[int, ...], block: tuple[int, ...], parts: Sequence[Needs], bounds: Bounds,
    halo: tuple[bool, ...] = (), encodings: Mapping[str, str] | None = None, cores: int | None = None,
    compartments_per_neuron: int = 1,
) -> LayerCores:  # fmt: skip
    """What the blocks of one layer need together, each on a core of its own or on so many ``cores``."""
    found = (each for part in parts if (each := _nearest(part, bounds)))
    nearest = max(found, key=lambda each: each[0], default=None)
    return LayerCores(
        layer=layer,
        shape=shape,
        block=block,
        cores=len(parts) if cores is None else cores,
        neurons=sum(part["neurons"] for part in parts),
        synapse_bytes=sum(part["synapse memory"] for part in parts),
        input_axons=max(part["input axons"] for part in parts),
        output_axons=max(part["output axons"] for part in parts),
        bound=nearest[1] if nearest else None,
        percent=nearest[0] if nearest else None,
        compartments=sum(part.get("compartments", part["neurons"]) for part in parts),
        halo=halo,
        encodings=encodings or {},
        compartments_per_neuron=compartments_per_neuron,
    )


def nearest_limit(core: Core, bounds: Bounds) -> Fullest | None:
    """The resource of which a core takes the largest part."""
    found = _nearest(core.needs, bounds)
    return None if found is None else Fullest(core, found[1], found[0])


def _nearest(needs: Needs, bounds: Bounds) -> tuple[float, Resource] | None:
    parts = [(100 * need / bounds[name], name) for name, need in needs.items() if name in bounds]
    return max(parts, key=lambda part: part[0], default=None)
