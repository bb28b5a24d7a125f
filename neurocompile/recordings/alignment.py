"""A recording is brought into the program's time and order of neurons, as a whole, and only where that is sure.

What is sought: an offset in steps, steps that were dropped or came twice, drift (steps.py has the length of a step),
and the order in which neurons were numbered (orders.py). Each candidate is judged by how many events fall on spikes
that the program fires. The recording as it is stays unless another candidate explains more events than chance would
(:class:`neurocompile.recordings.sure.Choice`); an order that was found by correlation has to explain samples that it
was not found on. Nothing is added, left out or moved by itself, so that no damage is hidden; what was done is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from math import prod
from typing import Literal

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.recordings.correlation import assigned, together
from neurocompile.recordings.orders import IDENTITY, MOST_NEURONS, cycles, symmetric
from neurocompile.recordings.steps import Clock, Rows, best_offsets, profile
from neurocompile.recordings.sure import CHANCE, Choice, beats, choice

__all__ = ["Align", "Aligned", "Alignment", "LagChange", "LayerAlignment", "align"]

Align = Literal["auto", "all", "time", "neurons", "none"]

_OFFSETS = 6
"""Offsets that the numbers of spikes in each step suggest, of which each is tried."""
_EVENTS = 1 << 17
"""So many events are looked at to choose by; all of them are brought into place."""
_LAGS = 16
"""So many steps may be dropped, or come twice, one after the other."""
_FEW = 1 << 15
"""Likewise, where every offset is tried with every order."""
_CHANGE, _NOISE = 10.0, 6.0
"""Events that a change of the lag has to explain, and how many more for each standard deviation of a row's events."""
_EXPLAINED = 0.25
"""Part of F1 that an alignment has to explain beyond what spikes of other samples do."""
_ROWS = 1 << 18
"""Rows that lags are followed over one by one; of longer recordings, as many blocks."""
_SHOWN = 32


@dataclass(frozen=True)
class LagChange:
    """From this step on, everything came at another time.

    Attributes:
        sample: of the program's.
        step: likewise.
        steps: how much later than before (negative: so many steps of the program were not recorded).
    """

    sample: int
    step: int
    steps: int


@dataclass(frozen=True)
class LayerAlignment:
    """What was done with a layer.

    Attributes:
        offset_steps: how many steps too late it was recorded, and was moved back.
        time: how sure that is.
        order: of the neurons, in words.
        moved_neurons: of those that were numbered otherwise, how many.
        moved: the first of them: address as recorded, and the neuron that it is.
        neurons: how sure that is.
        step_s: length of a step in seconds; None where steps were recorded, or no unit was.
        drift_ppm: how much longer than was given, in parts of a million; None where nothing was given.
        outside_events: that belong to no step of a sample.
    """

    offset_steps: int
    time: Choice
    order: str
    moved_neurons: int
    moved: tuple[tuple[int, int], ...]
    neurons: Choice
    step_s: float | None = None
    drift_ppm: float | None = None
    outside_events: int = 0


@dataclass(frozen=True)
class Alignment:
    """What was done with a recording before it was compared.

    Attributes:
        applied: in words, each thing; nothing if it was taken as it is.
        decided: whether every choice is sure.
        layers: by name.
        dropped_steps: steps of the program that were not recorded.
        repeated_steps: steps that were recorded beyond those of the program.
        drift_steps_per_1000: how much later each 1000 steps end, from the lags.
        lag_changes: the first of them.
        notes: what was not sought, and why.
    """

    applied: tuple[str, ...] = ()
    decided: bool = True
    layers: dict[str, LayerAlignment] = field(default_factory=dict)
    dropped_steps: int = 0
    repeated_steps: int = 0
    drift_steps_per_1000: float = 0.0
    lag_changes: tuple[LagChange, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aligned:
    """By layer, how often each neuron fired in each step, ``[N, T, *shape]``; and what was done for that."""

    spikes: Mapping[str, Array]
    alignment: Alignment


def align(recorded: Mapping[str, Rows], expected: Mapping[str, Array], way: Align = "all") -> Aligned:
    """Bring a recording into the program's time and order.

    Args:
        recorded: by layer.
        expected: what the program fires, ``[N, T, *shape]`` by layer, of these layers at least.
        way: what may be sought; "none": it is taken as it is.

    An order is sought by correlation where SciPy is installed; a note says where it is not.
    """
    layers = {name: _Layer(name, rows, expected[name]) for name, rows in recorded.items()}
    for layer in layers.values():
        layer.seek(way)
    lags = _Lags.sought(list(layers.values())) if way in ("all", "time") else None
    for layer in layers.values():
        layer.lags = lags
        if not layer.explained:
            layer.forget()
    spikes = {name: layer.dense() for name, layer in layers.items()}
    found = {name: layer.told(spikes[name]) for name, layer in layers.items()}
    changes = lags.changes if lags is not None and any(layer.lags for layer in layers.values()) else []
    applied = [words for name, each in found.items() for words in _told(name, each)]
    dropped, repeated = (sum(max(0, sign * change.steps) for change in changes) for sign in (-1, 1))
    if changes:
        first = changes[0]
        applied.append(
            f"{dropped} dropped and {repeated} repeated steps, the first at sample {first.sample}, step {first.step}"
        )
    return Aligned(
        spikes,
        Alignment(
            applied=tuple(applied),
            decided=all(choice.decided for each in found.values() for choice in (each.time, each.neurons)),
            layers=found,
            dropped_steps=dropped,
            repeated_steps=repeated,
            drift_steps_per_1000=lags.drift if lags is not None and changes else 0.0,
            lag_changes=tuple(changes[:_SHOWN]),
            notes=tuple(layer.note for layer in layers.values() if layer.note),
        ),
    )


def _told(name: str, done: LayerAlignment) -> list[str]:
    words = []
    if done.offset_steps:
        words.append(f"{name}: moved by {-done.offset_steps} steps")
    if done.order != IDENTITY:
        words.append(f"{name}: neurons reordered: {done.order}")
    if done.step_s is not None and done.drift_ppm is None:
        words.append(f"{name}: a step is {done.step_s * 1e6:.6g} us, as was found")
    elif done.drift_ppm:
        words.append(f"{name}: a step is longer than was said by {done.drift_ppm:.4g} ppm")
    return words


class _Layer:
    """One layer: its events, and what they are held against."""

    def __init__(self, name: str, rows: Rows, expected: Array) -> None:
        self.layer, self.rows, self.note = name, rows, ""
        self.shape: tuple[int, ...] = expected.shape[2:]
        self.samples, self.steps = expected.shape[:2]
        self.size = prod(self.shape)
        self.fires = expected.reshape(self.samples, self.steps, self.size) != 0
        self.flat = self.fires.ravel()
        self.expected = int(self.fires.sum())
        self.largest = int(expected.max(initial=1)) if expected.dtype.kind in "iuf" else 1
        self.stride = max(1, len(rows.row) // _EVENTS)
        self.row, self.neuron = rows.row[:: self.stride], rows.neuron[:: self.stride]
        self.weight = self.weights(rows.count[:: self.stride])
        self.orders = {IDENTITY: np.arange(self.size)}
        self.offsets, self.likely = [0], 0
        self.offset, self.name, self.order = 0, IDENTITY, self.orders[IDENTITY]
        self.lags: _Lags | None = None

    def weights(self, count: Array) -> Array:
        """Spikes that events stand for; no more than a neuron of the program fires at once."""
        return np.asarray(np.abs(count).clip(max=self.largest))

    def hits(self, row: Array, neuron: Array) -> Array:
        """Which events fall on a spike of the program."""
        sample, step = np.divmod(row, self.rows.period)
        inside = (sample >= 0) & (sample < self.samples) & (step < self.steps)
        place = (sample * self.steps + step) * self.size + neuron
        return np.asarray(inside & self.flat[np.where(inside, place, 0)])

    def seek(self, way: Align) -> None:
        """Choose offset and order."""
        if way in ("all", "neurons"):
            self.orders = symmetric(self.shape)
        if way in ("all", "time"):
            self.offsets = self._offsets()
        few = max(1, len(self.row) // _FEW)
        row, neuron, weight = self.row[::few], self.neuron[::few], self.weight[::few]
        tried = {(offset, name): self.hits(row - offset, order[neuron])
                 for offset in self.offsets for name, order in self.orders.items()}  # fmt: skip
        chosen = 0, IDENTITY
        best = max(tried, key=lambda each: int(weight[tried[each]].sum()))
        # One thing alone that explains as much is preferred to both together.
        for challenger in ((best[0], IDENTITY), (0, best[1]), best):
            if beats(tried[challenger], tried[chosen], weight, len(tried)):
                chosen = challenger
        self.offset, self.name = chosen
        self.order = self.orders[self.name]
        perfect = self.hits(self.row - self.offset, self.order[self.neuron]).all()
        if way in ("all", "neurons") and not perfect and self.size > 1 and self.expected:
            self._correlate()

    @property
    def explained(self) -> bool:
        """Whether what was chosen explains more than that some neurons fire more than others.

        It is held against itself with other samples' spikes: of what these leave to be explained, a part has to be.
        """
        row, neuron = self._placed(self.row), self.order[self.neuron]
        there = int(self.weight.sum()) + self.expected // self.stride
        if not there:
            return False
        away = max(1, self.samples // 2) * self.rows.period if self.samples > 1 else max(1, self.steps // 2)
        f1, by_chance = (
            2 * int(self.weight[self.hits(each % (self.samples * self.rows.period), neuron)].sum()) / there
            for each in (row, row + away)
        )
        return f1 - by_chance >= _EXPLAINED * (1 - by_chance) and f1 > by_chance

    def forget(self) -> None:
        """Take the recording as it is."""
        self.offset, self.name, self.order, self.lags = 0, IDENTITY, self.orders[IDENTITY], None

    def told(self, spikes: Array) -> LayerAlignment:
        """What was done, and how sure that is."""
        row, neuron = self._placed(self.row), self.order[self.neuron]
        after = self.hits(row, neuron)
        expected = self.expected // self.stride
        by_offset = {str(offset): self.hits(row + self.offset - offset, neuron) for offset in self.offsets}
        by_order = {name: self.hits(row, order[self.neuron]) for name, order in self.orders.items()}
        time = choice({**by_offset, str(self.offset): after}, str(self.offset), self.weight, expected)
        neurons = choice({**by_order, self.name: after}, self.name, self.weight, expected)
        if not self.explained:
            time, neurons = replace(time, decided=False), replace(neurons, decided=False)
        moved = np.flatnonzero(self.order != self.orders[IDENTITY])
        clock = self.rows.clock or Clock(1.0, None, None, 0.0)
        lost = int(np.abs(self.rows.count).sum()) - int(np.abs(spikes).sum(dtype=np.int64))
        return LayerAlignment(
            offset_steps=self.offset,
            time=time,
            order=self.name,
            moved_neurons=len(moved),
            moved=tuple((int(a), int(self.order[a])) for a in moved[:_SHOWN]),
            neurons=neurons,
            step_s=clock.step_s,
            drift_ppm=clock.drift_ppm,
            outside_events=self.rows.outside + lost,
        )

    def _offsets(self) -> list[int]:
        """None at all, those that the numbers of spikes in each step suggest, and their neighbours."""
        wanted = profile(self.fires, self.rows.period)
        row = self.row[(self.row >= 0) & (self.row < 2 * len(wanted) + 64)]
        if not len(row):
            return [0]
        counted = np.bincount(row, minlength=len(wanted)).astype(np.float64)
        reach = self.rows.period // 3 if self.rows.apart else None
        likely, _ = best_offsets(counted, wanted, _OFFSETS, reach)
        self.likely = int(likely[0])
        near = [-2, -1, 0, 1, 2, *(int(offset) for offset in likely), int(likely[0]) - 1, int(likely[0]) + 1]
        return list(dict.fromkeys(sorted(near, key=abs)))

    def _correlate(self) -> None:
        """Seek any order of channels, then of neurons, on half the samples; keep what explains the other half.

        Where nothing explains the recording yet, an order may hide the offset: then that which the numbers of spikes
        in each step suggest is tried as well.
        """
        if find_spec("scipy") is None:
            why = "SciPy is not installed (neurocompile[recordings])"
            self.note = f"{self.layer}: only symmetric orders were sought: {why}"
            return
        if self.explained:
            self._exchange()
            return
        hit, offsets = self.hits(self.row, self.neuron), list(dict.fromkeys((0, self.likely)))
        best = 0, IDENTITY, self.orders[IDENTITY]
        for self.offset in offsets:
            self.name, self.order = IDENTITY, self.orders[IDENTITY]
            self._exchange()
            now = self.hits(self.row - self.offset, self.order[self.neuron])
            if beats(now, hit, self.weight, len(offsets)):
                best, hit = (self.offset, self.name, self.order), now
        self.offset, self.name, self.order = best

    def _exchange(self) -> None:
        """The same, at one offset."""
        sample, step = np.divmod(self.row - self.offset, self.rows.period)
        half = (sample if self.samples > 1 else step) % 2 == 0
        for of, words in ((self._by_channel, "channels exchanged"), (self._by_neuron, "neurons exchanged")):
            found = of(half)
            if found is None:
                continue
            kept = self._kept(*found, ~half)
            if (kept != self.order).any():
                self.order = kept
                self.name = words if self.name == IDENTITY else f"{self.name}; {words}"

    def _kept(self, order: Array, groups: Sequence[Array], half: Array) -> Array:
        """Of the groups of addresses that change places, those that explain more of the other half than before."""
        row, neuron, weight = self.row[half] - self.offset, self.neuron[half], self.weight[half]
        before, after = (self.hits(row, each[neuron]) for each in (self.order, order))
        kept, group_of = self.order.copy(), np.full(self.size, -1)
        for number, group in enumerate(groups):
            group_of[group] = number
        of = group_of[neuron]
        by_group = np.argsort(of, kind="stable")
        bounds = np.searchsorted(of[by_group], np.arange(len(groups) + 1))
        for number, group in enumerate(groups):
            events = by_group[bounds[number] : bounds[number + 1]]
            if beats(after[events], before[events], weight[events], len(self.offsets) * len(groups)):
                kept[group] = order[group]
        return kept

    def _by_channel(self, half: Array) -> tuple[Array, Sequence[Array]] | None:
        """Channels against channels, every place of the map with itself."""
        if len(self.shape) != 3 or self.shape[0] < 2:
            return None
        channels, places = self.shape[0], self.shape[1] * self.shape[2]
        neuron = self.order[self.neuron[half]]
        channel, place = np.divmod(neuron, places)
        together = np.zeros((channels, channels))
        for other in range(channels):
            hit = self.hits(self.row[half] - self.offset, other * places + place)
            together[:, other] = np.bincount(channel[hit], self.weight[half][hit], channels)
        same = np.arange(channels)
        exchanged = assigned(together, same)
        channel, place = np.divmod(self.order, places)
        groups = [np.flatnonzero(np.isin(channel, group)) for group in cycles(exchanged, same)]
        return exchanged[channel] * places + place, groups

    def _by_neuron(self, half: Array) -> tuple[Array, Sequence[Array]] | None:
        """Neurons against neurons."""
        if self.size > MOST_NEURONS:
            self.note = f"{self.layer}: too large to seek any order: {self.size:,} neurons, at most {MOST_NEURONS:,}"
            return None
        sample, step = np.divmod(self.row[half] - self.offset, self.rows.period)
        inside = (sample >= 0) & (sample < self.samples) & (step < self.steps)
        rows = (sample * self.steps + step)[inside]
        counted = together(rows, self.neuron[half][inside], self.weight[half][inside], self.fires, self.size)
        order = assigned(counted, self.order)
        return order, cycles(order, self.order)

    def _placed(self, row: Array) -> Array:
        """Rows of the program, of recorded ones."""
        row = row - self.offset
        return row if self.lags is None else row - self.lags.at(row)

    def dense(self) -> Array:
        """How often each neuron fired in each step, ``[N, T, *shape]``."""
        row, neuron = self._placed(self.rows.row), self.order[self.rows.neuron]
        sample, step = np.divmod(row, self.rows.period)
        inside = (sample >= 0) & (sample < self.samples) & (step < self.steps)
        place = ((sample * self.steps + step) * self.size + neuron)[inside]
        whole = np.zeros(self.samples * self.steps * self.size, np.int16)
        np.add.at(whole, place, self.rows.count[inside].astype(np.int16))
        return whole.reshape(self.samples, self.steps, *self.shape)


@dataclass
class _Lags:
    """By how many steps each row comes later than the layers' offsets say, from ``first`` on, in blocks of rows."""

    first: int
    lag: Array
    block: int
    period: int
    rows: int
    apart: bool

    def at(self, row: Array) -> Array:
        """The lags of rows."""
        return np.asarray(self.lag[np.clip((row - self.first) // self.block, 0, len(self.lag) - 1)])

    @property
    def changes(self) -> list[LagChange]:
        """Where it changes, in the program's samples and steps; not where a sample begins anew."""
        found = []
        for at in np.flatnonzero(np.diff(self.lag)) + 1:
            row = self.first + int(at) * self.block - int(self.lag[at])
            sample, step = divmod(row, self.period)
            if not (self.apart and self.lag[at] == 0):
                found.append(LagChange(sample, step, int(self.lag[at] - self.lag[at - 1])))
        return found

    @property
    def drift(self) -> float:
        """Steps that are lost or won in each 1000."""
        return 0.0 if self.apart else float(self.lag[-1] - self.lag[0]) * 1000 / self.rows

    @classmethod
    def sought(cls, layers: Sequence[_Layer]) -> _Lags | None:
        """Follow the lag over time, for all layers that run by one clock; None if it does not change.

        The path of most events that fall on expected spikes, less a price for each change (Viterbi). Where the lag
        begins is made part of the layers' offsets.
        """
        alike = {(each.rows.period, each.rows.apart) for each in layers}
        layers = [each for each in layers if len(each.rows.row)]
        if len(alike) != 1 or not layers:
            return None
        ((period, apart),) = alike
        samples = layers[0].samples
        moved = [_Moved(each.rows.row - each.offset, each.order[each.rows.neuron], each) for each in layers]
        first = min(int(each.row.min()) for each in moved)
        rows = max(int(each.row.max()) for each in moved) - first + 1
        block = -(-rows // _ROWS)
        blocks = -(-rows // block)
        lags = np.arange(-_LAGS, _LAGS + 1)
        score = np.zeros((blocks, len(lags)))
        for each in moved:
            for column, lag in enumerate(lags.tolist()):
                hit = each.hits(lag)
                score[:, column] += np.bincount((each.row[hit] - first) // block, each.weight[hit], blocks)
        starts = np.zeros(blocks, bool)
        if apart:
            # Where a sample begins (its pad included), the lag is the offset's again, for nothing.
            at = (np.arange(samples) * period - period // 3 - first) // block
            starts[at[(at > 0) & (at < blocks)]] = True
        events = sum(int(each.weight.sum()) for each in moved)
        price = _CHANGE + _NOISE * np.sqrt(events / blocks)
        found = cls(first, _followed(score, starts, lags, price), block, period, samples * period, apart)
        if not found._explains(moved):
            return None
        if not apart:
            begins = int(found.lag[0])
            found.lag, found.first = found.lag - begins, first - begins
            for layer in layers:
                layer.offset += begins
        return found

    def _explains(self, moved: Sequence[_Moved]) -> bool:
        """Whether it explains more events than one lag for all does, and not by chance, however many changes it has."""
        changes = int(np.count_nonzero(np.diff(self.lag)))
        if not changes:
            return False
        pairs = [(each.hits(self.at(each.row)), each.hits(0)) for each in moved]
        weight = np.concatenate([each.weight for each in moved])
        with_it, without = (np.concatenate(each) for each in zip(*pairs))
        more, less = int(weight[with_it & ~without].sum()), int(weight[without & ~with_it].sum())
        ways = changes * np.log((2 * _LAGS + 1) * len(self.lag))
        return more > less and (more - less) ** 2 / (2 * (more + less)) > ways - np.log(CHANCE)


@dataclass(frozen=True)
class _Moved:
    """Events of a layer, with its offset and order."""

    row: Array
    neuron: Array
    layer: _Layer

    @property
    def weight(self) -> Array:
        return self.layer.weights(self.layer.rows.count)

    def hits(self, lag: Array | int) -> Array:
        return self.layer.hits(self.row - lag, self.neuron)


def _followed(score: Array, starts: Array, lags: Array, price: float) -> Array:
    """The best path through scores ``[blocks, lags]``, as a lag for each block."""
    middle = len(lags) // 2
    came = np.zeros(score.shape, np.int16)
    total = score[0] - price * (lags != 0)
    stay = np.arange(len(lags))
    for at in range(1, len(score)):
        best = int(total.argmax())
        jump = total[best] - price
        came[at] = np.where(total >= jump, stay, best)
        total = np.maximum(total, jump)
        if starts[at] and total[best] > total[middle]:
            came[at, middle], total[middle] = best, total[best]
        total = total + score[at]
    path = np.zeros(len(score), np.int64)
    at = int(total.argmax()) if total.max() > total[middle] else middle
    for block in range(len(score) - 1, -1, -1):
        path[block] = lags[at]
        at = int(came[block, at])
    return path
