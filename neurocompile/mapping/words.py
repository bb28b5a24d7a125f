"""How lists of synapses lie in a core's memory: entries with headers, in words, once for each list that differs.

A spike that arrives names a list: the synapses of one element of a source into this core, from a base compartment on.
Elements whose lists are the same, but for the base, share one: those of a convolution that meet the same taps. Neurons
of a block are numbered position by position, then channel by channel, so that the base is the position; a list serves
all bases below ``base``, and blocks with more positions keep copies with other indices.

With a *halo* along an axis, the block has compartments beyond its border as well, which nobody reads: a list then
writes to all that a kernel reaches, and is the same wherever in the block the kernel stands. It costs compartments and
writes, and saves the lists of all borders.

Entries (Rueckauer et al., NxTF, ACM JETC 2022, and the limits that nengo-loihi states): *sparse*, a weight and an
index a synapse; *run-length*, an index, then weights with what is skipped between them; *dense*, an index, then
weights one after the other. Each entry has a header and holds so many synapses at most; a list begins a new word, and
takes one more where less than a header is left of its last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.mapping.fields import Interval

__all__ = ["ENCODINGS", "Axis", "Format", "Lists", "Region"]

Intervals: TypeAlias = Sequence[Sequence[Interval]]

ENCODINGS = ("sparse", "run-length", "dense")
_SKIPS = (2, 3, 4, 5)
_TOO_LONG = 1 << 40


@dataclass(frozen=True)
class Format:
    """How a chip keeps lists: bits of a word and of an entry's header, limits of an entry and of a list.

    ``base`` is the number of base compartments that an axon can name, ``delay_bits`` are those of a synapse that waits.
    """

    word_bits: int
    header_bits: int
    entry_synapses: int
    list_words: int
    base: int
    delay_bits: int = 0

    def words(self, bits: Array) -> Array:
        """Whole words for lists of so many bits; far too many where a list is too long."""
        rest = bits % self.word_bits
        full = -(-bits // self.word_bits) + ((bits > 0) & ((rest == 0) | (rest >= self.word_bits - 5)))
        return np.asarray(np.where(full > self.list_words, _TOO_LONG, full))


@dataclass(frozen=True, eq=False)
class Region:
    """The compartments of boxes: how many along each axis, those of halos among them; ``[boxes of axis 0, 1, ...]``."""

    sizes: tuple[Array, ...]

    @cached_property
    def compartments(self) -> Array:
        """All of a box."""
        total: Any = 1
        for size in self.sizes:
            total = total * size
        return np.asarray(total)

    @cached_property
    def positions(self) -> Array:
        """Without the channels."""
        total: Any = np.ones_like(self.sizes[0])
        for size in self.sizes[1:]:
            total = total * size
        return np.asarray(total)

    @cached_property
    def index_bits(self) -> Array:
        """Of a compartment's number."""
        return np.asarray(np.frexp(np.maximum(self.compartments - 1, 0))[1])


class Axis:
    """One axis in space of weights that are shared between places: which lists a box needs along it.

    Args:
        out: output positions, sorted; ``source`` and ``tap``: the source position and the tap of each connection.
        tap: as numbers that are equal where the weights of two taps are.
        size: of the outputs.
        reach: the outputs that a source position would reach if the axis had no ends, with the taps: ``reach(source)``.
    """

    def __init__(self, out: Array, source: Array, tap: Array, reach: Any) -> None:
        self._out, self._source, self._tap, self._reach = out, source, tap, reach
        self.longest = int(np.bincount(source).max(initial=0)) if len(source) else 0
        self._found: dict[tuple[int, int, bool], tuple[Array, int, int, int]] = {}

    def lists(self, start: int, stop: int, halo: bool) -> tuple[Array, int, int, int]:
        """Of outputs ``start`` to ``stop - 1``: how many different lists of each length, the compartments before and
        behind them that a halo adds, and how many writes go there, and anywhere."""
        key = start, stop, halo
        if key not in self._found:
            self._found[key] = self._lists(start, stop, halo)
        return self._found[key]

    def _lists(self, start: int, stop: int, halo: bool) -> tuple[Array, int, int, int]:
        first, last = np.searchsorted(self._out, (start, stop))
        counted = np.zeros(self.longest + 1, np.int64)
        if first == last:
            return counted, 0, 0, 0
        out, source, tap = (each[first:last] for each in (self._out, self._source, self._tap))
        seen: set[tuple[tuple[int, int], ...]] = set()
        before = behind = writes = 0
        order = np.argsort(source, kind="stable")
        bounds = np.flatnonzero(np.diff(source[order])) + 1
        for group in np.split(order, bounds):
            reached = sorted(zip(out[group].tolist(), tap[group].tolist()))
            if halo:
                reached = self._reach(int(source[group[0]]))
                before = max(before, start - reached[0][0])
                behind = max(behind, reached[-1][0] + 1 - stop)
            writes += len(reached)
            base = reached[0][0]
            seen.add(tuple((place - base, kind) for place, kind in reached))
        for one in seen:
            if len(one) >= len(counted):
                counted = np.pad(counted, (0, len(one) + 1 - len(counted)))
            counted[len(one)] += 1
        return counted, before, behind, writes


@dataclass(frozen=True, eq=False)
class Lists:
    """One set of weights that feeds a layer: the words of its lists in a box.

    ``source`` is whose spikes name them, "" if several do. ``starts`` and ``shape`` say which part of the layer is fed.
    ``axes`` are those in space; ``atoms`` lists are kept for each place, one a channel of the source, in ``groups``;
    each writes to all channels of the box (of its group), or to its ``own`` alone (a scale). ``spacing`` is that of the
    places of neighbouring taps.

    A full matrix has ``elements`` lists over all neurons of a box. Where nothing is shared, ``pairs`` are the numbers
    of neurons, and of the elements that reach them.
    """

    name: str
    source: str
    starts: tuple[int, ...]
    shape: tuple[int, ...]
    axes: tuple[Axis, ...] = ()
    atoms: int = 1
    groups: int = 1
    own: bool = False
    spacing: int = 1
    elements: int = 0
    pairs: tuple[Array, Array] | None = None
    delayed: bool = False

    def _inside(self, axis: int, along: Sequence[Interval]) -> list[Interval]:
        first, n = self.starts[axis], self.shape[axis]
        return [(min(max(a - first, 0), n), min(max(b - first, 0), n)) for a, b in along]

    def halo(self, axis: int, along: Sequence[Interval], wanted: bool) -> tuple[Array, Array]:
        """The compartments before and behind each interval of an axis in space."""
        if not self.axes:
            return np.zeros((2, len(along)), np.int64)  # type: ignore[return-value]
        found = [self.axes[axis - 1].lists(a, b, wanted)[1:3] for a, b in self._inside(axis, along)]
        return tuple(np.array(found, np.int64).reshape(-1, 2).T)  # type: ignore[return-value]

    def words(self, intervals: Intervals, region: Region, format: Format, weight_bits: int, halo: Sequence[bool],
              pops: bool) -> tuple[Array, Array]:  # fmt: skip
        """The words of its lists in each box, and by which encoding (a place in :data:`ENCODINGS`)."""
        wide = weight_bits + (format.delay_bits if self.delayed else 0)
        if self.pairs is not None:
            return self._listed(intervals, region, format, wide)
        inside = self._inside(0, intervals[0])
        outs = _spread(np.array([b - a for a, b in inside], np.int64), 0, len(intervals))
        if self.elements:
            others = [_spread(np.array([b - a for a, b in self._inside(k, along)]), k, len(intervals))
                      for k, along in enumerate(intervals) if k]  # fmt: skip
            n = outs
            for each in others:
                n = n * each
            bits = _dense(n, n, region.index_bits, format, wide)
            return self.elements * np.where(n > 0, format.words(bits), 0), np.full(n.shape, 2)
        atoms, per_atom = self._channels(outs, inside, pops, len(intervals))
        counts = []
        for k, along in enumerate(intervals[1:], 1):
            lists = [self.axes[k - 1].lists(a, b, halo[k])[0] for a, b in self._inside(k, along)]
            longest = max(map(len, lists))
            counts.append(np.stack([np.pad(each, (0, longest - len(each))) for each in lists]))
        best: Any = None
        chosen: Any = None
        copies = -(-region.positions // format.base)
        whole = -(-region.compartments // format.base)
        for number, encoding in enumerate((*ENCODINGS, "dense by channel")):
            total: Any = 0
            for taps in product(*(np.flatnonzero(each.any(0)).tolist() for each in counts)):
                if 0 in taps:
                    continue
                many: Any = 1
                for k, (count, tap) in enumerate(zip(counts, taps), 1):
                    many = many * _spread(count[:, tap], k, len(intervals))
                bits = _bits(encoding, per_atom, taps, region, format, wide, self.spacing)
                total = total + many * np.where(per_atom > 0, format.words(bits), 0)
            total = atoms * (whole if number == len(ENCODINGS) else copies) * total
            kind = min(number, len(ENCODINGS) - 1)
            if best is None:
                best, chosen = total, np.zeros(np.shape(total), np.int64)
            else:
                chosen = np.where(total < best, kind, chosen)
                best = np.minimum(best, total)
        shape = np.broadcast_shapes(np.shape(best), region.compartments.shape)
        return np.broadcast_to(best, shape), np.broadcast_to(chosen, shape)

    def _channels(self, outs: Array, inside: Sequence[Interval], pops: bool, axes: int) -> tuple[Array, Array]:
        """How many lists there are for each place, and how many output channels a list writes to."""
        if self.own:
            return (np.full(outs.shape, self.atoms) if pops else outs), (outs > 0).astype(np.int64)
        if self.groups == 1:
            return np.full(outs.shape, self.atoms), outs
        each = self.shape[0] // self.groups
        met = np.array([-(-b // each) - a // each if b > a else 0 for a, b in inside], np.int64)
        lists = np.full(len(inside), self.atoms) if pops else met * (self.atoms // self.groups)
        return _spread(lists, 0, axes), np.minimum(outs, each)

    def _listed(self, intervals: Intervals, region: Region, format: Format, wide: int) -> tuple[Array, Array]:
        assert self.pairs is not None
        neuron, element = self.pairs
        elements = int(element.max(initial=0)) + 1
        box: Any = 0
        for along in intervals:
            number = np.repeat(np.arange(len(along)), [stop - start for start, stop in along])
            box = np.add.outer(box * len(along), number)
        boxes = tuple(map(len, intervals))
        keys, counts = np.unique(box.reshape(-1)[neuron] * elements + element, return_counts=True)
        where = keys // elements
        index = region.index_bits.reshape(-1)[where]
        words = format.words(_sparse(counts, index, format, wide))
        return np.bincount(where, words, int(np.prod(boxes))).astype(np.int64).reshape(boxes), np.zeros(boxes, np.int64)


def _spread(values: Array, axis: int, axes: int) -> Array:
    return values.reshape(*(-1 if k == axis else 1 for k in range(axes)))


def _sparse(synapses: Array, index: Array, format: Format, wide: int) -> Array:
    return np.asarray(synapses * (wide + index) + -(-synapses // format.entry_synapses) * format.header_bits)


def _dense(synapses: Array, run: Any, index: Array, format: Format, wide: int) -> Array:
    runs = np.where(synapses > 0, synapses // np.maximum(run, 1), 0)
    entries = runs * -(-np.maximum(run, 1) // format.entry_synapses)
    return np.asarray(synapses * wide + entries * (format.header_bits + index))


def _bits(
    encoding: str, channels: Array, taps: Sequence[int], region: Region, format: Format, wide: int, spacing: int
) -> Array:
    """Of one list that writes to so many taps along each axis, of so many channels."""
    places = int(np.prod(taps, dtype=int))
    synapses, index = channels * places, region.index_bits
    if encoding == "sparse":
        return _sparse(synapses, index, format, wide)
    run = taps[-1] if taps and spacing == 1 else 1
    if encoding == "dense":
        return _dense(synapses, run, index, format, wide)
    if encoding == "dense by channel":
        return _dense(synapses, channels, index, format, wide)
    # Run-length: gaps that a skip bridges go on with the run, others begin an entry.
    within = channels * (places - places // max(taps[-1], 1)) if taps else 0 * channels
    gaps: list[tuple[Any, Any]] = [(within, spacing)]
    stride: Any = 1
    reached: Any = (taps[-1] - 1) * spacing if taps else 0
    for k in range(len(taps) - 2, -1, -1):
        stride = stride * region.sizes[k + 2]
        outer = int(np.prod(taps[: k + 1], dtype=int)) - int(np.prod(taps[:k], dtype=int))
        gaps.append((channels * outer, stride * spacing - reached))
        reached = reached + (taps[k] - 1) * stride * spacing
    gaps.append((np.maximum(channels - 1, 0), region.positions - reached))
    best: Any = _TOO_LONG
    for skip in _SKIPS:
        runs: Any = 1
        for many, gap in gaps:
            runs = runs + np.where(np.asarray(gap) > (1 << skip) - 1, many, 0)
        entries = np.maximum(runs, -(-synapses // format.entry_synapses))
        best = np.minimum(best, synapses * (wide + skip) + entries * (format.header_bits + index))
    return np.asarray(best)
