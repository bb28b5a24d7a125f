"""Cutting into lists: which neurons go to which core, one population after the other, synapse by synapse.

A core updates ``lanes`` neurons at a time, a *group*, and a word of its synapse memory holds weights for one group. An
axon is a source and a population that it reaches on the core, and has a run of words; what axons have in common is
stored once a core (:mod:`neurocompile.mapping.shared`). A limit that is None binds nothing.
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
from neurocompile.mapping.shared import Meetings, SharedLists, shared_lists

__all__ = ["Partition", "Routes", "partition_balanced", "partition_in_order", "placed_lists", "routes_of"]


@dataclass(frozen=True)
class Partition:
    """Where each neuron is: ``core[population][neuron]``, and ``slot``, its number in the core.

    ``groups[core]`` are the groups in use; ``owner[core]`` names the population of each. A group has neurons of one
    population only; its last may be short. Group g of a population is group ``group_at[population][g]`` of core
    ``group_core[population][g]``. ``axons`` and ``words`` are the input axons and the words of synapse memory of each
    core.
    """

    limits: Limits
    lists: SharedLists
    core: Mapping[str, Array]
    slot: Mapping[str, Array]
    group_core: Mapping[str, Array]
    group_at: Mapping[str, Array]
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
    ``axon_source`` and ``axon_target`` (the numbers of its populations in the netlist; the host's have the target -1)
    and ``axon_neuron``. It meets ``axon_words`` of the core's words, from ``axon_word`` on. Word w of core c is row
    ``word_first[c] + w`` of ``word_offset`` and ``word_weights[word, lane]``, and its group is ``axon_group`` (which
    may be negative) plus ``word_offset``.
    """

    first: Mapping[str, Array]
    entry_core: Array
    entry_axon: Array
    axon_first: Array
    axon_source: Array
    axon_neuron: Array
    axon_target: Array
    axon_word: Array
    axon_words: Array
    axon_group: Array
    word_first: Array
    word_offset: Array
    word_weights: Array


def partition_in_order(netlist: Netlist, limits: Limits) -> Partition:
    """Fill one core after the other, in the order of the populations, as far as all limits allow.

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


class _Groups:
    """All groups of neurons in their order, with what each hears.

    ``heard`` has for each population, and each that it hears, the number of the two's meetings, and ``start[groups +
    1]`` and ``neuron``: those that each group hears. ``needed[population]`` are ``start[groups + 1]`` and ``word``: the
    words that each group needs.
    """

    def __init__(self, netlist: Netlist, limits: Limits) -> None:
        self.netlist, self.limits = netlist, limits
        self.lanes = limits.lanes or 1
        self.most = _most(limits.neurons_per_core) // self.lanes
        self.lists = shared_lists(netlist, self.lanes)
        self.heard: dict[str, list[tuple[int, Array, Array]]] = {name: [] for name in self.lists.rank}
        words: dict[str, list[Array]] = {name: [np.zeros(0, np.int64)] for name in self.lists.rank}
        total = len(self.lists.offset)
        for number, each in enumerate(self.lists.meetings):
            size = netlist.populations[each.source].size
            self.heard[each.target].append(
                (number, *self._by_group(each.target, each.group * size + each.neuron, size))
            )
            words[each.target].append(each.group * total + each.word)
        self.needed = {name: self._by_group(name, np.concatenate(keys), total) for name, keys in words.items()}

    def _count(self, name: str) -> int:
        return -(-len(self.lists.rank[name]) // self.lanes)

    def _by_group(self, name: str, keys: Array, size: int) -> tuple[Array, Array]:
        """Keys ``group * size + item`` without those that come twice: where each group's begin, and the items."""
        keys = np.unique(keys)
        return np.searchsorted(keys, np.arange(self._count(name) + 1) * size), keys % max(size, 1)

    def load(self, fired: Mapping[str, Array]) -> dict[str, Array]:
        """How many words each group has read when neurons have fired so often, ``[groups]`` by population."""
        found = {name: np.zeros(self._count(name)) for name in self.lists.rank}
        for each in self.lists.meetings:
            times = fired[each.source][each.neuron]
            found[each.target] += np.bincount(each.group, times, minlength=len(found[each.target]))
        return found

    def filled(
        self, most: Mapping[str, int], load: Mapping[str, Array] | None = None, most_load: float = np.inf
    ) -> Partition:
        """One core after the other, with at most so many groups of a population, and so much load."""
        lanes, most_axons = self.lanes, _most(self.limits.input_axons_per_core)
        most_words = _most(self.limits.synapse_words_per_core)
        seen = [np.full(self.netlist.populations[each.source].size, -1) for each in self.lists.meetings]
        stored = np.full(len(self.lists.offset), -1)  # the last core that each word was put into
        owner: list[list[str]] = []
        held: list[tuple[int, int]] = []  # axons and words of each core
        axons = words = 0
        busy = 0.0
        group_core: dict[str, Array] = {}
        group_at: dict[str, Array] = {}
        for name in self.lists.rank:
            groups = self._count(name)
            core, at = np.empty(groups, np.int64), np.empty(groups, np.int64)
            first, needed = self.needed[name]
            own = 0
            for group in range(groups):
                heard = [
                    (seen[which], neuron[start[group] : start[group + 1]]) for which, start, neuron in self.heard[name]
                ]
                word = needed[first[group] : first[group + 1]]
                more_busy = 0.0 if load is None else float(load[name][group])
                number = len(owner) - 1
                new = sum(int((last[neuron] != number).sum()) for last, neuron in heard)
                more_words = int((stored[word] != number).sum())
                full = not owner or len(owner[-1]) == self.most or own == most[name]
                full = full or words + more_words > most_words or axons + new > most_axons
                if full or busy + more_busy > most_load:
                    owner.append([])
                    held.append((0, 0))
                    number, axons, words, own, busy = len(owner) - 1, 0, 0, 0, 0.0
                    new, more_words = sum(len(neuron) for _, neuron in heard), len(word)
                    _check_alone(name, new, more_words, self.limits)
                for last, neuron in heard:
                    last[neuron] = number
                stored[word] = number
                axons, words, own, busy = axons + new, words + more_words, own + 1, busy + more_busy
                held[-1] = axons, words
                core[group], at[group] = number, len(owner[-1])
                owner[-1].append(name)
            group_core[name], group_at[name] = core, at
        rank = self.lists.rank
        return Partition(
            self.limits,
            self.lists,
            {name: group_core[name][of // lanes] for name, of in rank.items()},
            {name: group_at[name][of // lanes] * lanes + of % lanes for name, of in rank.items()},
            group_core,
            group_at,
            np.array([len(each) for each in owner]),
            tuple(map(tuple, owner)),
            *np.array(held, np.int64).reshape(-1, 2).T,
        )


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
    """The fan-out entries of each core: an axon of another core, or the host, for each."""
    entries = np.zeros(partition.cores, np.int64)
    for each in partition.lists.meetings:
        if each.source in partition.core:
            core = partition.core[each.source][each.neuron[_runs(partition, each)]]
            entries += np.bincount(core, minlength=partition.cores)
    for name in netlist.to_host:
        if name in partition.core:
            entries += np.bincount(partition.core[name], minlength=partition.cores)
    return entries


def _runs(partition: Partition, meetings: Meetings) -> Array:
    """Where the words of an axon begin: those that a neuron meets on one core."""
    core = partition.group_core[meetings.target][meetings.group]
    return np.flatnonzero((np.diff(meetings.neuron, prepend=-1) != 0) | (np.diff(core, prepend=-1) != 0))


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
    """Number the axons of each core by their sources, and the words that it stores."""
    axons = _axons(netlist, partition)
    axons = axons[:, np.lexsort(axons[[_TARGET, _NEURON, _SOURCE, _CORE]])]
    core, source, neuron, target, word, words, group = axons
    axon_first = np.searchsorted(core, np.arange(partition.cores + 2))
    entries = np.lexsort(axons[[_TARGET, _CORE, _NEURON, _SOURCE]])
    sizes = [each.size for each in netlist.populations.values()]
    starts = np.cumsum([0, *sizes])
    sender = (starts[source] + neuron)[entries]
    first = {
        name: np.searchsorted(sender, start + np.arange(size + 1))
        for name, start, size in zip(netlist.populations, starts.tolist(), sizes)
    }
    lists, total = partition.lists, max(1, len(partition.lists.offset))
    stored = [np.unique(partition.group_core[m.target][m.group] * total + m.word) for m in lists.meetings]
    keys = np.unique(np.concatenate([np.zeros(0, np.int64), *stored]))
    word_first = np.searchsorted(keys, np.arange(partition.cores + 1) * total)
    return Routes(
        first, core[entries], entries - axon_first[core[entries]], axon_first, source, neuron, target,
        np.searchsorted(keys, core * total + word) - word_first[core], words, group,
        word_first, lists.offset[keys % total], lists.weights[keys % total],
    )  # fmt: skip


_CORE, _SOURCE, _NEURON, _TARGET = range(4)


def _axons(netlist: Netlist, partition: Partition) -> Array:
    """Core, source, neuron, target, first word, words and group of each axon, a column each."""
    number = {name: number for number, name in enumerate(netlist.populations)}
    found = [np.zeros((7, 0), np.int64)]
    for each in partition.lists.meetings:
        begin = _runs(partition, each)
        group, word = each.group[begin], each.word[begin]
        counts = np.diff(begin, append=len(each.word))
        base = partition.group_at[each.target][group] - partition.lists.offset[word]
        core, neuron = partition.group_core[each.target][group], each.neuron[begin]
        found.append(_columns(core, number[each.source], neuron, number[each.target], word, counts, base))
    for name in netlist.to_host:
        neuron = np.arange(netlist.populations[name].size)
        found.append(_columns(partition.cores, number[name], neuron, -1, 0, 0, 0))
    return np.concatenate(found, axis=1)


def _columns(*values: Any) -> Array:
    return np.stack(np.broadcast_arrays(*values)).astype(np.int64)
