"""How lists of synapses lie in a core's memory: entries with headers, in words, once for each list that differs.

A spike that arrives names a list: the synapses of one element of a source into this core, through any set of weights,
from a base compartment on. Elements whose lists are the same, but for the base, share one: those of a convolution that
meet the same taps. Neurons of a block are numbered position by position, then channel by channel, so that the base is
the position; or, where that takes fewer words, channel by channel, then position by position. A list serves all bases
below ``base``, and blocks with more keep copies with other indices.

With a *halo* along an axis, the block has compartments beyond its border as well, which nobody reads: a list then
writes to all that a kernel reaches, and is the same wherever in the block the kernel stands. It costs compartments and
writes, and saves the lists of all borders.

Entries (Rueckauer et al., NxTF, ACM JETC 2022, and the limits that nengo-loihi states): *sparse*, a weight and an
index a synapse; *run-length*, an index, then weights with what is skipped between them; *dense*, an index, then
weights one after the other. Each entry has a header and holds so many synapses at most; a list begins a new word, and
takes one more where less than a header is left of its last one. An index takes no bits or six at least, and there are
no weights of seven.

Neurons of several compartments have as many numbers one after the other. A format's index multiplier makes lists count
in neurons, and all is as above; but a base is a compartment, so that a list serves fewer neurons.

Cores that know convolutions keep a kernel *once*: for each input channel and tap the weights to all output channels of
the block, one after the other and without an index, whatever the block's borders are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any, TypeAlias

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.mapping.fields import Interval

__all__ = ["ENCODINGS", "Axis", "Format", "Joint", "Lists", "Region", "Way", "reset_words"]

Intervals: TypeAlias = Sequence[Sequence[Interval]]
_Pattern: TypeAlias = list[tuple[int, int]]

ENCODINGS = ("sparse", "run-length", "dense")
_SKIPS = (2, 3, 4, 5)
_LEAST_INDEX_BITS = 6
_TOO_LONG = 1 << 40
_RESET_BITS = 8
"""Of a weight that subtracts, in a format of its own."""


@dataclass(frozen=True)
class Format:
    """How a chip keeps lists: bits of a word and of an entry's header, limits of an entry and of a list.

    ``base`` is the number of base compartments that an axon can name, ``delay_bits`` are those of a synapse that waits.
    An index has ``index_bits``; None: as many as a core's compartments ask for. ``once``: cores know convolutions.
    """

    word_bits: int
    header_bits: int
    entry_synapses: int
    list_words: int = _TOO_LONG
    base: int = _TOO_LONG
    delay_bits: int = 0
    index_bits: int | None = None
    once: bool = False

    def index(self, compartments: Array) -> Array:
        """The bits of a compartment's number in cores of so many."""
        if self.index_bits is not None:
            return np.full(compartments.shape, self.index_bits)
        bits = np.frexp(np.maximum(compartments - 1, 0))[1]
        return np.asarray(np.where(bits > 0, np.maximum(bits, _LEAST_INDEX_BITS), 0))

    def words(self, bits: Array) -> Array:
        """Whole words for lists of so many bits; far too many where a list is too long."""
        rest = bits % self.word_bits
        full = -(-bits // self.word_bits) + ((bits > 0) & ((rest == 0) | (rest >= self.word_bits - 5)))
        return self.unless_too_long(full, full)

    def unless_too_long(self, words: Array, longest: Array) -> Array:
        """So many words, or far too many where the longest list is too long."""
        return np.asarray(np.where(longest > self.list_words, _TOO_LONG, words))


@dataclass(frozen=True, eq=False)
class Region:
    """The places of boxes for neurons, of a compartment each or more: how many along each axis, those of halos among
    them; ``[boxes of axis 0, 1, ...]``."""

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


class Axis:
    """One axis in space of weights that are shared between places: what positions of events reach along it.

    Args:
        out: output positions, sorted; ``event`` and ``tap``: the event's position and the tap of each connection.
        tap: as numbers that are equal where the weights of two taps are.
        reach: the outputs that a position would reach if the axis had no ends, with the taps: ``reach(event)``.
    """

    def __init__(self, out: Array, event: Array, tap: Array, reach: Any) -> None:
        self._out, self._event, self._tap, self._reach = out, event, tap, reach
        self.longest = int(np.bincount(event).max(initial=0)) if len(event) else 0
        self._found: dict[tuple[int, int, bool], dict[int, _Pattern]] = {}

    def patterns(self, start: int, stop: int, halo: bool) -> dict[int, _Pattern]:
        """What each event's position that outputs ``start`` to ``stop - 1`` see reaches: of these, or with a halo."""
        key = start, stop, halo
        if key not in self._found:
            first, last = np.searchsorted(self._out, (start, stop))
            found: dict[int, _Pattern] = {}
            for out, event, tap in zip(*(each[first:last].tolist() for each in (self._out, self._event, self._tap))):
                found.setdefault(event, []).append((out, tap))
            self._found[key] = {event: self._reach(event) for event in found} if halo else found
        return self._found[key]

    def beside(self, start: int, stop: int, halo: bool) -> tuple[int, int]:
        """The compartments before and behind these outputs that a halo adds."""
        reached = [out for pattern in self.patterns(start, stop, halo).values() for out, _ in pattern]
        return max(0, start - min(reached, default=start)), max(0, max(reached, default=stop - 1) + 1 - stop)


@dataclass(frozen=True, eq=False)
class Way:
    """A set of weights along one axis of a layer, of which its outputs fill ``size`` positions from ``start`` on.

    ``windows`` are the event's positions that each position of the source is in, where the event is a pool's.
    """

    axis: Axis
    start: int
    size: int
    windows: Mapping[int, Sequence[int]] | None = None

    def inside(self, start: int, stop: int) -> Interval:
        """The part of an interval of the layer, in positions of its own."""
        return min(max(start - self.start, 0), self.size), min(max(stop - self.start, 0), self.size)

    def parts(self, start: int, stop: int, halo: bool) -> dict[int, list[_Pattern]]:
        """For each position of the source what it reaches in an interval of the layer, each window for itself."""
        found: dict[int, list[_Pattern]] = {}
        met = self.axis.patterns(*self.inside(start, stop), halo)
        for source, events in ((at, (at,)) for at in met) if self.windows is None else self.windows.items():
            parts = [[(out + self.start, tap) for out, tap in met[event]] for event in events if event in met]
            if parts:
                found[source] = parts
        return found


class Joint:
    """All sets of weights of one source along one axis: what an element reaches through any of them is one list.

    Where they do not read the source along the same axes (``apart``), no two elements share one.
    """

    def __init__(self, ways: Sequence[Way], apart: bool) -> None:
        self._ways, self._apart = ways, apart
        self._found: dict[tuple[int, int, bool], list[Array]] = {}

    def lists(self, start: int, stop: int, halo: bool) -> list[Array]:
        """For each set of weights how many different lists it has a part of, by the length of that part."""
        key = start, stop, halo
        if key not in self._found:
            self._found[key] = self._lists(start, stop, halo)
        return self._found[key]

    def _lists(self, start: int, stop: int, halo: bool) -> list[Array]:
        lengths: list[list[int]] = [[] for _ in self._ways]
        of_ways = [way.parts(start, stop, halo) for way in self._ways]
        seen: set[Any] = set()
        for source in sorted(set().union(*of_ways)):
            parts = [(way, part) for way, found in enumerate(of_ways) for part in found.get(source, ())]
            base = min(part[0][0] for _, part in parts)
            shape = tuple((way, tuple((out - base, tap) for out, tap in part)) for way, part in parts)
            kind = source if self._apart else shape
            if kind not in seen:
                seen.add(kind)
                for way, part in parts:
                    lengths[way].append(len(part))
        return [np.bincount(np.array(each, np.int64), minlength=1) for each in lengths]


@dataclass(frozen=True, eq=False)
class Lists:
    """One set of weights that feeds a layer: the words of its lists in a box.

    ``source`` is whose spikes name them, "" if several do. ``starts`` and ``shape`` say which part of the layer is fed.
    ``axes`` are those in space, as number ``way`` of the sets in ``joints``; ``atoms`` lists are kept for each place,
    one a channel of the source, in ``groups``; each writes to all channels of the box (of its group), or to its ``own``
    alone (a scale). ``spacing`` is that of the places of neighbouring taps along each axis. ``parts`` are those of a
    list at most: an element of the source is in so many windows; ``copies`` are kept of each, since nothing is shared.

    A full matrix has ``elements`` lists over all neurons of a box. Where nothing is shared, ``pairs`` are the numbers
    of neurons in a layer of ``shape``, of the elements that reach them, and how many lists each of these stands for.
    """

    name: str
    source: str
    starts: tuple[int, ...]
    shape: tuple[int, ...]
    axes: tuple[Axis, ...] = ()
    atoms: int = 1
    groups: int = 1
    own: bool = False
    spacing: tuple[int, ...] = ()
    elements: int = 0
    pairs: tuple[Array, Array, Array] | None = None
    delayed: bool = False
    joints: tuple[Joint, ...] = ()
    way: int = 0
    parts: int = 1
    copies: int = 1

    def _inside(self, axis: int, along: Sequence[Interval]) -> list[Interval]:
        first, n = self.starts[axis], self.shape[axis]
        return [(min(max(a - first, 0), n), min(max(b - first, 0), n)) for a, b in along]

    def halo(self, axis: int, along: Sequence[Interval], wanted: bool) -> tuple[Array, Array]:
        """The compartments before and behind each interval of an axis in space."""
        if not self.axes:
            return np.zeros((2, len(along)), np.int64)  # type: ignore[return-value]
        found = [self.axes[axis - 1].beside(a, b, wanted) for a, b in self._inside(axis, along)]
        return tuple(np.array(found, np.int64).reshape(-1, 2).T)  # type: ignore[return-value]

    def reached(self, axis: int, interval: Interval, halo: bool) -> dict[int, int]:
        """How many positions of an interval, or of its halo too, each position of the event writes to."""
        ((start, stop),) = self._inside(axis, [interval])
        return {at: len(pattern) for at, pattern in self.axes[axis - 1].patterns(start, stop, halo).items()}

    def channels(self, interval: Interval) -> Array:
        """To how many output channels of an interval each channel of the event writes, ``[channels of the event]``."""
        ((start, stop),) = self._inside(0, [interval])
        outputs, inputs = self.shape[0] // self.groups, self.atoms // self.groups
        first = np.arange(self.groups) * outputs
        met = np.maximum(np.minimum(first + outputs, stop) - np.maximum(first, start), 0)
        return np.repeat(met, inputs)

    def words(
        self, intervals: Intervals, region: Region, format: Format, weight_bits: int, halo: Sequence[bool], pops: bool,
        by_channel: bool,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        """The words of its lists in each box, of its part of the longest, and by which encoding (of
        :data:`ENCODINGS`); ``by_channel``: if channels are numbered before positions."""
        wide = (8 if weight_bits == 7 else weight_bits) + (format.delay_bits if self.delayed else 0)
        index = format.index(region.compartments)
        if self.pairs is not None:
            return self._listed(intervals, index, format, wide)
        inside = self._inside(0, intervals[0])
        outs = _spread(np.array([b - a for a, b in inside], np.int64), 0, len(intervals))
        if self.elements:
            words = np.where(outs > 0, format.words(_bits("dense", [(outs, 1)], index, format, wide)), 0)
            return self.elements * words, self.parts * words, np.full(outs.shape, 2)
        atoms, per_atom = self._channels(outs, inside, pops, len(intervals))
        if format.once and not self.own:
            return self._kernel(atoms, per_atom, region, format, wide)
        counts = []
        for k, along in enumerate(intervals[1:], 1):
            lists = [self.joints[k - 1].lists(a, b, halo[k])[self.way] for a, b in along]
            by_length = np.zeros((len(lists), max(map(len, lists))), np.int64)
            for number, each in enumerate(lists):
                by_length[number, : len(each)] = each
            counts.append(by_length)
        best: Any = None
        most: Any = 0
        chosen: Any = 0
        copies = self.copies * -(-(region.compartments if by_channel else region.positions) // format.base)
        for number, encoding in enumerate(ENCODINGS):
            total: Any = 0
            length: Any = 0
            for taps in product(*(np.flatnonzero(each.any(0)).tolist() for each in counts)):
                many: Any = 1
                for k, (count, tap) in enumerate(zip(counts, taps), 1):
                    many = many * _spread(count[:, tap], k, len(intervals))
                levels = self._levels(per_atom, taps, region, by_channel)
                words = np.where(per_atom > 0, format.words(_bits(encoding, levels, index, format, wide)), 0)
                total = total + many * words
                length = np.maximum(length, np.where(many > 0, words, 0))
            total = atoms * copies * total
            if best is None:
                best, most, chosen = total, length, np.zeros(np.shape(total), np.int64)
            else:
                less = total < best
                best, most, chosen = (
                    np.minimum(best, total),
                    np.where(less, length, most),
                    np.where(less, number, chosen),
                )
        shape = np.broadcast_shapes(np.shape(best), region.compartments.shape)
        of_lists, of_longest = np.broadcast_to(best, shape), np.broadcast_to(self.parts * most, shape)
        return of_lists, of_longest, np.broadcast_to(chosen, shape)

    def _kernel(self, atoms: Any, outs: Array, region: Region, format: Format, wide: int) -> tuple[Array, Array, Array]:
        """The same where a core keeps the kernel once: for each tap and input channel the weights to its channels."""
        ends = zip(self.joints, self.starts[1:], self.shape[1:])
        whole = [joint.lists(start, start + size, True)[self.way] for joint, start, size in ends]
        taps = prod(int(np.arange(len(each)) @ each) for each in whole)
        words = np.where(outs > 0, format.words(_dense(outs, 0, format, wide)), 0)
        shape = np.broadcast_shapes(words.shape, region.compartments.shape)
        total = np.broadcast_to(atoms * taps * words, shape)
        return total, np.broadcast_to(words, shape), np.full(shape, ENCODINGS.index("dense"))

    def _levels(self, channels: Array, taps: Sequence[int], region: Region, by_channel: bool) -> list[tuple[Any, Any]]:
        """How many places of a list lie side by side, and how far apart, from the smallest distance to the largest."""
        stride: Any = region.sizes[0] if by_channel else 1
        places: list[tuple[Any, Any]] = []
        for tap, space, size in zip(reversed(taps), reversed(self.spacing), reversed(region.sizes[1:])):
            places.append((tap, stride * space))
            stride = stride * size
        return [(channels, 1), *places] if by_channel else [*places, (channels, stride)]

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

    def _listed(self, intervals: Intervals, index: Array, format: Format, wide: int) -> tuple[Array, Array, Array]:
        """Of boxes that are all of the layer, or one of them; of others at least nothing."""
        assert self.pairs is not None
        neuron, element, times = self.pairs
        boxes = tuple(map(len, intervals))
        own = np.full(self.shape, -1)
        if all(_is_cut(along, n) for along, n in zip(intervals, self.shape)) or max(boxes) == 1:
            for number, box in enumerate(product(*intervals)):
                own[tuple(slice(*along) for along in box)] = number
        own = own.reshape(-1)[neuron]
        inside, elements = own >= 0, len(times)
        keys, counts = np.unique(own[inside] * elements + element[inside], return_counts=True)
        where = keys // elements
        words = format.words(_sparse(counts, index.reshape(-1)[where], format, wide))
        longest = np.zeros(int(np.prod(boxes)), np.int64)
        np.maximum.at(longest, where, self.parts * words)
        total = np.zeros_like(longest)
        np.add.at(total, where, words * times[keys % elements])
        return total.reshape(boxes), longest.reshape(boxes), np.zeros(boxes, np.int64)


def reset_words(weights: int, region: Region, format: Format, shared: bool, by_channel: bool) -> Array:
    """The words of the lists by which neurons of boxes subtract from themselves, by so many synapses each.

    The list of a neuron with an axon of its own is the same for all bases. Where the channels at a place share one
    (``shared``), there is a list for each channel, the same at all places. ``by_channel`` as for :class:`Lists`.
    """
    entry = format.header_bits + format.index(region.compartments) + _RESET_BITS
    words = format.words(weights * entry)
    if not shared:
        return np.asarray(words * -(-region.compartments // format.base))
    copies = -(-(region.compartments if by_channel else region.positions) // format.base)
    return np.asarray(words * region.sizes[0] * copies)


def _is_cut(along: Sequence[Interval], n: int) -> bool:
    return [start for start, _ in along] == [0, *(stop for _, stop in along[:-1])] and along[-1][1] == n


def _spread(values: Array, axis: int, axes: int) -> Array:
    return values.reshape(*(-1 if k == axis else 1 for k in range(axes)))


def _sparse(synapses: Array, index: Array, format: Format, wide: int) -> Array:
    return np.asarray(synapses * (wide + index) + -(-synapses // format.entry_synapses) * format.header_bits)


def _dense(synapses: Array, index: Any, format: Format, wide: int) -> Array:
    return np.asarray(synapses * wide + -(-synapses // format.entry_synapses) * (format.header_bits + index))


def _bits(encoding: str, levels: Sequence[tuple[Any, Any]], index: Array, format: Format, wide: int) -> Array:
    """Of one list that writes to so many compartments, at such distances, inner ones first."""
    synapses: Any = 1
    reached: Any = 0
    gaps: list[tuple[Any, Any]] = []
    for many, distance in levels:
        if np.any(many > 1):
            gaps.append((many, distance - reached))
            synapses, reached = synapses * many, reached + (many - 1) * distance
    if encoding == "sparse":
        return _sparse(np.asarray(synapses), index, format, wide)
    entry = format.header_bits + index
    if encoding == "dense":
        return np.asarray(synapses * wide + _entries(synapses, gaps, 1, format) * entry)
    best: Any = _TOO_LONG
    before = 0
    for skip in _SKIPS:
        most = (1 << skip) - 1
        if not before or any(np.any((gap > before) & (gap <= most)) for _, gap in gaps):
            best = np.minimum(best, synapses * (wide + skip) + _entries(synapses, gaps, most, format) * entry)
        before = most
    return np.asarray(best)


def _entries(synapses: Any, gaps: Sequence[tuple[Any, Any]], most_gap: int, format: Format) -> Array:
    """Entries of a list, if one goes on where the next synapse is ``most_gap`` compartments further on at most."""
    runs: Any = 1
    broken: Any = False
    even: Any = True
    for many, gap in gaps:
        breaks = gap > most_gap
        runs = runs * many - np.where(breaks, 0, many - 1)
        even = even & (breaks | (many == 1) | ~broken)
        broken = broken | (breaks & (many > 1))
    # Runs are of one length, unless one goes on over places between which others break.
    runs = np.maximum(runs, 1)
    alike = runs * -(-(synapses // runs) // format.entry_synapses)
    return np.asarray(
        alike if np.all(even) else np.where(even, alike, runs + (synapses - runs) // format.entry_synapses)
    )
