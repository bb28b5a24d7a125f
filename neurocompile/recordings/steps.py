"""Times of events become steps of the network: how long a step is, and where in it events fall.

What is sought is told by how many spikes are expected in each step, whichever neurons fire them: the order of the
neurons is sought afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurocompile.errors import Problem, UsageError
from neurocompile.ir.ops import Array
from neurocompile.recordings.base import UNITS_S, Events, bad

__all__ = ["Clock", "Rows", "Timing", "best_offsets", "profile", "rows_of"]

_PREFIX = 512
"""Steps of the beginning on which the length of a step is first sought."""
_EVENTS = 1 << 17
"""So many events are looked at while it is sought."""
_GIVEN, _FREE = 0.02, 0.25
"""How far it is sought from what was given, and from what the length of the recording says."""
_LEAST_GAIN = 1.0
"""Steps over the whole recording that it has to differ from what was given."""
_CLOCKED = 0.3
"""Length of the mean of phases from which events are taken to come at a fixed place in the step."""


@dataclass(frozen=True)
class Timing:
    """What a user says of time.

    Attributes:
        step_s: how long a step is; None: it is sought.
        sample_s: from the beginning of a sample to that of the next; None: as long as its steps.
        markers: when each sample begins, ``[N]``, in the unit of the events; None: nobody says.
        seek: whether the length of a step may be another than was given.
    """

    step_s: float | None = None
    sample_s: float | None = None
    markers: Array | None = None
    seek: bool = True


@dataclass(frozen=True)
class Clock:
    """How times became steps.

    Attributes:
        step: length of one, in the unit of the events.
        step_s: in seconds; None where the unit is not known.
        drift_ppm: how much longer it is than was given, in parts of a million; None where nothing was given.
        origin: the time that counts as the first step's beginning, in the unit of the events.
    """

    step: float
    step_s: float | None
    drift_ppm: float | None
    origin: float


@dataclass(frozen=True)
class Rows:
    """Events in steps: step t of sample n is row ``n * period + t``.

    Attributes:
        row: of each event, ``[E]``; a late recording has late rows.
        neuron: its address, ``[E]``.
        count: how many spikes it stands for, ``[E]``, or -1.
        period: rows from one sample to the next.
        apart: whether each sample has its own beginning, so that rows lost in one do not move the next.
        clock: how times became steps; None where steps were recorded.
        outside: events that belong to no sample.
    """

    row: Array
    neuron: Array
    count: Array
    period: int
    apart: bool = False
    clock: Clock | None = None
    outside: int = 0


def profile(expected: Array, period: int) -> Array:
    """Spikes expected in each row, ``[N * period]``, of ``[N, T, neurons]``."""
    samples, steps = expected.shape[:2]
    whole = np.zeros((samples, period))
    whole[:, :steps] = np.count_nonzero(expected, axis=2)[:, :period]
    return whole.ravel()


def rows_of(events: Events, neuron: Array, expected: Array, timing: Timing) -> Rows:
    """The rows of events.

    Args:
        events: of a layer.
        neuron: their addresses, ``[E]``.
        expected: what the layer fires, ``[N, T, neurons]``.
        timing: what is known of time.

    Raises:
        BadInput: for samples that there are none of, or fewer markers than samples.
        UsageError: if a length in seconds was given, and the unit of the times is not known.
    """
    samples, steps = expected.shape[:2]
    if not len(events):
        none = np.zeros(0, np.int64)
        return Rows(none, none, none, steps)
    in_steps = events.unit == "step"
    given = 1.0 if in_steps else _given(timing.step_s, events, "--step-length")
    period = _period(events, timing, given, steps)
    time, base, first, kept, apart = _placed(events, timing, samples, steps)
    if apart:
        period = 3 * max(steps, 8)  # a sample may be late without meeting the next
    most = steps if apart else samples * period
    if in_steps:
        row, clock = np.floor(time), None
    else:
        row, clock = _clocked(time, base * period, profile(expected, period), most, period, given, timing.seek)
        unit_s = UNITS_S.get(events.unit)
        drift = None if given is None else (clock.step / given - 1) * 1e6
        clock = Clock(clock.step, None if unit_s is None else clock.step * unit_s, drift, first + clock.origin)
    limit = period if apart else 2 * samples * period + 64
    inside = kept & (row >= (-period // 3 if apart else -limit)) & (row < limit)
    found = (base * period + row.astype(np.int64))[inside]
    ones = np.ones(len(found), np.int64)
    return Rows(found, neuron[inside], ones, period, apart, clock, int((~inside).sum()))


def _given(length_s: float | None, events: Events, option: str) -> float | None:
    """A length in the unit of the events."""
    if length_s is None:
        return None
    if events.unit not in UNITS_S:
        what, fix = "nothing says in what unit the times are", "give --time-unit us, say"
        raise UsageError(Problem(what, events.where, f"{option} {length_s:g} s", "s, ms, us or ns", fix))
    return length_s / UNITS_S[events.unit]


def _period(events: Events, timing: Timing, given: float | None, steps: int) -> int:
    """Steps from one sample to the next, where they follow one another."""
    if timing.sample_s is None:
        return steps
    length = _given(timing.sample_s, events, "--sample-length") if events.unit != "step" else None
    if length is None or given is None:
        fix = "give --step-length as well, and times in seconds"
        raise UsageError(Problem("--sample-length needs to know how long a step is", events.where, fix=fix))
    period = round(length / given)
    if period < steps or abs(length / given - period) > 0.01:
        fix = "give --markers FILE, the time at which each sample begins"
        limit = f"whole steps, {steps} or more"
        raise UsageError(Problem("a sample is not so long", "--sample-length", f"{length / given:g} steps", limit, fix))
    return period


def _placed(
    events: Events, timing: Timing, samples: int, steps: int
) -> tuple[Array, Array, float, Array, bool]:  # fmt: skip
    """Times since the beginning of what they belong to, its sample's number (0 for a stream), the first of all times
    taken off, which events belong somewhere, and whether each sample has a beginning of its own."""
    everything = np.ones(len(events), bool)
    if timing.markers is not None:
        if len(timing.markers) != samples or (np.diff(timing.markers) <= 0).any():
            fix = "give one time for each sample, in their order"
            actual = f"{len(timing.markers)} times, from {timing.markers[:1]} on"
            raise bad(
                "the markers do not belong to these samples", events.where, actual, f"{samples} rising times", fix
            )
        number = np.searchsorted(timing.markers, events.time, "right") - 1
        kept = number >= 0
        number = np.maximum(number, 0)
        return (events.time - timing.markers[number]).astype(np.float64), number, 0.0, kept, True
    if events.sample is not None:
        if events.sample.max() >= samples:
            fix = "number samples from 0, in the order of the data"
            raise bad("there is no such sample", events.where, str(events.sample.max()), f"0 to {samples - 1}", fix)
        if samples == 1 or not _goes_on(events):
            return events.time.astype(np.float64), events.sample, 0.0, everything, True
    stream = np.zeros(len(events), np.int64)
    first = float(events.time.min())
    # Times that begin near 0 count from there; those of a clock that runs for years, from the first event.
    near = 0 <= first <= float(events.time.max()) - first
    origin = 0 if near else int(first) if events.time.dtype.kind == "i" else first
    return (events.time - origin).astype(np.float64), stream, float(origin), everything, False


def _goes_on(events: Events) -> bool:
    """Whether times go on from one sample to the next, instead of beginning anew."""
    assert events.sample is not None
    numbers = np.unique(events.sample)
    first, last = (np.full(int(numbers[-1]) + 1, fill) for fill in (np.inf, -np.inf))
    np.minimum.at(first, events.sample, events.time)
    np.maximum.at(last, events.sample, events.time)
    rises = first[numbers][1:] >= last[numbers][:-1]
    return bool(len(rises)) and float(rises.mean()) > 0.9


# -- the length of a step ----------------------------------------------------------------------------------------------


def _clocked(
    time: Array, base: Array, wanted: Array, rows: int, period: int, given: float | None, seek: bool
) -> tuple[Array, Clock]:  # fmt: skip
    """Rows within a sample (or the stream) of times, and the clock that makes them."""
    stride = max(1, len(time) // _EVENTS)
    few, of = time[::stride], base[::stride]
    sought = _Sought(few, of, wanted, rows, period)
    step = sought.guess() if given is None else given
    if step <= 0:
        step = 1.0
    if seek or given is None:
        found = sought.best(step, _FREE if given is None else _GIVEN)
        found = sought.polished(found)
        if given is None or abs(found / given - 1) * rows > _LEAST_GAIN:
            step = found
    phase = sought.phase(step)
    return np.floor(time / step + phase), Clock(step, None, None, -phase * step)


class _Sought:
    """Times ``[E]`` since the beginning of what has ``base`` rows before it, and the spikes wanted in each row."""

    def __init__(self, time: Array, base: Array, wanted: Array, rows: int, period: int) -> None:
        self.time, self.base, self.wanted, self.rows, self.period = time, base, wanted, rows, period
        self.stream = not base.any()

    def guess(self) -> float:
        """From the first to the last event, as from the first to the last step with a spike."""
        active = np.flatnonzero(self.wanted if self.stream else self.wanted.reshape(-1, self.period).any(0))
        lasts = float(active[-1] - active[0]) if len(active) > 1 else max(float(self.rows - 1), 1.0)
        return float(self.time.max() - self.time.min()) / lasts

    def best(self, step: float, reach: float) -> float:
        """Sought coarsely on the beginning, then on twice as much, until it is the whole."""
        rows = min(self.rows, _PREFIX) if self.stream else self.rows
        fine = 0.25 / rows
        tried = step * np.exp(np.arange(-reach, reach + fine, fine))
        while True:
            scores = [self.score(each, phase, rows) for each in tried for phase in (0.0, 0.5)]
            pairs = np.maximum(scores[::2], scores[1::2])
            good = tried[pairs >= pairs.max() - 1e-9]
            # Of equally good ones that by which events keep their place in the step, or which is nearest to the start.
            turns = [abs(np.exp(2j * np.pi * (self.time / each % 1.0)).mean()) for each in good]
            nearest = np.argmin(np.abs(np.log(good / step)))
            step = float(good[np.argmax(turns) if max(turns) > _CLOCKED else nearest])
            if rows >= self.rows:
                return step
            rows = min(self.rows, 2 * rows)
            fine = 0.25 / rows
            tried = step * (1 + np.arange(-6, 7) * fine)

    def score(self, step: float, phase: float, rows: int) -> float:
        """How alike the events in each row are to what is wanted there, at the best offset."""
        row = np.floor(self.time / step + phase).astype(np.int64)
        if self.stream and rows < self.rows:
            row = row[row < 2 * rows]
            wanted = self.wanted[: 2 * rows]
        else:
            row, wanted = row + self.base, self.wanted
        row = row[(row >= 0) & (row < 2 * len(wanted))]
        counted = np.bincount(row, minlength=1).astype(np.float64)
        return best_offsets(counted, wanted, 1)[1]

    def phase(self, step: float) -> float:
        """What is added so that events fall into the middle of their row, where they all come at one place in it."""
        turns = np.exp(2j * np.pi * (self.time / step % 1.0)).mean()
        if abs(turns) > _CLOCKED:
            place = float(np.angle(turns) / (2 * np.pi)) % 1.0
            return 0.5 - (place if place < 0.9 else place - 1.0)  # a little too early belongs to what begins
        tried = np.arange(8) / 8
        scores = np.array([self.score(step, each, self.rows) for each in tried])
        beside = np.roll(scores, 1) + np.roll(scores, -1)  # of equally good ones the middle
        return float(tried[np.lexsort((beside, np.round(scores, 9)))[-1]])

    def polished(self, step: float) -> float:
        """The same, so that events keep their place in the step to the end of the recording."""
        tried = step * (1 + np.linspace(-1.5, 1.5, 61) / self.rows)
        spread = [abs(np.exp(2j * np.pi * (self.time / each % 1.0)).mean()) for each in tried]
        step = float(tried[np.argmax(spread)]) if max(spread) > _CLOCKED else step
        for _ in range(3):
            turns = np.exp(2j * np.pi * (self.time / step % 1.0)).mean()
            if abs(turns) <= _CLOCKED:
                return step
            row = np.round(self.time / step - np.angle(turns) / (2 * np.pi))
            spread = row - row.mean()
            below = float((spread * spread).sum())
            if below == 0:
                return step
            step = float((spread * (self.time - self.time.mean())).sum()) / below
        return step


def best_offsets(counted: Array, wanted: Array, most: int, reach: int | None = None) -> tuple[Array, float]:
    """The offsets at which counts of rows are most alike to what is wanted, and how alike at the best (-1 to 1).

    Args:
        counted: events in each row.
        wanted: spikes in each row.
        most: how many offsets are wanted.
        reach: how large they may be.
    """
    size = 1 << int(np.ceil(np.log2(max(2, len(counted) + len(wanted)))))
    # Padded to one length before the mean is taken off, so that what is only moved is as alike as before.
    a, b = (np.pad(each, (0, size - len(each))) - each.sum() / size for each in (counted, wanted))
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    if scale == 0:
        return np.zeros(1, np.int64), 0.0
    alike = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    offsets = np.fft.fftfreq(size, 1 / size).astype(np.int64)
    if reach is not None:
        near = np.abs(offsets) <= reach
        alike, offsets = alike[near], offsets[near]
    order = np.argsort(-alike, kind="stable")[:most]
    return offsets[order], float(alike[order[0]] / scale)
