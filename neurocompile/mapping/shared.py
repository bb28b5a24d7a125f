"""Synapses as words of weights, and the lists of words that sources share.

A word has the weights of one source for one *group*: ``lanes`` neurons that a core updates together. The words of a
source form a list, whose groups are counted from the list's first one; so the sources of a convolution's channel that
meet the same taps have the same list, wherever they lie, and it is there once. Groups are numbered through a whole
population: a core that holds a stretch of them needs a run of each list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.mapping.netlist import Netlist, Population, Projection

__all__ = ["Meetings", "SharedLists", "shared_lists"]


@dataclass(frozen=True, eq=False)
class Meetings:
    """Who meets which word between two populations: ``neuron[k]`` in ``group[k]`` of the target ``word[k]``.

    All are ``[meetings]``, sorted by neuron, then group; the words of a neuron have consecutive numbers.
    """

    source: str
    target: str
    neuron: Array
    group: Array
    word: Array


@dataclass(frozen=True, eq=False)
class SharedLists:
    """All synapses of a netlist.

    Attributes:
        rank: of each neuron of a population of the chip, its number there, ``[size]``: lane ``rank % lanes`` of group
            ``rank // lanes``.
        meetings: of each pair of populations that are connected.
        offset: the group of each word, counted from that of its list's first one, ``[words]``.
        weights: of each word, ``[words, lanes]``; 0 where there is no synapse.
    """

    rank: Mapping[str, Array]
    meetings: tuple[Meetings, ...]
    offset: Array
    weights: Array


def shared_lists(netlist: Netlist, lanes: int) -> SharedLists:
    """Number the neurons of each population, and collect their synapses into lists.

    Within a population neurons follow one another place by place, the channels of a place side by side, so that the
    synapses of a convolution's source lie in few words.
    """
    rank = {name: _order(each) for name, each in netlist.populations.items() if each.op is not None}
    wires: dict[tuple[str, str], list[Projection]] = {}
    for projection in netlist.projections:
        wires.setdefault((projection.source, projection.target), []).append(projection)
    word = np.dtype([("offset", np.int32), ("weights", np.int16, (lanes,))])
    known: dict[bytes, int] = {}  # the number of each list's first word
    kept: list[Array] = [np.zeros(0, word)]
    meetings: list[Meetings] = []
    total = 0
    for (source, target), projections in wires.items():
        neuron, group, weights = _words(projections, rank[target], lanes)
        starts = np.flatnonzero(np.diff(neuron, prepend=-1))
        lengths = np.diff(starts, append=len(neuron))
        words = np.empty(len(neuron), word)
        words["offset"] = group - np.repeat(group[starts], lengths)
        words["weights"] = weights
        numbers = np.empty(len(starts), np.int64)
        for number, (start, stop) in enumerate(pairwise([*starts.tolist(), len(neuron)])):
            numbers[number] = first = known.setdefault(words[start:stop].tobytes(), total)
            if first == total:
                kept.append(words[start:stop])
                total += stop - start
        at = np.repeat(numbers - starts, lengths) + np.arange(len(neuron))
        meetings.append(Meetings(source, target, neuron, group, at))
    stored = np.concatenate(kept)
    return SharedLists(rank, tuple(meetings), stored["offset"].astype(np.int64), stored["weights"].copy())


def _order(population: Population) -> Array:
    """The number of each neuron on the chip: place by place, channels side by side."""
    numbers = np.arange(population.size).reshape(population.shape)
    order = np.moveaxis(numbers, 0, -1).ravel()
    rank = np.empty(population.size, np.int64)
    rank[order] = np.arange(population.size)
    return rank


def _words(projections: list[Projection], rank: Array, lanes: int) -> tuple[Array, Array, Array]:
    """The words between two populations, by neuron, then group, then projection: neuron, group, weights."""
    many, groups = len(projections), -(-len(rank) // lanes)
    parts = []
    for number, projection in enumerate(projections):
        at = rank[projection.post]
        keys, which = np.unique((projection.pre * groups + at // lanes) * many + number, return_inverse=True)
        weights = np.zeros((len(keys), lanes), np.int16)
        weights[which.ravel(), at % lanes] = projection.weight
        parts.append((keys, weights))
    keys, weights = (np.concatenate(each) for each in zip(*parts))
    order = np.argsort(keys)
    keys = keys[order] // many
    return keys // groups, keys % groups, weights[order]
