"""Which neurons go to which core of a chip that has cores, and what each core then holds.

The resource model. Each core holds a block of one layer: a box of its channels, rows and columns. It needs

- *neurons*: one compartment for each neuron or integrator of the block.
- *input axons*: one for each element of a source (a neuron, wherever it is, or an input) that has at least one stored
  synapse, zero weights included, into the block. An element that reaches the block in several ways, over a delay or
  through a second layer of weights, is one. Pools, sums and delays of spikes have no compartments: an element of a pool
  stands for all neurons of its window. Name a node in ``host`` to have its elements arrive as they are.
- *output axons*: one for each pair of a neuron of the block and a core that it reaches, its own included. Readers are
  therefore cut first. Spikes that only the host reads are not counted.
- *synapse memory*: each entry takes the weight's bits and the index of its neuron, ``ceil(log2(neurons of the core))``
  bits. What axons cost beside their entries is not counted.

  - A convolution stores its kernel once for each distinct pattern of taps, as population axons share it. Along one axis
    a source position meets, within the block, a set of taps (all of them inside, fewer at a border, every other one
    under a stride); equal sets are stored once. The entries are the sum over the patterns of rows and of columns of
    their taps, times the block's output channels, times the input channels of their group. Transposed convolutions
    likewise.
  - A scale (one weight for each event) stores one entry for each channel where its weight is the same all over the
    channel, else one for each neuron.
  - A matrix shares nothing: one entry for each stored synapse. If it stores all its synapses, and the neurons that it
    feeds are a run, an axon's entries are a run too and need no index.
  - A convolution whose outputs are wired to the block along no axes shares nothing.

A layer is cut into equal blocks (the last of an axis may be shorter): the fewest that keep every limit, then those with
the fewest input axons, then the least memory. Where output axons are limited the network is also cut with a price on
axons (a reader's input axons are output axons of those that it reads), and the plan with fewer cores in all is taken.
A limit that is not published does not bind. Cores are taken in order, layer after layer, along a snake through the
tiles of each chip (west to east, then east to west), so that layers that follow one another lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.graph import Graph
from neurocompile.mapping.blocks import Bounds, Cut, Excess, Resource, cut_layers
from neurocompile.mapping.layers import layers_of
from neurocompile.targets import Limits, Target

__all__ = ["Core", "Fullest", "LayerCores", "Mapping", "map_to_cores", "plan_cores"]

# What is wrong with a neuron that is too large, and what to do.
_TOO_LARGE: dict[Resource, tuple[str, str]] = {
    "neurons": ("a core holds no neuron", "use another target"),
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


@dataclass(frozen=True)
class Core:
    """One core in use: where it is, which neurons it holds, and what they need.

    ``chip`` counts from 0, ``tile`` is (steps east, steps south) and ``core`` the number in the tile; where tiles are
    not published there is no tile and ``core`` is the number on the chip. ``block`` has (start, stop) for each axis of
    the layer's :attr:`LayerCores.shape`.
    """

    chip: int
    tile: tuple[int, int] | None
    core: int
    layer: str
    block: tuple[tuple[int, int], ...]
    neurons: int
    synapse_bytes: int
    input_axons: int
    output_axons: int

    def needs(self) -> dict[Resource, int]:
        """What it needs of each resource."""
        return {
            "neurons": self.neurons,
            "synapse memory": self.synapse_bytes,
            "input axons": self.input_axons,
            "output axons": self.output_axons,
        }


@dataclass(frozen=True)
class LayerCores:
    """The cores of one layer.

    ``shape`` is the shape in which it is cut (its own, or the one in front of a reshape), ``block`` the largest block.
    ``neurons`` and ``synapse_bytes`` are sums over its cores, ``input_axons`` and ``output_axons`` the largest of any.
    ``bound`` is the limit that one of its cores comes nearest to, ``percent`` how near; None without limits.
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


@dataclass(frozen=True)
class Fullest:
    """The core that comes nearest to a limit: ``percent`` of the resource is taken."""

    core: Core
    resource: Resource
    percent: float


@dataclass(frozen=True)
class Mapping:
    """A network on the cores of as many chips as it takes.

    ``excesses`` are single neurons that no core holds, the worst of each layer and resource: with any, the mapping is
    what the other limits ask for, and cannot be built.
    """

    target: str
    limits: Limits
    weight_bits: int
    host: tuple[str, ...]
    layers: tuple[LayerCores, ...]
    cores: tuple[Core, ...]
    excesses: tuple[Excess, ...]

    @property
    def chips(self) -> int:
        """The least number of chips with so many cores."""
        return max((core.chip for core in self.cores), default=0) + 1

    @property
    def fullest(self) -> Fullest | None:
        """The core with the highest utilization of any resource, the first of equals; None without cores or limits."""
        return max(
            (found for core in self.cores if (found := _nearest(core, _bounds(self.limits)))),
            key=lambda found: found.percent,
            default=None,
        )

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
            "fullest": None if full is None else {**asdict(full), "core": _core_json(full.core)},
            "layers": [
                {**asdict(layer), "shape": list(layer.shape), "block": list(layer.block)} for layer in self.layers
            ],
            "excesses": [asdict(excess) for excess in self.excesses],
            "placement": [_core_json(core) for core in self.cores],
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


def map_to_cores(
    graph: Graph, target: Target, *, weight_bits: int, chips: int = 1, host: frozenset[str] = frozenset()
) -> Mapping:
    """Map an integer graph in synaptic form to the cores of so many chips.

    Args:
        graph: ``Program.integer``.
        target: whose limits bind.
        weight_bits: bits of a stored weight.
        chips: how many chips there are.
        host: names of neurons, integrators or other nodes that are computed elsewhere: they take no core, and what they
            emit arrives over input axons.

    Raises:
        DoesNotFit: with every neuron that no core holds (the worst of each layer and limit), and the cores missing.
    """
    mapping = plan_cores(graph, target, weight_bits=weight_bits, host=host)
    problems = mapping.problems(chips)
    if problems:
        raise DoesNotFit(problems)
    return mapping


def plan_cores(graph: Graph, target: Target, *, weight_bits: int, host: frozenset[str] = frozenset()) -> Mapping:
    """As :func:`map_to_cores` on as many chips as it takes; what no number of chips mends is in ``excesses``.

    Raises:
        DoesNotFit: if a layer's connections follow no axes and are too many to be listed.
        ValueError: if ``host`` names what the graph does not have.
    """
    unknown = sorted(name for name in host if name not in graph)
    if unknown:
        raise ValueError(f"not in the graph: {', '.join(unknown)}")
    bounds = _bounds(target.limits)
    cuts, excesses = cut_layers(layers_of(graph, host), bounds, weight_bits)
    cores: list[Core] = []
    layers: list[LayerCores] = []
    for cut in cuts:
        own = list(_cores(cut, len(cores), target.limits))
        cores += own
        layers.append(_layer(cut, own, bounds))
    return Mapping(
        target.name, target.limits, weight_bits, tuple(sorted(host)), tuple(layers), tuple(cores), tuple(excesses)
    )


def _bounds(limits: Limits) -> Bounds:
    """The published limits of one core."""
    held: dict[Resource, int | None] = {
        "neurons": limits.neurons_per_core,
        "synapse memory": limits.synapse_bytes_per_core,
        "input axons": limits.input_axons_per_core,
        "output axons": limits.output_axons_per_core,
    }
    return {resource: limit for resource, limit in held.items() if limit is not None}


def _cores(cut: Cut, first: int, limits: Limits) -> Iterable[Core]:
    columns: tuple[Resource, ...] = ("neurons", "synapse memory", "input axons", "output axons")
    needs = np.stack([cut.needs[resource].reshape(-1) for resource in columns], axis=1).tolist()
    for number, (block, need) in enumerate(zip(product(*cut.intervals), needs), start=first):
        yield Core(*_place(number, limits), cut.layer.name, block, *need)


def _place(number: int, limits: Limits) -> tuple[int, tuple[int, int] | None, int]:
    """Chip, tile and core in it of the network's core of this number."""
    chip, here = divmod(number, limits.cores) if limits.cores is not None else (0, number)
    if limits.mesh is None or limits.cores_per_tile is None:
        return chip, None, here
    tile, core = divmod(here, limits.cores_per_tile)
    row, along = divmod(tile, limits.mesh[0])
    return chip, (along if row % 2 == 0 else limits.mesh[0] - 1 - along, row), core


def _layer(cut: Cut, cores: list[Core], bounds: Bounds) -> LayerCores:
    nearest = max((_nearest(core, bounds) for core in cores), key=lambda found: found.percent if found else 0.0)
    return LayerCores(
        layer=cut.layer.name,
        shape=cut.layer.space,
        block=cut.block,
        cores=len(cores),
        neurons=sum(core.neurons for core in cores),
        synapse_bytes=sum(core.synapse_bytes for core in cores),
        input_axons=max(core.input_axons for core in cores),
        output_axons=max(core.output_axons for core in cores),
        bound=nearest.resource if nearest else None,
        percent=nearest.percent if nearest else None,
    )


def _nearest(core: Core, bounds: Bounds) -> Fullest | None:
    """The resource of which a core takes the largest part."""
    parts = [Fullest(core, name, 100 * need / bounds[name]) for name, need in core.needs().items() if name in bounds]
    return max(parts, key=lambda found: found.percent, default=None)


def _core_json(core: Core) -> dict[str, Any]:
    tile = None if core.tile is None else list(core.tile)
    return {**asdict(core), "tile": tile, "block": [list(interval) for interval in core.block]}
