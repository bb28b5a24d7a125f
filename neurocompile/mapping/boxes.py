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

Neurons with a soft reset may be made of two compartments (:class:`neurocompile.ir.placed.SoftReset`). Each of them then
takes both, an axon to itself (an input axon and slots; one for all channels at a place where these share axons), and
its lists.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array, Scale
from neurocompile.ir.placed import AxonKind, Bounds, Core, Excess, Placed, SoftReset, bounds_of, layer_cores
from neurocompile.limits import Limits
from neurocompile.mapping.blocks import Known, cut_layers, cut_once
from neurocompile.mapping.chips import leaving, on_chips
from neurocompile.mapping.cuts import Axons, Cut, Silicon
from neurocompile.mapping.layers import Layer, layers_of
from neurocompile.mapping.packing import Piece, Profiles, packed, profiles_of
from neurocompile.mapping.placement import spread
from neurocompile.mapping.words import ENCODINGS, Format

__all__ = ["cut_boxes"]


def cut_boxes(
    graph: Graph, limits: Limits, target: str, *, weight_bits: int, host: frozenset[str] = frozenset(),
    placement: str = "snake", soft_resets: Mapping[str, SoftReset] | None = None,
    widths: Mapping[str, int] | None = None,
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
        soft_resets: the layers whose neurons are made of two compartments, where limits say how lists lie in memory.
        widths: bits of a stored weight of the layers that have others than ``weight_bits``.

    Raises:
        DoesNotFit: if a layer's connections follow no axes and are too many to be listed.
        ValueError: if ``host`` names what the graph does not have.
    """
    unknown = sorted(name for name in host if name not in graph)
    if unknown:
        raise ValueError(f"not in the graph: {', '.join(unknown)}")
    bounds = bounds_of(limits, weight_bits)
    silicon = replace(silicon_of(limits, weight_bits), widths=dict(widths or {}))
    network = layers_of(graph, host, silicon.format, soft_resets)
    ways = [silicon]
    if limits.population_atoms is not None and not limits.kernels_once:
        # Axons that groups of channels share lead to lists that are empty for the others.
        apart = (True, False) if any(layer.grouped for layer in network) else (True,)
        ways = [replace(silicon, axons=_axons(network, limits, each)) for each in apart]
    plans = []
    for way in ways:
        known: Known = {}
        plans.append((Plan(*cut_layers(network, bounds, way, limits.cores, known), way), known))
    plan, known = min(plans, key=lambda each: (len(each[0].excesses), each[0].cores))
    if limits.packing and not plan.excesses:
        plan = _packed(plan, network, bounds, limits, known, lambda cut: _profiles(graph, cut, plan.silicon))
    return _placed(plan, bounds, limits, target, placement, weight_bits, host, network)


@dataclass(frozen=True, eq=False)
class Plan:
    """A network in blocks, each on a core of its own, or ``shared``: for each core the numbers of its blocks."""

    cuts: Sequence[Cut]
    excesses: Sequence[Excess]
    silicon: Silicon
    shared: Sequence[Sequence[int]] | None = None

    @property
    def blocks(self) -> int:
        """How many."""
        return sum(cut.cores for cut in self.cuts)

    @property
    def cores(self) -> int:
        """How many."""
        return self.blocks if self.shared is None else len(self.shared)

    @property
    def core(self) -> Array:
        """That of each block."""
        if self.shared is None:
            return np.arange(self.blocks)
        found = np.zeros(self.blocks, np.int64)
        for number, own in enumerate(self.shared):
            found[list(own)] = number
        return found


_FINER = (2, 3, 4)
"""Blocks that fill a core by so small a part are easier to pack."""


def _packed(
    plan: Plan, network: Sequence[Layer], bounds: Bounds, limits: Limits, known: Known,
    profiles: Callable[[Cut], Profiles],
) -> Plan:  # fmt: skip
    """The same network on fewer cores, if blocks of several layers fit together; also if they are cut finer for it."""
    best, compartments = plan, limits.neurons_per_core
    if compartments is None:  # how wide indices are is not known
        return plan
    for part in (1, *_FINER):
        if part > 1 and limits.cores is not None and plan.cores > limits.cores:
            break  # of a network that is larger than a chip, most cores are full
        cuts: Sequence[Cut] = plan.cuts
        if part > 1:
            finer = {resource: bound // part for resource, bound in bounds.items()}
            cuts, excesses = cut_once(network, finer, plan.silicon, known)
            if excesses:
                continue
        shared = [cut.in_shared_cores(plan.silicon, compartments) for cut in cuts]
        pieces = []
        for cut in shared:
            own = profiles(cut)
            parts = ([need / bounds[name] for name, need in needs.items() if name in bounds] for _, needs in cut.each())
            pieces += [Piece(np.array(each), own) for each in parts]
        together = packed(pieces, limits)
        found = replace(plan, cuts=_where_shared(cuts, shared, together), shared=together)
        if (found.cores, found.blocks) < (best.cores, best.blocks) and _slots_are_left(found, bounds, limits):
            best = found
        if best.cores <= _least(plan, bounds):
            break
    return best


def _least(plan: Plan, bounds: Bounds) -> int:
    """The cores that its blocks fill, if they could be joined without loss."""
    return max(-(-sum(int(cut.needs[name].sum()) for cut in plan.cuts) // bound) for name, bound in bounds.items())


def _where_shared(alone: Sequence[Cut], together: Sequence[Cut], shared: Sequence[Sequence[int]]) -> list[Cut]:
    """The cuts with what blocks need in the cores that they share, or have for themselves."""
    own = {number for core in shared if len(core) == 1 for number in core}
    found, first = [], 0
    for one, other in zip(alone, together):
        single = np.isin(np.arange(first, first + one.cores), list(own))
        needs = {
            name: np.where(single.reshape(need.shape), need, other.needs[name]) for name, need in one.needs.items()
        }
        found.append(replace(one, needs=needs, index_bits=None if single[0] else other.index_bits))
        first += one.cores
    return found


def _row(plan: Plan, bounds: Bounds, limits: Limits) -> tuple[Array, list[Array]]:
    """The number of each core in the row from which chips take them, and what axons of each block leave its chip.

    Of the rows in which all of these have their slots it is the one with the fewest; cores that blocks share stay in
    the order of their first blocks.
    """
    axons, held = plan.silicon.axons, bounds.get("output axons")
    if plan.shared is not None:
        return np.arange(plan.cores), leaving(plan.cuts, axons, plan.core // (limits.cores or plan.cores))
    rows = on_chips(plan.cuts, axons, limits.cores)
    lost = {excess.layer for excess in plan.excesses if excess.resource == "output axons"}
    for number, more in rows:
        needed = [
            cut.needs["output axons"] + plan.silicon.leaving * each
            for cut, each in zip(plan.cuts, more)
            if cut.layer.name not in lost
        ]
        if held is None or all((each <= held).all() for each in needed):
            return number, more
    return next(row for row in rows if (row[0] == np.arange(plan.cores)).all())


def _slots_are_left(plan: Plan, bounds: Bounds, limits: Limits) -> bool:
    """Whether there are slots for the axons that leave their chip."""
    if limits.cores is None or "output axons" not in bounds or plan.cores <= limits.cores:
        return True
    _, more = _row(plan, bounds, limits)
    needs = np.concatenate([cut.needs["output axons"].reshape(-1) for cut in plan.cuts])
    slots = needs + plan.silicon.leaving * np.concatenate([each.reshape(-1) for each in more])
    return bool((np.bincount(plan.core, slots, plan.cores) <= bounds["output axons"]).all())


def _placed(
    plan: Plan, bounds: Bounds, limits: Limits, target: str, placement: str, weight_bits: int, host: frozenset[str],
    network: Sequence[Layer],
) -> Placed:  # fmt: skip
    """The cores of a plan at their places."""
    silicon, cuts = plan.silicon, list(plan.cuts)
    row, more = _row(plan, bounds, limits)
    crossing = int(sum(each.sum() for each in more))
    cuts = [cut.with_slots(silicon.leaving * each) for cut, each in zip(cuts, more)]
    order = spread(plan.cores, limits, placement)
    parts = [(cut.layer.name, block, needs) for cut in cuts for block, needs in cut.each()]
    shared = [[number] for number in range(len(parts))] if plan.shared is None else plan.shared
    cores = []
    for own, number in zip(shared, row.tolist()):
        here, (chip, tile, core) = [parts[block] for block in own], order[number]
        needs = {name: sum(each[name] for _, _, each in here) for name in here[0][2]}
        cores.append(
            Core(chip, tile, core, tuple(layer for layer, _, _ in here), needs, tuple(block for _, block, _ in here))
        )
    layers, first = [], 0
    for cut in cuts:
        needed = [needs for _, _, needs in parts[first : first + cut.cores]]
        held = len(np.unique(plan.core[first : first + cut.cores]))
        how = _encodings(cut, silicon)
        layer, each = cut.layer, cut.layer.compartments
        layers.append(layer_cores(layer.name, layer.space, cut.block, needed, bounds, cut.halo, how, held, each))
        first += cut.cores
    kinds = _kinds(network, silicon.axons) if limits.population_atoms is not None else {}
    return Placed(
        target, limits, weight_bits, tuple(sorted(host)), tuple(layers), tuple(cores), tuple(plan.excesses), kinds,
        crossing=crossing, soft_resets={each.name: each.soft_reset for each in network if each.soft_reset},
    )  # fmt: skip


def _profiles(graph: Graph, cut: Cut, silicon: Silicon) -> Profiles:
    """What a core has to have once for the blocks of a layer.

    Sets of weights take one format if they are kept alike, in one width, with the same exponent: the least that weights
    fit with.
    """
    encodings, bits = _encodings(cut, silicon), silicon.bits_of(cut.layer.name)
    formats: set[Hashable] = set()
    synapses = form_of(graph).layers[cut.layer.name].synapses
    waits = {each.name: each.delayed for each in cut.layer.lists}
    for synapse in synapses:
        weight = synapse.op.scale if isinstance(synapse.op, Scale) else synapse.op.weight
        encoding = encodings.get(synapse.name)
        if encoding in (None, "run-length") or not np.issubdtype(weight.dtype, np.integer):
            formats.add(synapse.name)
        else:
            exponent = max(0, int(np.abs(weight).max(initial=0)).bit_length() - (bits - 1))
            formats.add((encoding, bits, exponent, waits.get(synapse.name, False), cut.layer.compartments))
    return profiles_of(graph[cut.layer.name].op, frozenset(formats), cut.layer.soft_reset)


def _encodings(cut: Cut, silicon: Silicon) -> dict[str, str]:
    """How each set of weights is kept in the first block of a layer."""
    if silicon.format is None:
        return {}
    first = [along[:1] for along in cut.intervals]
    region = cut.layer.region(first, cut.halo)
    shared = silicon.axons.shared
    bits = silicon.format.index_bits if cut.index_bits is None else cut.index_bits
    format = replace(silicon.format, index_bits=bits)
    _, chosen = cut.layer.words(first, region, cut.halo, format, silicon.bits_of(cut.layer.name), shared)
    return {each.name: ENCODINGS[int(kind.flat[0])] for each, kind in zip(cut.layer.lists, chosen)}


def _kinds(layers: Sequence[Layer], axons: Axons) -> dict[str, AxonKind]:
    names = dict.fromkeys(name for layer in layers for name in layer.sources)
    slots: dict[int, AxonKind] = {1: "pop16", 2: "pop32"}
    return {name: slots[axons.slots[name]] if name in axons.shared else "discrete" for name in names}


def silicon_of(limits: Limits, weight_bits: int) -> Silicon:
    """How a chip's cores keep synapses; word by word, if all of that is known."""
    word, header, entry = limits.list_word_bits, limits.entry_header_bits, limits.entry_synapses
    if word is None or header is None or entry is None:
        return Silicon(weight_bits)
    bounds = {"list_words": limits.list_words, "base": limits.base_compartments}
    format = Format(
        word, header, entry, **{name: most for name, most in bounds.items() if most is not None},
        delay_bits=(limits.delay or 0).bit_length(), index_bits=limits.index_bits, once=limits.kernels_once,
    )  # fmt: skip
    return Silicon(weight_bits, format, halos=limits.halos and not format.once, leaving=limits.leaving_slots or 0)


_SMALL_POPULATION, _SMALL_AXONS = 32, 1024
"""A message of 16 bits names one of so many neurons, and one of so many axons."""


def _axons(layers: Sequence[Layer], limits: Limits, apart: bool) -> Axons:
    """Which sources' neurons share axons: those with several channels at a place, all of which reach the same neurons.

    A shared axon takes two slots (a message of 32 bits), or one where all of its readers are full matrices of few
    inputs: then 16 bits name it. Channels of which groups reach neurons of their own have axons ``apart``, or not.
    Neurons with a soft reset reach places of their own layer, too, which 16 bits do not name.
    """
    if limits.population_atoms is None:
        return Axons()
    channels: dict[str, int] = {}
    soft = {layer.name for layer in layers if layer.soft_reset}
    mixed: set[str] = set()
    dense: dict[str, bool] = {}
    spaces = {layer.name: layer.space for layer in layers}
    for layer in layers:
        mixed |= layer.mixed | (layer.grouped if apart else frozenset())
        for name, seen in layer.sources.items():
            channels[name] = (spaces.get(name) or seen.shape)[0]
            few = all(each.elements for each in layer.lists if each.source == name)
            places = layer.places[name].sources if name in layer.places else _SMALL_AXONS + 1
            dense[name] = dense.get(name, name not in soft) and few and places <= _SMALL_AXONS
    shared = frozenset(name for name, many in channels.items() if many > 1 and name not in mixed)
    slots = {name: 1 if dense[name] and channels[name] <= _SMALL_POPULATION else 2 for name in shared}
    return Axons(shared, slots, limits.population_atoms)
