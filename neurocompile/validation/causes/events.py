"""Hypotheses on what was recorded: events lost, doubled, displaced; neurons dead, stuck, noisy; channels swapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.validation.causes.case import Case, Hypothesis
from neurocompile.validation.causes.driven import later
from neurocompile.validation.causes.rules import Run

__all__ = ["constant", "damage", "event_hypotheses", "noise"]

_FAR = 2
_NEVER = 1 << 60
_SWAPS = 2000


def event_hypotheses(case: Case, where: Array) -> Iterator[Hypothesis]:
    """What a layer that does what it should can look like in a recording.

    Args:
        case: the layer.
        where: the neurons that may be concerned, ``[*shape]``; all others are as they should be.
    """
    if not where.all():
        return
    for steps in (1, -1, 2, -2, 3, -3, 4, -4):
        many, side = "s" * (abs(steps) > 1), "late" if steps > 0 else "early"
        yield Hypothesis("delay-off", f"recorded {abs(steps)} step{many} {side}", _moved(steps))
    yield from _swapped(case)


def damage(case: Case) -> Iterator[Hypothesis]:
    """What chance may have done to events on their way to who hears, or records, them; if nothing else explains it.

    Chance does not know membranes: events that were lost, doubled or displaced had any that others had.
    """
    own, seen = case.own.spikes != 0, case.observed != 0
    if not (np.isin(case.observed, (0, 1, 2)).all() and np.isin(case.own.spikes, (0, 1)).all()):
        return
    lost, more, twice = own & ~seen, seen & ~own, case.observed == 2
    events = max(1, int(own.sum()))
    if lost.any() and not (more | twice).any() and not _chosen(case, lost, own & ~lost):
        yield Hypothesis("events-lost", f"{lost.sum():,} events ({lost.sum() / events:.1%}) lost", _read, free=2)
    again = more & later(own, 1)
    copies = twice.sum() + again.sum()
    if copies and not lost.any() and np.array_equal(again, more):
        came = twice | later(again, -1)
        alone = own & ~later(own, -1)  # where the next step fires anyway, a copy does not show
        alone[:, -1] = False
        if not _chosen(case, came, (own if twice.any() else alone) & ~came):
            yield Hypothesis("events-doubled", f"{copies:,} events ({copies / events:.1%}) came twice", _read, free=2)
    if lost.any() and more.any() and not twice.any():
        far = _displaced(own, seen)
        if far and not _chosen(case, lost, own & ~lost):
            many = "s" * (far > 1)
            yield Hypothesis("events-jittered", f"events displaced by up to {far} step{many}", _read, free=2)


def noise(case: Case) -> Iterator[Hypothesis]:
    """A neuron that fires, or does not, whatever its membrane is; where nothing else explains it."""
    for neuron in map(tuple, np.argwhere(case.neurons)):
        at = (slice(None), slice(None), *neuron)
        wrong, quiet = case.differs[at], case.own.spikes[at] == 0
        if wrong.sum() < 5:
            return
        h = case.own.membranes[at].astype(np.float64)
        extra, rest = h[wrong & quiet], h[~wrong & quiet]
        if len(extra) < 5 or len(rest) < 5 or _apart(extra, rest, 2.58):
            return
    count = int(case.neurons.sum())
    if count > max(1, case.neurons.size // 10) or _follows(case):
        return
    share = case.differs[..., case.neurons].mean()
    what = f"neuron {list(map(int, np.argwhere(case.neurons)[0]))}" if count == 1 else f"{count} neurons"
    yield Hypothesis(
        "neuron-noisy", f"{what}: {share:.1%} of the answers differ, whatever the membrane is", lambda case: _seen(case)
    )


def _follows(case: Case) -> bool:
    """Whether the answers that differ go with any input of the layer (correlation, 1 % over all inputs together)."""
    wrong = case.differs[..., case.neurons].any(-1).ravel().astype(np.float64)
    inputs = [case.driven.events(synapse.event) for synapse in case.layer.synapses]
    heard = np.concatenate([x.reshape(len(wrong), -1) for x in inputs], axis=1)
    heard = heard - heard.mean(0)
    size = np.sqrt((heard**2).sum(0))
    heard, wrong = heard[:, size > 0] / size[size > 0], wrong - wrong.mean()
    if not heard.size or not wrong.any():
        return False
    score = np.abs(wrong @ heard) / np.sqrt((wrong**2).mean())
    return bool(score.max() > np.sqrt(2 * np.log(100 * heard.shape[1])))


def _chosen(case: Case, some: Array, others: Array) -> bool:
    """Whether chance did not choose some events among others: other membranes had them, or other samples.

    (Mann and Whitney's U; chi squared over samples; in 1 of 1,000 cases either says so of chance.)
    """
    if _uneven(some.sum(axis=tuple(range(1, some.ndim))), (some | others).sum(axis=tuple(range(1, some.ndim)))):
        return True
    over = np.abs(case.own.membranes - case.op.threshold) / np.maximum(1.0, np.abs(case.op.threshold))
    return some.sum() > 1 and others.sum() > 1 and _apart(over[some], over[others], 3.29)


def _uneven(hit: Array, of: Array) -> bool:
    """Whether so many of these were hit in each sample, ``[N]``, by more than chance (chi squared, as a normal)."""
    share = hit.sum() / max(1, of.sum())
    there = of > 0
    if not 0 < share < 1 or there.sum() < 2:
        return False
    expected = of[there] * share
    freedom = there.sum() - 1
    found = ((hit[there] - expected) ** 2 / (expected * (1 - share))).sum()
    return bool(found > freedom + 3.29 * np.sqrt(2 * freedom) + 3)


def _apart(some: Array, others: Array, deviations: float) -> bool:
    """Whether two samples come from different distributions (Mann and Whitney's U, normal approximation)."""
    both = np.concatenate((some, others))
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # of equal ones, their mean
    n, m = len(some), len(others)
    u = ranks[:n].sum() - n * (n + 1) / 2
    ties = (counts**3 - counts).sum() / ((n + m) * (n + m - 1))
    spread = np.sqrt(n * m / 12 * (n + m + 1 - ties))
    return bool(spread > 0 and abs(u - n * m / 2) > deviations * spread)


def _read(case: Case) -> Run:
    """What was recorded, of a layer whose membranes nothing happened to."""
    return replace(case.own, spikes=case.observed)


def _seen(case: Case) -> Run:
    """What was recorded, whatever it is."""
    left = case.own.left if case.left is None else case.left
    return Run(case.observed, case.own.membranes, left)


def constant(case: Case) -> Iterator[Hypothesis]:
    """Neurons that never fire, or always do: all that differ."""
    seen = case.observed
    concerned = case.neurons
    if concerned.sum() > max(1, concerned.size // 2):
        return
    places = np.argwhere(concerned)
    what = f"neuron {list(map(int, places[0]))}" if len(places) == 1 else f"{len(places)} neurons"
    for value, name, how in ((0, "neuron-dead", "never fires"), (1, "neuron-stuck", "always fires")):
        if (seen[..., concerned] == value).all():

            def apply(case: Case, value: int = value, concerned: Array = concerned) -> Run:
                if case.left is None:
                    return replace(case.own, spikes=np.where(concerned, value, case.own.spikes))
                # It does not reach its threshold, or always does: its membrane is what the other resets leave of it.
                sign = np.where(case.op.flip, -1, 1) * (1 if value == 0 else -1)
                far = np.where(concerned, sign * _NEVER, case.op.threshold)
                return case.run(replace(case.op, threshold=far))

            yield Hypothesis(name, f"{what} {how if len(places) == 1 else how.replace('fires', 'fire')}", apply)


def _moved(steps: int) -> Callable[[Case], Run]:
    def apply(case: Case) -> Run:
        own = case.own
        run = own.changed(lambda part: later(part, steps))
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
        return own.changed(lambda part: np.take(part, order, 2))

    yield Hypothesis("channels-swapped", f"channels {shown} in another order", apply)


def _displaced(own: Array, seen: Array) -> int:
    """By how many steps events ``[N, T, ...]`` are displaced at most; 0: they are not the same events.

    Two that meet in a step are one, and those next to the ends may leave the sample; none may come from nowhere.
    """
    if (seen.sum(1) > own.sum(1)).any():
        return 0
    for far in range(1, _FAR + 1):
        if 2 * far >= own.shape[1]:
            return 0
        sides = range(-far, far + 1)
        near_own = np.logical_or.reduce([later(own, step) for step in sides])
        near_seen = np.logical_or.reduce([later(seen, step) for step in sides])
        near_seen[:, :far] = near_seen[:, -far:] = True
        if (near_own | ~seen).all() and (near_seen | ~own).all():
            return far
    return 0
