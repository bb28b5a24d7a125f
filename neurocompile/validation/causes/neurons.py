"""Hypotheses on neurons: threshold, reset, decay, bias, comparison, time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.validation.causes.case import Case, Hypothesis
from neurocompile.validation.causes.fits import at, interval
from neurocompile.validation.causes.rules import Habit, IntegerRule, Run

__all__ = ["neuron_hypotheses", "nice", "within"]

# Factors that a slip of an exponent, a shift or a unit makes.
_FACTORS = (
    0.5,
    2.0,
    0.25,
    4.0,
    0.125,
    8.0,
    1 / 16,
    16.0,
    1 / 64,
    64.0,
    0.75,
    1.5,
    1.25,
    0.8,
    0.9,
    1.1,
    -1.0,
    3.0,
    1 / 3,
)
_EARLY = 6
_BITS = range(1, 16)


def neuron_hypotheses(case: Case, where: Array) -> Iterator[Hypothesis]:
    """All that may be wrong with the neurons of a place.

    Args:
        case: the layer.
        where: the neurons that may be concerned, ``[*shape]``; all others are as they should be.
    """
    yield from _thresholds(case, where)
    yield from _resets(case, where)
    yield from _biases(case, where)
    yield from _decays(case, where)
    op = case.op
    yield _changed(
        "comparison", f"{'>=' if op.strict else '>'} for {'>' if op.strict else '>='}", where, strict=not op.strict
    )
    if where.all():
        yield from _times()


def within(run: Callable[[Case], Run], where: Array) -> Callable[[Case], Run]:
    """A run for some neurons, and what is right for the others."""
    if where.all():
        return run

    def apply(case: Case) -> Run:
        return run(case).changed(lambda other, own: np.asarray(np.where(where, other, own)), case.own)

    return apply


def nice(found: tuple[float, float] | None, values: Sequence[float]) -> Iterator[tuple[float, int]]:
    """Candidates for a number, each with how many numbers were fitted.

    Those that are likely anyway come first, whatever the interval says: rounding, and registers at their ends, are in
    no interval. Then its middle, unless one of them is inside.
    """
    for value in values:
        yield value, 0
    if found is not None and np.isfinite(found).all() and not any(found[0] <= value <= found[1] for value in values):
        yield (found[0] + found[1]) / 2, 1


def _changed(name: str, detail: str, where: Array, free: int = 0, **fields: Any) -> Hypothesis:
    """The neurons with other fields."""
    return Hypothesis(name, detail, within(lambda case: case.run(replace(case.op, **fields)), where), free)


def _whole(case: Case, value: Any) -> Array:
    """A number as this arithmetic has it."""
    return np.rint(value).astype(np.int64) if isinstance(case.rule, IntegerRule) else np.asarray(value, np.float64)


# -- threshold ---------------------------------------------------------------------------------------------------------


def _thresholds(case: Case, where: Array) -> Iterator[Hypothesis]:
    op, answers = case.op, case.responses
    if answers is not None:
        h, seen = answers.whole[..., where], case.observed[..., where]
        some = at(op, where)
        ones = np.ones_like(h)
        lower = -some.threshold * ones  # h - p * threshold against the threshold is h against (1 + p) thresholds
        for too in (False, True) if op.reset == "by" else (False,):
            taken = np.broadcast_to(op.amount, where.shape)[where] * answers.by[..., where] if too else 0.0
            for change, free in nice(interval(some, h, lower + taken, seen, case.slack), [f - 1 for f in _FACTORS]):
                fields = {
                    name: _whole(case, getattr(op, name) * (1 + change)) for name in ("threshold", "amount")[: 1 + too]
                }
                detail = f"threshold{', and what a reset takes,' * too} {1 + change:g} times as large"
                yield _changed("threshold-scaled", detail, where, free, **fields)
        shifted = interval(some, h, -ones, seen, case.slack)
        for amount, free in nice(shifted, ()):
            amount = float(_whole(case, amount))
            value = op.threshold + _whole(case, amount)
            yield _changed("threshold-shifted", f"threshold {amount:+g}", where, free, threshold=value)
    if isinstance(case.rule, IntegerRule):
        yield from _cut_thresholds(case, where)


def _cut_thresholds(case: Case, where: Array) -> Iterator[Hypothesis]:
    """Bits lost at the lower end, or at the upper one."""
    value = np.asarray(case.op.threshold, np.int64)
    seen = {value.tobytes()}
    for bits in _BITS:
        for how, cut in (
            ("cut off", (value >> bits) << bits),
            ("rounded", ((value + (1 << bits - 1)) >> bits) << bits),
        ):
            if cut.tobytes() not in seen:
                seen.add(cut.tobytes())
                yield _changed(
                    "threshold-rounded", f"the lowest {bits} bits of the threshold {how}", where, threshold=cut
                )
    for top in (*(2**bits - 1 for bits in range(2, 31)), *_tops(case, where)):
        most = np.minimum(value, top)
        if most.tobytes() not in seen:
            seen.add(most.tobytes())
            yield _changed("threshold-saturated", f"threshold at most {top:,}", where, threshold=most)


def _tops(case: Case, where: Array) -> Iterator[int]:
    """Where thresholds may end: what the neurons say that differ, if all of them have the same one."""
    answers, concerned = case.responses, case.neurons & where
    if answers is None or case.op.threshold.size == 1 or not concerned.any():
        return
    h = answers.whole[..., concerned]
    level = replace(at(case.op, concerned), threshold=np.zeros(h.shape[2:]))
    found = interval(level, h, -np.ones_like(h), case.observed[..., concerned], case.slack)
    if found is not None and np.isfinite(found).all():
        yield from sorted({int(np.rint(top)) for top in np.linspace(*found, 17)})


# -- reset -------------------------------------------------------------------------------------------------------------


def _resets(case: Case, where: Array) -> Iterator[Hypothesis]:
    op, answers = case.op, case.responses
    if op.reset != "to":
        yield _changed("reset-hard", "reset to 0 where the threshold should be taken away", where, reset="to",
                       v_reset=_whole(case, 0))  # fmt: skip
    if op.reset != "by":
        for amount, what in (
            (op.threshold, "the threshold is taken away"),
            (op.threshold - op.v_reset, "the way to the reset is taken away"),
            *([(op.v_reset, "the value of the reset is taken away")] if np.any(op.v_reset) else []),
        ):
            yield _changed("reset-soft", f"{what} where the membrane should be reset", where, reset="by",
                           amount=_whole(case, amount), keep=_one(case))  # fmt: skip
    if op.reset != "none":
        yield _changed("reset-missing", "no reset after a spike", where, reset="none")
        for late, how in (("before", "and is compared with it"), ("after", "and is compared without it")):
            if not op.refractory and op.max_spikes == 1:
                habit = Habit(late=late)  # type: ignore[arg-type]
                yield Hypothesis("reset-late", f"the reset falls a step late, {how}", _habit(habit, where))
        if op.reset == "to":
            yield _changed(
                "reset-late",
                "the reset falls a step late, and the current of that step is lost",
                where,
                deaf=not op.deaf,
            )
    yield from _resets_read(case, where)
    if answers is not None:
        some, seen = at(op, where), case.observed[..., where]
        h = answers.whole[..., where]
        if op.reset == "to":
            base = np.broadcast_to(op.v_reset, where.shape)[where]
            by = interval(some, h, answers.to[..., where], seen, case.slack)
            values = [
                float(each)
                for each in (op.threshold.ravel()[0], 0.0, op.v_init.ravel()[0])
                if base.size and each != base[0]
            ]
            share = interval(some, h, answers.to[..., where] * some.threshold, seen, case.slack)
            for part, free in nice(share, [f for f in (1.0, 0.5, -1.0, -0.5, 0.25, 1 / 3, 0.1) if f]):
                value = op.v_reset + _whole(case, part * op.threshold)
                yield _changed(
                    "reset-value", f"reset to {part:+g} thresholds from where it should be", where, free, v_reset=value
                )
            for shift, free in nice(by, [value - float(base[0]) for value in values] if base.size else ()):
                value = op.v_reset + _whole(case, shift)
                yield _changed("reset-value", f"reset to another value ({shift:+g})", where, free, v_reset=value)
        if op.reset == "by":
            by = interval(
                some, h, answers.by[..., where] * np.broadcast_to(op.amount, where.shape)[where], seen, case.slack
            )
            for change, free in nice(by, [factor - 1 for factor in _FACTORS]):
                value = _whole(case, op.amount * (1 + change))
                yield _changed("reset-value", f"a reset takes {1 + change:g} times as much", where, free, amount=value)
        first = (
            interval(some, h, np.broadcast_to(answers.start[..., where], h.shape), seen, case.slack)
            if np.any(op.v_init)
            else None
        )
        if first is not None and first[0] <= -1 <= first[1]:
            yield _changed("start-value", "membranes start at 0", where, v_init=_whole(case, 0))


def _resets_read(case: Case, where: Array) -> Iterator[Hypothesis]:
    """What a reset leaves, or takes, where membranes were recorded: it is seen there."""
    if case.left is None or case.op.reset == "none":
        return
    fired = (case.observed != 0) & where
    if case.op.reset == "to" and fired.any() and (values := np.unique(case.left[fired])).size == 1:
        yield _changed("reset-value", f"reset to {float(values[0]):g}", where, v_reset=_whole(case, values[0]))
    first = fired & (np.cumsum(case.differs, axis=1) == case.differs) & case.differs  # nothing differs before
    if case.op.reset == "by" and first.any():
        taken = (case.own.membranes - case.left)[first] / np.broadcast_to(case.op.amount, case.left.shape)[first]
        factor = float(np.median(taken))
        yield _changed("reset-value", f"a reset takes {factor:.4g} times as much", where,
                       amount=_whole(case, case.op.amount * factor))  # fmt: skip
        taken = (case.own.membranes - case.left)[first]
        if np.unique(taken).size == 1:
            yield _changed("reset-value", f"a reset takes {float(taken[0]):g}", where, amount=_whole(case, taken[0]))
    fired = case.steps.fired & where if case.steps is not None else np.zeros((), bool)
    if case.steps is not None and fired.any() and (more := np.unique(case.steps.surplus[fired])).size == 1:
        detail = f"a reset leaves {float(more[0]):+g} more"
        field, sign = ("v_reset", 1) if case.op.reset == "to" else ("amount", -1)
        fields: dict[str, Any] = {field: _whole(case, getattr(case.op, field) + sign * more[0])}
        yield _changed("reset-value", detail, where, **fields)


def _one(case: Case) -> Array:
    return np.asarray(1 << case.rule.arithmetic.decay_fraction if isinstance(case.rule, IntegerRule) else 1.0)


# -- bias, decay, time -------------------------------------------------------------------------------------------------


def _biases(case: Case, where: Array) -> Iterator[Hypothesis]:
    op, answers = case.op, case.responses
    if not (np.any(op.bias) or np.any(op.input_bias)):
        return
    none: dict[str, Any] = {"bias": _whole(case, 0), "input_bias": _whole(case, 0)}
    yield _changed("bias-missing", "no bias", where, **none)
    if answers is not None:
        some = at(op, where)
        found = interval(
            some, answers.whole[..., where], answers.bias[..., where], case.observed[..., where], case.slack
        )
        for change, free in nice(found, [factor - 1 for factor in _FACTORS]):
            fields = {name: _whole(case, getattr(op, name) * (1 + change)) for name in none}
            yield _changed("bias-scaled", f"bias {1 + change:g} times as large", where, free, **fields)
    for early in range(1, _EARLY + 1):
        detail = f"bias integrated {early} step{'s' * (early > 1)} before the first input"
        yield Hypothesis("bias-early", detail, _habit(Habit(early=early), where))
    for bits in _BITS if isinstance(case.rule, IntegerRule) else ():
        cut: dict[str, Any] = {name: (getattr(op, name) >> bits) << bits for name in none}
        yield _changed("bias-rounded", f"the lowest {bits} bits of the bias cut off", where, **cut)


def _decays(case: Case, where: Array) -> Iterator[Hypothesis]:
    op = case.op
    one = float(_one(case))
    for name, what in (("decay", "membrane"), ("current_decay", "current")):
        decay = getattr(op, name)
        if name == "current_decay" and not np.any(decay):
            continue
        values = {
            "no leak": np.full_like(decay, one), "all leaks": np.zeros_like(decay),
            "what should leak stays": one - decay,
            "the leak acts twice": decay * decay / one, "half the leak": (decay + one) / 2,
            "twice the leak": 2 * decay - one, "half of what should stay": decay / 2,
        }  # fmt: skip
        for detail, value in values.items():
            given: dict[str, Any] = {name: _whole(case, value)}
            yield _changed("decay-value", f"{what}: {detail}", where, **given)
        if decay.size == 1:
            best = _searched(case, where, name, one)
            detail = f"{what}: {best / one:.4g} of it stays, not {float(decay.ravel()[0]) / one:.4g}"
            given = {name: _whole(case, np.full_like(decay, best))}
            yield _changed("decay-value", detail, where, 1, **given)
    if isinstance(case.rule, IntegerRule):
        names = {"floor": "down", "zero": "towards zero", "nearest": "to the nearest"}
        for rounding, how in names.items():
            if rounding != case.rule.arithmetic.rounding:
                habit = Habit(rounding=rounding)  # type: ignore[arg-type]
                yield Hypothesis("decay-rounding", f"decayed membranes rounded {how}", _habit(habit, where))


def _searched(case: Case, where: Array, name: str, one: float) -> float:
    """The decay that leaves the least unexplained: by a grid, and by ever finer ones around its best."""

    def wrong(value: float) -> float:
        given: dict[str, Any] = {name: _whole(case, np.full_like(getattr(case.op, name), value))}
        run = case.run(replace(case.op, **given))
        if case.left is not None:
            return float(np.abs(run.left - case.left)[..., where].sum())
        return float(case.differing(run)[..., where].sum())

    least, most, best = 0.0, one, 0.0
    finest = 0.5 if isinstance(case.rule, IntegerRule) else one / 1e6
    while True:
        grid = np.linspace(least, most, 17)
        found = np.asarray([wrong(value) for value in grid])
        good = np.flatnonzero(found == found.min())
        best, step = float(grid[good[len(good) // 2]]), (most - least) / 16
        if found.min() == 0 or step <= finest:
            return best
        least, most = max(0.0, best - step), min(one, best + step)


def _times() -> Iterator[Hypothesis]:
    detail = "the state of a sample is not cleared before the next"
    yield Hypothesis("state-kept", detail, lambda case: case.run(habit=Habit(kept=True)), across=True)


def _habit(habit: Habit, where: Array) -> Callable[[Case], Run]:
    return within(lambda case: case.run(habit=habit), where)
