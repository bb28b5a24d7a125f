"""Cutting into lists: which neurons go to which core, one population after the other, synapse by synapse.

A core updates ``lanes`` neurons at a time, a *group*, and a word of its synapse memory holds the weights of one axon
for one group. A limit that is None binds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.ops import Array
from neurocompile.ir.placed import Core, Placed, Resource, bounds_of, layer_cores
from neurocompile.limits import Limits
from neurocompile.mapping.netlist import Netlist, Population
from neurocompile.mapping.placement import Place

__all__ = ["Partition", "Routes", "partition_balanced", "partition_in_order", "placed_lists", "routes_of"]


@dataclass(frozen=True)
class Partition:
    """Where each neuron is: ``core[population][neuron]``, and ``slot``, its number in the core.

    ``groups[core]`` are the groups in use; ``owner[core]`` names the population of each. A group has neurons of one
    population only; its last may be short. ``axons`` and ``words`` are the input axons and the words of synapse memory
    of each core.
    """

    limits: Limits
    core: Mapping[str, Array]
    slot: Mapping[str, Array]
    groups: Array
    owner: tuple[tuple[str, ...], ...]
    axons: Array
    words: Array

    @property
    def cores(self) -> int:
        """How many."""
        return len(self.groups)


@dataclass(frozen=True, eq=False)
class Routes:
    """Who sends to which axons, and what an axon meets.

    Neuron n of a population (inputs, too) sends to the axons from ``first[population][n]`` to
    ``first[population][n + 1]`` of ``entry_core`` and ``entry_axon``. Axon a of core c is row ``axon_first[c] + a`` of
    ``axon_source`` (the number of its population in the netlist) and ``axon_neuron``, and has the words from
    ``word_first`` of this row to that of the next: ``word_group`` and ``word_weights[word, lane]``.
    """

    first: Mapping[str, Array]
    entry_core: Array
    entry_axon: Array
    axon_first: Array
    axon_source: Array
    axon_neuron: Array
    word_first: Array
    word_group: Array
    word_weights: Array


def partition_in_order(netlist: Netlist, limits: Limits) -> Partition:
    """Fill one core after the other, in the order of the populations, as far as all limits allow.

    Within a population neurons follow one another place by place, the channels of a place side by side, so that the
    synapses of a convolution's axon lie in few words.

    Raises:
        DoesNotFit: for groups of neurons that no core holds.
    """
    return _within_fanout(netlist, _Groups(netlist, limits))


def partition_balanced(netlist: Netlist, limits: Limits, cores: int, fired: Mapping[str, Array]) -> Partition:
    """The same order, cut so that the busiest core reads as few words as so many cores allow.

    Args:
        netlist: to be cut.
        limits: of a core.
        cores: how many there are, at least as many as :func:`partition_in_order` takes.
        fired: how often each neuron of each population fired, ``[size]``, inputs included.

    Raises:
        DoesNotFit: for groups of neurons that no core holds.
    """
    groups = _Groups(netlist, limits)
    best = _within_fanout(netlist, groups)
    load = groups.load(fired)
    low, high = (
        max(float(each.max(initial=0)) for each in load.values()),
        float(sum(each.sum() for each in load.values())),
    )
    while high - low > max(1.0, 0.01 * low):
        middle = (low + high) / 2
        found = _within_fanout(netlist, groups, load, middle)
        if found.cores > cores:
            low = middle
        else:
            best, high = found, middle
    return best


# More than any core has: what a limit is that binds nothing.
_UNBOUND = 1 << 40


def _most(limit: int | None) -> int:
    return _UNBOUND if limit is None else limit


def _within_fanout(
    netlist: Netlist, groups: _Groups, load: Mapping[str, Array] | None = None, most_load: float = np.inf
) -> Partition:
    """Cores filled with fewer neurons of the populations that would take more fan-out entries than a core has."""
    most = {population.name: groups.most for population in _on_chip(netlist)}
    while True:
        found = groups.filled(most, load, most_load)
        crowded = _crowded(netlist, found)
        if not crowded:
            return found
        for name in crowded:
            if most[name] == 1:
                what = "its neurons reach more cores than a core has fan-out entries"
                fix = "use more fan-out entries, or smaller layers behind this one"
                raise DoesNotFit(Problem(what, name, limit=f"{groups.limits.output_axons_per_core} entries", fix=fix))
            most[name] = -(-most[name] // 2)


def _on_chip(netlist: Netlist) -> list[Population]:
    return [population for population in netlist.populations.values() if population.op is not None]


def _order(population: Population) -> Array:
    """The number of each neuron on the chip: place by place, channels side by side."""
    numbers = np.arange(population.size).reshape(population.shape)
    order = np.moveaxis(numbers, 0, -1).ravel()
    rank = np.empty(population.size, np.int64)
    rank[order] = np.arange(population.size)
    return rank


class _Groups:
    """All groups of neurons in their order, with what each hears.

    ``sources`` has for each population and each of its sources a tuple of source, ``start[groups + 1]``, ``pre``,
    ``words[groups]``: the neurons that each group hears, and how many words that takes.
    """

    def __init__(self, netlist: Netlist, limits: Limits) -> None:
        self.netlist, self.limits = netlist, limits
        self.lanes = limits.lanes or 1
        self.most = _most(limits.neurons_per_core) // self.lanes
        self.rank = {population.name: _order(population) for population in _on_chip(netlist)}
        self.sources: dict[str, list[tuple[str, Array, Array, Array]]] = {name: [] for name in netlist.populations}
        for name, population in netlist.populations.items():
            groups = -(-population.size // self.lanes)
            heard: dict[str, list[Array]] = {}
            for projection in netlist.projections:
                if projection.target == name:
                    size = netlist.populations[projection.source].size
                    group = self.rank[name][projection.post] // self.lanes
                    heard.setdefault(projection.source, []).append(np.unique(group * size + projection.pre))
            for source, parts in heard.items():
                size = netlist.populations[source].size
                words = np.bincount(np.concatenate(parts) // size, minlength=groups)
                pairs = np.unique(np.concatenate(parts))
                start = np.searchsorted(pairs // size, np.arange(groups + 1))
                self.sources[name].append((source, start, pairs % size, words))

    def load(self, fired: Mapping[str, Array]) -> dict[str, Array]:
        """How many words each group has read when neurons have fired so often, ``[groups]`` by population."""
        found = {}
        for name in self.rank:
            total = np.zeros(-(-self.netlist.populations[name].size // self.lanes))
            for source, start, pre, _ in self.sources[name]:
                sums = np.concatenate([[0], np.cumsum(fired[source][pre])])
                total += sums[start[1:]] - sums[start[:-1]]
            found[name] = total
        return found

    def filled(
        self, most: Mapping[str, int], load: Mapping[str, Array] | None = None, most_load: float = np.inf
    ) -> Partition:
        """One core after the other, with at most so many groups of a population, and so much load."""
        lanes, most_axons = self.lanes, _most(self.limits.input_axons_per_core)
        most_words = _most(self.limits.synapse_words_per_core)
        seen = {name: np.full(population.size, -1) for name, population in self.netlist.populations.items()}
        owner: list[list[str]] = []
        held: list[tuple[int, int]] = []  # axons and words of each core
        axons = words = 0
        busy = 0.0
        core: dict[str, Array] = {}
        slot: dict[str, Array] = {}
        for name, rank in self.rank.items():
            groups = -(-len(rank) // lanes)
            of_group, at = np.empty(groups, np.int64), np.empty(groups, np.int64)
            own = 0
            for group in range(groups):
                heard = [(source, pre[start[group] : start[group + 1]]) for source, start, pre, _ in self.sources[name]]
                more_words = sum(int(each[3][group]) for each in self.sources[name])
                more_busy = 0.0 if load is None else float(load[name][group])
                number = len(owner) - 1
                new = sum(int((seen[source][pre] != number).sum()) for source, pre in heard)
                full = not owner or len(owner[-1]) == self.most or own == most[name]
                full = full or words + more_words > most_words or axons + new > most_axons
                if full or busy + more_busy > most_load:
                    owner.append([])
                    held.append((0, 0))
                    number, axons, words, own, busy = len(owner) - 1, 0, 0, 0, 0.0
                    new = sum(len(pre) for _, pre in heard)
                    _check_alone(name, new, more_words, self.limits)
                for source, pre in heard:
                    seen[source][pre] = number
                axons, words, own, busy = axons + new, words + more_words, own + 1, busy + more_busy
                held[-1] = axons, words
                of_group[group], at[group] = number, len(owner[-1])
                owner[-1].append(name)
            where = rank // lanes
            core[name] = of_group[where]
            slot[name] = at[where] * lanes + rank % lanes
        groups_of, of_axons = np.array([len(each) for each in owner]), np.array(held, np.int64).reshape(-1, 2)
        return Partition(self.limits, core, slot, groups_of, tuple(map(tuple, owner)), *of_axons.T)


def _check_alone(name: str, axons: int, words: int, limits: Limits) -> None:
    pairs = (
        ("input axons", axons, _most(limits.input_axons_per_core)),
        ("synapse words", words, _most(limits.synapse_words_per_core)),
    )
    problems = [
        Problem(f"{limits.lanes or 1} of its neurons need more {what} than a core has", name, str(needed), str(held),
                "use a smaller kernel or fewer channels in front of this layer, or larger cores")
        for what, needed, held in pairs
        if needed > held
    ]  # fmt: skip
    if problems:
        raise DoesNotFit(problems)


def _crowded(netlist: Netlist, partition: Partition) -> list[str]:
    """The populations that share a core with more fan-out entries than it has."""
    full = np.flatnonzero(_entries(netlist, partition) > _most(partition.limits.output_axons_per_core))
    return sorted({name for core in full for name in partition.owner[core]})


def _entries(netlist: Netlist, partition: Partition) -> Array:
    """The fan-out entries of each core: pairs of a neuron and a core that it reaches, or the host."""
    entries = np.zeros(partition.cores, np.int64)
    for name, pairs in _reached(netlist, partition).items():
        if name in partition.core:
            np.add.at(entries, partition.core[name][pairs // (partition.cores + 1)], 1)
    return entries


def _reached(netlist: Netlist, partition: Partition) -> dict[str, Array]:
    """For each population the pairs of a neuron and a core that it reaches, as neuron * (cores + 1) + core, sorted."""
    found: dict[str, list[Array]] = {name: [] for name in netlist.populations}
    places = partition.cores + 1
    for projection in netlist.projections:
        core = partition.core[projection.target][projection.post]
        found[projection.source].append(np.unique(projection.pre * places + core))
    for name in netlist.to_host:
        found[name].append(np.arange(netlist.populations[name].size) * places + partition.cores)
    empty = np.zeros(0, np.int64)
    return {name: np.unique(np.concatenate([*parts, empty])) for name, parts in found.items()}


def placed_lists(
    netlist: Netlist, partition: Partition, place: Sequence[Place], target: str, weight_bits: int
) -> Placed:
    """A partition on the cores of a chip.

    Args:
        netlist: that was cut.
        partition: of it.
        place: of each core.
        target: the name of the chip.
        weight_bits: bits of a stored weight.
    """
    limits = partition.limits
    lanes, entries = limits.lanes or 1, _entries(netlist, partition)
    neurons = np.zeros(partition.cores, np.int64)
    for core in partition.core.values():
        neurons += np.bincount(core, minlength=partition.cores)
    cores = []
    for number, at in enumerate(place):
        needs: dict[Resource, int] = {
            "neurons": int(neurons[number]),
            "synapse memory": int(partition.words[number]) * lanes * weight_bits // 8,
            "input axons": int(partition.axons[number]),
            "output axons": int(entries[number]),
        }
        cores.append(Core(*at, tuple(dict.fromkeys(partition.owner[number])), needs))
    bounds, layers = bounds_of(limits, weight_bits), []
    for name, core in partition.core.items():
        own, held = np.unique(core, return_counts=True)
        found = layer_cores(
            name, netlist.populations[name].shape, (int(held.max()),), [cores[k].needs for k in own], bounds
        )
        layers.append(replace(found, neurons=len(core)))
    listed = {name: (core, partition.slot[name]) for name, core in partition.core.items()}
    return Placed(target, limits, weight_bits, (), tuple(layers), tuple(cores), listed=listed)


def routes_of(netlist: Netlist, partition: Partition) -> Routes:
    """Number the axons of each core by their sources, and collect their words."""
    places = partition.cores + 1
    reached = _reached(netlist, partition)
    pairs = np.concatenate(list(reached.values()))
    counts = [len(each) for each in reached.values()]
    core, neuron, source = pairs % places, pairs // places, np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((neuron, source, core))
    row = np.empty(len(order), np.int64)
    row[order] = np.arange(len(order))
    axon_first = np.searchsorted(core[order], np.arange(places + 1))
    starts = dict(zip(reached, np.cumsum([0, *counts]).tolist()))
    first = {
        name: starts[name] + np.searchsorted(each // places, np.arange(netlist.populations[name].size + 1))
        for name, each in reached.items()
    }
    word_row, word_group, word_weights = _words(netlist, partition, reached, row, starts)
    word_first = np.searchsorted(word_row, np.arange(len(row) + 1))
    return Routes(
        first, core, row - axon_first[core], axon_first, source[order], neuron[order],
        word_first, word_group, word_weights,
    )  # fmt: skip


def _words(
    netlist: Netlist, partition: Partition, reached: Mapping[str, Array], row: Array, starts: Mapping[str, int]
) -> tuple[Array, Array, Array]:
    """The words of all axons, sorted by axon, then by group: row of the axon, group, weights."""
    lanes, places = partition.limits.lanes or 1, partition.cores + 1
    groups = int(partition.groups.max(initial=1))
    none: tuple[Any, ...] = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, lanes), np.int16))
    parts = [none]
    for projection in netlist.projections:
        core = partition.core[projection.target][projection.post]
        slot = partition.slot[projection.target][projection.post]
        at = starts[projection.source] + np.searchsorted(reached[projection.source], projection.pre * places + core)
        keys, which = np.unique(row[at] * groups + slot // lanes, return_inverse=True)
        weights = np.zeros((len(keys), lanes), np.int16)
        weights[which.ravel(), slot % lanes] = projection.weight
        parts.append((keys // groups, keys % groups, weights))
    rows, of_group, weights = (np.concatenate(each) for each in zip(*parts))
    order = np.lexsort((of_group, rows))
    return rows[order], of_group[order], weights[order]
