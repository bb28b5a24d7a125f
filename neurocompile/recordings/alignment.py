"""A recording is brought into the program's time and order of neurons, as a whole, and only where that is sure.

What is sought: an offset in steps, steps that were dropped or came twice, drift (steps.py has the length of a step),
and the order in which neurons were numbered (orders.py). Each candidate is judged by how many events fall on spikes
that the program fires. The recording as it is stays unless another candidate explains more events than chance would
(:class:`neurocompile.recordings.sure.Choice`); an order that was found by correlation has to explain samples that it
was not found on. Nothing is added, left out or moved by itself, so that no damage is hidden; what was done is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from math import prod
from typing import Literal

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.recordings.correlation import assigned, together
from neurocompile.recordings.orders import IDENTITY, MOST_NEURONS, cycles, symmetric
from neurocompile.recordings.steps import Clock, Rows, best_offsets, profile
from neurocompile.recordings.sure import Choice, beats, choice

__all__ = ["Align", "Aligned", "Alignment", "LagChange", "LayerAlignment", "align"]

Align = Literal["all", "time", "neurons", "none"]

_OFFSETS = 6
"""Offsets that the numbers of spikes in each step suggest, of which each is tried."""
_EVENTS = 1 << 17
"""So many events are looked at to choose by; all of them are brought into place."""
_LAGS = 16
"""So many steps may be dropped, or come twice, one after the other."""
_CHANGE = 10.0
"""Events that a change of the lag has to explain."""
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


def align(
    recorded: Mapping[str, Rows], expected: Mapping[str, Array], way: Align = "all"
) -> Aligned:  # fmt: skip
    """Bring a recording into the program's time and order.

    Args:
        recorded: by layer.
        expected: what the program fires, ``[N, T, *shape]`` by layer, of these layers at least.
        way: what may be sought; "none": it is taken as it is.

    An order is sought by correlation where SciPy is installed; a note says where it is not.
    """
    layers = {name: _Layer(name, rows, expected[name]) for name, rows in recorded.items()}
    found = {name: layer.sought(way) for name, layer in layers.items()}
    lags = _Lags.sought(layers) if way in ("all", "time") else None
    spikes = {name: layer.dense(lags) for name, layer in layers.items()}
    for name, layer in layers.items():
        lost = int(np.abs(layer.rows.count).sum()) - int(np.abs(spikes[name]).sum(dtype=np.int64))
        found[name] = replace(found[name], outside_events=layer.rows.outside + lost)
    changes = lags.changes if lags is not None else []
    applied = [words for name, each in found.items() for words in _told(name, each)]
    dropped, repeated = (sum(max(0, sign * change.steps) for change in changes) for sign in (-1, 1))
    if changes:
        first = changes[0]
        applied.append(
            f"{dropped} dropped and {repeated} repeated steps, the first at sample {first.sample}, step {first.step}"
        )
    decided = all(choice.decided for each in found.values() for choice in (each.time, each.neurons))
    drift = lags.drift if lags is not None else 0.0
    return Aligned(spikes, Alignment(tuple(applied), decided, found, dropped, repeated, drift, tuple(changes[:_SHOWN])))


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
        self.name, self.rows, self.note = name, rows, ""
        self.shape: tuple[int, ...] = expected.shape[2:]
        self.samples, self.steps = expected.shape[:2]
        self.size = prod(self.shape)
        self.fires = expected.reshape(self.samples, self.steps, self.size) != 0
        self.flat = self.fires.ravel()
        self.expected = int(self.fires.sum())
        self.largest = int(expected.max(initial=1)) if expected.dtype.kind in "iuf" else 1
        stride = max(1, len(rows.row) // _EVENTS)
        self.row, self.neuron = rows.row[::stride], rows.neuron[::stride]
        self.weight = np.abs(rows.count[::stride]).clip(max=self.largest)
        self.stride = stride
        self.offset = 0
        self.order = np.arange(self.size)

    def hits(self, row: Array, neuron: Array) -> Array:
        """Which events fall on a spike of the program."""
        sample, step = np.divmod(row, self.rows.period)
        inside = (sample >= 0) & (sample < self.samples) & (step < self.steps)
        place = (sample * self.steps + step) * self.size + neuron
        return inside & self.flat[np.where(inside, place, 0)]

    def sought(self, way: Align) -> LayerAlignment:
        """Choose offset and order."""
        orders = symmetric(self.shape) if way in ("all", "neurons") else {IDENTITY: self.order}
        offsets = self._offsets() if way in ("all", "time") else [0]
        tried = {(offset, name): self.hits(self.row - offset, order[self.neuron])
                 for offset in offsets for name, order in orders.items()}  # fmt: skip
        chosen = 0, IDENTITY
        best = max(tried, key=lambda each: int(self.weight[tried[each]].sum()))
        # One thing alone that explains as much is preferred to both together.
        for challenger in ((best[0], IDENTITY), (0, best[1]), best):
            if beats(tried[challenger], tried[chosen], self.weight, len(tried)):
                chosen = challenger
        self.offset, name = chosen
        self.order = orders[name]
        before = tried[chosen]
        if way in ("all", "neurons") and not before.all() and self.size > 1 and self.expected:
            name = self._correlated(name, offsets)
        after = self.hits(self.row - self.offset, self.order[self.neuron])
        expected = self.expected // self.stride
        others = {str(offset): self.hits(self.row - offset, self.order[self.neuron]) for offset in offsets}
        time = choice({**others, str(self.offset): after}, str(self.offset), self.weight, expected)
        by_order = {each: self.hits(self.row - self.offset, order[self.neuron]) for each, order in orders.items()}
        neurons = choice({**by_order, name: after}, name, self.weight, expected)
        moved = np.flatnonzero(self.order != np.arange(self.size))
        clock = self.rows.clock or Clock(1.0, None, None, 0.0)
        return LayerAlignment(
            offset_steps=self.offset,
            time=time,
            order=name,
            moved_neurons=len(moved),
            moved=tuple((int(a), int(self.order[a])) for a in moved[:_SHOWN]),
            neurons=neurons,
            step_s=clock.step_s,
            drift_ppm=clock.drift_ppm,
            outside_events=self.rows.outside,
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
        near = [-2, -1, 0, 1, 2, *(int(offset) for offset in likely), int(likely[0]) - 1, int(likely[0]) + 1]
        return list(dict.fromkeys(sorted(near, key=abs)))

    def _correlated(self, name: str, offsets: list[int]) -> str:
        """Seek any order of channels, then of neurons, on half the samples; keep what explains the other half."""
        if find_spec("scipy") is None:
            self.note = (
                f"{self.name}: only symmetric orders were sought: SciPy is not installed (neurocompile[recordings])"
            )
            return name
        sample, step = np.divmod(self.row - self.offset, self.rows.period)
        half = (sample if self.samples > 1 else step) % 2 == 0
        for of, words in ((self._by_channel, "channels exchanged"), (self._by_neuron, "neurons exchanged")):
            found = of(half)
            if found is None:
                continue
            kept = self._kept(found, ~half, len(offsets))
            if (kept != self.order).any():
                self.order = kept
                name = words if name == IDENTITY else f"{name}; {words}"
        return name

    def _kept(self, order: Array, half: Array, candidates: int) -> Array:
        """Of what changes places, the groups that explain more of the other half than before."""
        row, neuron, weight = self.row[half] - self.offset, self.neuron[half], self.weight[half]
        before, after = (self.hits(row, each[neuron]) for each in (self.order, order))
        kept, groups = self.order.copy(), cycles(order, self.order)
        group_of = np.full(self.size, -1)
        for number, group in enumerate(groups):
            group_of[group] = number
        of = group_of[neuron]
        by_group = np.argsort(of, kind="stable")
        bounds = np.searchsorted(of[by_group], np.arange(len(groups) + 1))
        for number, group in enumerate(groups):
            events = by_group[bounds[number] : bounds[number + 1]]
            if beats(after[events], before[events], weight[events], candidates * len(groups)):
                kept[group] = order[group]
        return kept

    def _by_channel(self, half: Array) -> Array | None:
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
        exchanged = assigned(together, np.arange(channels))
        channel, place = np.divmod(self.order, places)
        return exchanged[channel] * places + place

    def _by_neuron(self, half: Array) -> Array | None:
        """Neurons against neurons."""
        if self.size > MOST_NEURONS:
            self.note = f"{self.name}: too large to seek any order: {self.size:,} neurons, at most {MOST_NEURONS:,}"
            return None
        sample, step = np.divmod(self.row[half] - self.offset, self.rows.period)
        inside = (sample >= 0) & (sample < self.samples) & (step < self.steps)
        rows = (sample * self.steps + step)[inside]
        counted = together(rows, self.neuron[half][inside], self.weight[half][inside], self.fires, self.size)
        return assigned(counted, self.order)

    def placed(self, lags: _Lags | None) -> tuple[Array, Array]:
        """Row and neuron of every event."""
        row = self.rows.row - self.offset
        if lags is not None and lags.applied:
            row = row - lags.at(row)
        return row, self.order[self.rows.neuron]

    def dense(self, lags: _Lags | None) -> Array:
        """How often each neuron fired in each step, ``[N, T, *shape]``."""
        row, neuron = self.placed(lags)
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
    steps: int
    samples: int
    apart: bool

    @property
    def applied(self) -> bool:
        return bool(self.lag.any())

    def at(self, row: Array) -> Array:
        """The lags of rows."""
        return self.lag[np.clip((row - self.first) // self.block, 0, len(self.lag) - 1)]

    @property
    def changes(self) -> list[LagChange]:
        """Where it changes, in the program's samples and steps; not where a sample begins anew."""
        found = []
        for at in np.flatnonzero(np.diff(self.lag)) + 1:
            row = self.first + int(at) * self.block - int(self.lag[at])
            sample, step = divmod(row, self.period)
            if not (self.apart and self.lag[at] == 0):
                steps = int(self.lag[at] - self.lag[at - 1])
                found.append(LagChange(sample, step, steps))
        return found

    @property
    def drift(self) -> float:
        """Steps that are lost or won in each 1000."""
        rows = max(1, self.samples * self.period)
        return 0.0 if self.apart or not self.applied else float(self.lag[-1] - self.lag[0]) * 1000 / rows

    @classmethod
    def sought(cls, layers: Mapping[str, _Layer]) -> _Lags | None:
        """Follow the lag over time, for all layers that run by one clock; None if there is nothing to follow.

        The path of most events that fall on expected spikes, less :data:`_CHANGE` for each change (Viterbi).
        """
        alike = {(each.rows.period, each.rows.apart) for each in layers.values()}
        if len(alike) != 1 or not any(len(each.rows.row) for each in layers.values()):
            return None
        ((period, apart),) = alike
        told = next(iter(layers.values()))
        moved = [(each, each.rows.row - each.offset, each.order[each.rows.neuron]) for each in layers.values()]
        first = min(int(row.min()) for _, row, _ in moved if len(row))
        rows = max(int(row.max()) for _, row, _ in moved if len(row)) - first + 1
        block = -(-rows // _ROWS)
        blocks = -(-rows // block)
        lags = np.arange(-_LAGS, _LAGS + 1)
        score = np.zeros((blocks, len(lags)))
        for each, row, neuron in moved:
            weight = np.abs(each.rows.count).clip(max=each.largest)
            for column, lag in enumerate(lags):
                hit = each.hits(row - lag, neuron)
                score[:, column] += np.bincount((row[hit] - first) // block, weight[hit], blocks)
        starts = np.zeros(blocks, bool)
        if apart:
            # Where a sample begins (its pad included), the lag is the offset's again, for nothing.
            at = (np.arange(told.samples) * period - period // 3 - first) // block
            starts[at[(at > 0) & (at < blocks)]] = True
        found = cls(first, _followed(score, starts, lags), block, period, told.steps, told.samples, apart)
        return found if found._explains(moved) else None

    def _explains(self, moved: list[tuple[_Layer, Array, Array]]) -> bool:
        """Whether it explains more events than no lag does, and not by chance."""
        if not self.applied:
            return False
        pairs = [(each.hits(row, neuron), each.hits(row - self.at(row), neuron)) for each, row, neuron in moved]
        weight = np.concatenate([np.abs(each.rows.count).clip(max=each.largest) for each, _, _ in moved])
        without, with_it = (np.concatenate(each) for each in zip(*pairs))
        return beats(with_it, without, weight, 2 * _LAGS + 1)


def _followed(score: Array, starts: Array, lags: Array) -> Array:
    """The best path through scores ``[blocks, lags]``, as a lag for each block."""
    middle = len(lags) // 2
    came = np.zeros(score.shape, np.int16)
    total = score[0] - _CHANGE * (lags != 0)
    stay = np.arange(len(lags))
    for at in range(1, len(score)):
        best = int(total.argmax())
        jump = total[best] - _CHANGE
        came[at] = np.where(total >= jump, stay, best)
        total = np.maximum(total, jump)
        if starts[at]:
            came[at, middle], total[middle] = best, max(total[middle], total[best])
        total = total + score[at]
    path = np.zeros(len(score), np.int64)
    at = int(total.argmax()) if total.max() > total[middle] else middle
    for block in range(len(score) - 1, -1, -1):
        path[block] = lags[at]
        at = int(came[block, at])
    return path
