"""Hypotheses on what was recorded: events lost, doubled, displaced; neurons dead, stuck, noisy; channels swapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.validation.causes.case import Case, Hypothesis
from neurocompile.validation.causes.driven import later
from neurocompile.validation.causes.rules import Run

__all__ = ["damage", "event_hypotheses", "noise"]

_FAR = 4
_SWAPS = 2000


def event_hypotheses(case: Case, where: Array) -> Iterator[Hypothesis]:
    """What a layer that does what it should can look like in a recording.

    Args:
        case: the layer.
        where: the neurons that may be concerned, ``[*shape]``; all others are as they should be.
    """
    yield from _constant(case, where)
    if not where.all():
        return
    for steps in (1, -1, 2, -2, 3, -3, 4, -4):
        many, side = "s" * (abs(steps) > 1), "late" if steps > 0 else "early"
        yield Hypothesis("delay-off", f"recorded {abs(steps)} step{many} {side}", _moved(steps))
    yield from _swapped(case)


def damage(case: Case) -> Iterator[Hypothesis]:
    """What chance may have done to a layer's events on their way to who recorded them, if nothing else explains it.

    Chance does not know membranes: events that were lost, or doubled, had any that others had.
    """
    own, seen = case.own.spikes, case.observed
    lost, more = (seen == 0) & (own != 0), (seen != 0) & (own == 0)
    same_sign = np.sign(seen) == np.sign(own)
    doubled = _doubled(own, seen)
    whole = (own != 0) & ~lost & ~doubled
    if (
        lost.any()
        and not more.any()
        and (same_sign | lost).all()
        and not doubled.any()
        and not _chosen(case, lost, whole)
    ):
        share = lost.sum() / max(1, (own != 0).sum())
        yield Hypothesis("events-lost", f"{lost.sum():,} events ({share:.1%}) lost", _as_seen(_is_thinned))
    if doubled.any() and not lost.any() and not more.any() and not _chosen(case, doubled, whole):
        share = doubled.sum() / max(1, (own != 0).sum())
        yield Hypothesis("events-doubled", f"{doubled.sum():,} events ({share:.1%}) doubled", _as_seen(_is_doubled))
    if lost.any() and more.any():
        far = _displaced(own, seen)
        if far:
            many = "s" * (far > 1)
            yield Hypothesis("events-jittered", f"events displaced by up to {far} step{many}", _as_seen(_is_displaced))


def noise(case: Case) -> Iterator[Hypothesis]:
    """A neuron that fires, or does not, whatever its membrane is; where nothing else explains it."""
    for neuron in map(tuple, np.argwhere(case.neurons)):
        at = (slice(None), slice(None), *neuron)
        wrong, quiet = case.differs[at], case.own.spikes[at] == 0
        if wrong.sum() < 5:
            return
        h = case.own.membranes[at].astype(np.float64)
        extra, rest = h[wrong & quiet], h[~wrong & quiet]
        if len(extra) < 5 or len(rest) < 5 or _apart(extra, rest):
            return
    count = int(case.neurons.sum())
    share = case.differs[..., case.neurons].mean()
    what = f"neuron {list(map(int, np.argwhere(case.neurons)[0]))}" if count == 1 else f"{count} neurons"
    yield Hypothesis(
        "neuron-noisy", f"{what}: {share:.1%} of the answers differ, whatever the membrane is", lambda case: _seen(case)
    )


def _chosen(case: Case, some: Array, others: Array) -> bool:
    """Whether events of some places had other membranes, above their threshold, than those of others."""
    over = np.abs(case.own.membranes - case.op.threshold) / np.maximum(1.0, np.abs(case.op.threshold))
    return some.sum() > 1 and others.sum() > 1 and _apart(over[some], over[others])


def _apart(some: Array, others: Array) -> bool:
    """Whether two samples come from different distributions (Mann and Whitney's U, normal approximation, 5 %)."""
    both = np.concatenate((some, others))
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # of equal ones, their mean
    n, m = len(some), len(others)
    u = ranks[:n].sum() - n * (n + 1) / 2
    ties = (counts**3 - counts).sum() / ((n + m) * (n + m - 1))
    spread = np.sqrt(n * m / 12 * (n + m + 1 - ties))
    return bool(spread > 0 and abs(u - n * m / 2) > 1.96 * spread)


def _seen(case: Case) -> Run:
    left = case.own.left if case.left is None else case.left
    return Run(case.observed, case.own.membranes, left)


def _as_seen(holds: Callable[[Array, Array], bool]) -> Callable[[Case], Run]:
    """What was recorded, if it is the layer's own spikes but for such damage; membranes must be the layer's own."""

    def apply(case: Case) -> Run:
        if holds(case.own.spikes, case.observed):
            return replace(case.own, spikes=case.observed)
        return case.own

    return apply


def _constant(case: Case, where: Array) -> Iterator[Hypothesis]:
    """Neurons that never fire, or always do."""
    seen = case.observed
    concerned = case.neurons & where
    if not concerned.any() or concerned.sum() > max(1, concerned.size // 2):
        return
    places = np.argwhere(concerned)
    what = f"neuron {list(map(int, places[0]))}" if len(places) == 1 else f"{len(places)} neurons"
    for value, name, how in ((0, "neuron-dead", "never fires"), (1, "neuron-stuck", "always fires")):
        if (seen[..., concerned] == value).all():

            def apply(case: Case, value: int = value, concerned: Array = concerned) -> Run:
                spikes = np.where(concerned, value, case.own.spikes)
                left = case.own.left if case.left is None else np.where(concerned, case.left, case.own.left)
                return replace(case.own, spikes=spikes, left=left)

            yield Hypothesis(name, f"{what} {how if len(places) == 1 else how.replace('fires', 'fire')}", apply)


def _moved(steps: int) -> Callable[[Case], Run]:
    def apply(case: Case) -> Run:
        own = case.own
        run = Run(*(later(part, steps) for part in (own.spikes, own.membranes, own.left)))
        known = slice(steps, None) if steps > 0 else slice(0, steps)
        # Late: nothing can have been recorded before.
        return replace(run, known=known if case.left is not None or steps < 0 else slice(None))

    return apply


def _swapped(case: Case) -> Iterator[Hypothesis]:
    """Channels of the layer in another order, or neurons, where it has no channels."""
    own, seen = case.own.spikes, case.observed
    concerned = np.unique(np.argwhere(case.neurons)[:, 0]) if case.neurons.any() else np.array([], int)
    if not 2 <= len(concerned) <= _SWAPS:
        return
    order = np.arange(own.shape[2])
    free = list(concerned)
    for channel in concerned:
        match = [each for each in free if np.array_equal(own[:, :, each], seen[:, :, channel])]
        if not match:
            return
        order[channel] = match[0]
        free.remove(match[0])
    moved = [int(channel) for channel in concerned if order[channel] != channel]
    shown = ", ".join(map(str, moved[:4])) + ("..." if len(moved) > 4 else "")

    def apply(case: Case) -> Run:
        own = case.own
        return Run(*(np.take(part, order, 2) for part in (own.spikes, own.membranes, own.left)))

    yield Hypothesis("channels-swapped", f"channels {shown} in another order", apply)


def _doubled(own: Array, seen: Array) -> Array:
    return np.asarray((own != 0) & (seen == 2 * own))


def _is_thinned(own: Array, seen: Array) -> bool:
    return bool(((seen == own) | ((seen == 0) & (own != 0))).all())


def _is_doubled(own: Array, seen: Array) -> bool:
    return bool(((seen == own) | _doubled(own, seen)).all())


def _is_displaced(own: Array, seen: Array) -> bool:
    return _displaced(own, seen) > 0


def _displaced(own: Array, seen: Array) -> int:
    """By how many steps events are displaced at most, in both directions; 0: they are not the same events.

    Within each neuron and sample, the first is the first, and so on; those next to the ends may have left the window.
    """
    if not np.isin(own, (0, 1)).all() or not np.isin(seen, (0, 1)).all():
        return 0
    shape = own.shape[:2]
    before, after = (part.reshape(*shape, -1).transpose(0, 2, 1).reshape(-1, shape[1]) for part in (own, seen))
    counts = before.sum(1), after.sum(1)
    if np.mean(counts[0] == counts[1]) < 0.9:
        return 0
    rows = np.flatnonzero((counts[0] == counts[1]) & (counts[0] > 0))
    moves = []
    for row in rows:
        moves.append(np.flatnonzero(after[row]) - np.flatnonzero(before[row]))
    for row in np.flatnonzero(counts[0] != counts[1]):
        # What left the window, or met another event in its step, is near an end, or near another.
        times = np.flatnonzero(before[row])
        near = (times < _FAR) | (times >= shape[1] - _FAR) | np.r_[False, np.diff(times) <= 2 * _FAR][: len(times)]
        if not near.any() or counts[1][row] > counts[0][row]:
            return 0
    every = np.concatenate(moves) if moves else np.zeros(0, int)
    far = int(np.abs(every).max(initial=0))
    both = (every > 0).any() and (every < 0).any()
    return far if both and far <= _FAR else 0
