"""Cutting into boxes: which neurons go to which core of a chip that stores kernels, and what each core then holds.

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

That is all that is counted where a chip's limits say no more. Where they say how lists of synapses lie in memory
(:mod:`neurocompile.mapping.words`), *synapse memory* is counted in whole words, blocks may have *compartments* beyond
their borders, all channels of a block at one place may share an axon of two slots (one in a message of 16 bits), and
an axon that leaves its chip takes a slot more.

A layer is cut into equal blocks (the last of an axis may be shorter): the fewest that keep every limit, then those with
the fewest input axons, then the least memory. Where output axons are limited the network is also cut with a price on
axons (a reader's input axons are output axons of those that it reads), and the plan with fewer cores in all is taken.
A limit that is not published does not bind. Cores are taken in order, layer after layer, along a snake through the
tiles of each chip (west to east, then east to west), so that layers that follow one another lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from neurocompile.ir.graph import Graph
from neurocompile.ir.placed import AxonKind, Core, LayerCores, Placed, Resource, bounds_of, layer_cores
from neurocompile.limits import Limits
from neurocompile.mapping.blocks import Axons, Cut, Silicon, cut_layers
from neurocompile.mapping.fields import Interval
from neurocompile.mapping.layers import Layer, layers_of
from neurocompile.mapping.placement import spread
from neurocompile.mapping.words import ENCODINGS, Format

__all__ = ["cut_boxes"]


def cut_boxes(
    graph: Graph, limits: Limits, target: str, *, weight_bits: int, host: frozenset[str] = frozenset(),
    placement: str = "snake",
) -> Placed:  # fmt: skip
    """Cut an integer graph in synaptic form into boxes, on as many chips as it takes.

    What no number of chips mends is in ``excesses`` of what is returned.

    Args:
        graph: ``Program.integer``.
        limits: that bind.
        target: the name of the chip, for those who read about it.
        weight_bits: bits of a stored weight.
        host: names of neurons, integrators or other nodes that are computed elsewhere: they take no core, and what they
            emit arrives over input axons.
        placement: of :data:`neurocompile.mapping.placement.PLACEMENTS`.

    Raises:
        DoesNotFit: if a layer's connections follow no axes and are too many to be listed.
        ValueError: if ``host`` names what the graph does not have.
    """
    unknown = sorted(name for name in host if name not in graph)
    if unknown:
        raise ValueError(f"not in the graph: {', '.join(unknown)}")
    bounds = bounds_of(limits, weight_bits)
    silicon = silicon_of(limits, weight_bits)
    network = layers_of(graph, host, silicon.format is not None)
    ways = [silicon]
    if silicon.format is not None:  # axons that groups of channels share lead to lists that are empty for the others
        apart = (True, False) if any(layer.grouped for layer in network) else (True,)
        ways = [replace(silicon, axons=_axons(network, limits, each)) for each in apart]
    plans = [(*cut_layers(network, bounds, way, limits.cores), way) for way in ways]
    cuts, excesses, silicon = min(plans, key=lambda plan: (len(plan[1]), sum(cut.cores for cut in plan[0])))
    places = iter(spread(sum(cut.cores for cut in cuts), limits, placement))
    cores: list[Core] = []
    layers: list[LayerCores] = []
    for cut in cuts:
        own = [Core(*next(places), (cut.layer.name,), needs, block) for block, needs in _blocks(cut)]
        cores += own
        encodings = _encodings(cut, silicon)
        layers.append(layer_cores(cut.layer.name, cut.layer.space, cut.block, own, bounds, cut.halo, encodings))
    kinds = _kinds(network, silicon.axons) if limits.population_atoms is not None else {}
    return Placed(target, limits, weight_bits, tuple(sorted(host)), tuple(layers), tuple(cores), tuple(excesses), kinds)


def _encodings(cut: Cut, silicon: Silicon) -> dict[str, str]:
    """How each set of weights is kept in the first block of a layer."""
    if silicon.format is None:
        return {}
    first = [along[:1] for along in cut.intervals]
    region = cut.layer.region(first, cut.halo)
    shared = silicon.axons.shared
    _, chosen = cut.layer.words(first, region, cut.halo, silicon.format, silicon.weight_bits, shared)
    return {each.name: ENCODINGS[int(kind.flat[0])] for each, kind in zip(cut.layer.lists, chosen)}


def _kinds(layers: Sequence[Layer], axons: Axons) -> dict[str, AxonKind]:
    names = dict.fromkeys(name for layer in layers for name in layer.sources)
    slots: dict[int, AxonKind] = {1: "pop16", 2: "pop32"}
    return {name: slots[axons.slots[name]] if name in axons.shared else "discrete" for name in names}


def silicon_of(limits: Limits, weight_bits: int) -> Silicon:
    """How a chip's cores keep synapses; word by word, if all of that is known."""
    told = (
        limits.list_word_bits, limits.entry_header_bits, limits.entry_synapses, limits.list_words,
        limits.base_compartments,
    )  # fmt: skip
    if any(each is None for each in told):
        return Silicon(weight_bits)
    format = Format(*(int(each) for each in told if each is not None))
    return Silicon(weight_bits, replace(format, delay_bits=(limits.delay or 0).bit_length()))


_SMALL_POPULATION, _SMALL_AXONS = 32, 1024
"""A message of 16 bits names one of so many neurons, and one of so many axons."""


def _axons(layers: Sequence[Layer], limits: Limits, apart: bool) -> Axons:
    """Which sources' neurons share axons: those with several channels at a place, all of which reach the same neurons.

    A shared axon takes two slots (a message of 32 bits), or one where all of its readers are full matrices of few
    inputs: then 16 bits name it. Channels of which groups reach neurons of their own have axons ``apart``, or not.
    """
    if limits.population_atoms is None:
        return Axons()
    channels: dict[str, int] = {}
    mixed: set[str] = set()
    dense: dict[str, bool] = {}
    spaces = {layer.name: layer.space for layer in layers}
    for layer in layers:
        mixed |= layer.mixed | (layer.grouped if apart else frozenset())
        for name, seen in layer.sources.items():
            channels[name] = (spaces.get(name) or seen.shape)[0]
            few = all(each.elements for each in layer.lists if each.source == name)
            places = layer.places[name].sources if name in layer.places else _SMALL_AXONS + 1
            dense[name] = dense.get(name, True) and few and places <= _SMALL_AXONS
    shared = frozenset(name for name, many in channels.items() if many > 1 and name not in mixed)
    slots = {name: 1 if dense[name] and channels[name] <= _SMALL_POPULATION else 2 for name in shared}
    return Axons(shared, slots, limits.population_atoms)


def _blocks(cut: Cut) -> Iterator[tuple[tuple[Interval, ...], dict[Resource, int]]]:
    """Each block of a cut, and what it needs."""
    columns: tuple[Resource, ...] = tuple(cut.needs)
    needs = np.stack([cut.needs[resource].reshape(-1) for resource in columns], axis=1).tolist()
    for block, need in zip(product(*cut.intervals), needs):
        yield block, dict(zip(columns, need))
