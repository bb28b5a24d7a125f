"""Hypotheses on weights: scaled, cut, saturated, one of them changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from neurocompile.ir.form import Synapse
from neurocompile.ir.ops import Array, Op
from neurocompile.validation.causes.case import Case, Hypothesis
from neurocompile.validation.causes.fits import at, interval
from neurocompile.validation.causes.membranes import fitted_share
from neurocompile.validation.causes.neurons import nice, within
from neurocompile.validation.causes.others import Change, by_ops, concerned, other, weights_of, with_weights
from neurocompile.validation.causes.rules import IntegerRule, RealRule, Run
from neurocompile.validation.causes.wiring import late, wiring_hypotheses

__all__ = ["weight_hypotheses"]

_FACTORS = (
    0.5, 2.0, 0.25, 4.0, 0.125, 8.0, 1 / 16, 16.0, -1.0, 0.75, 1.5, 1.25, 0.8, 0.9, 1.1, 0.7, 1.4, 0.6, 1.2, 3.0, 1 / 3,
)  # fmt: skip
_MOST_INPUTS = 2048
_MOST_TOPS = 256
_POWERS = 12


def weight_hypotheses(case: Case, where: Array) -> Iterator[Hypothesis]:
    """All that may be wrong with the weights that feed a place.

    Args:
        case: the layer.
        where: the neurons that may be concerned, ``[*shape]``; all others are as they should be.
    """
    synapses = case.layer.synapses
    groups = [(synapse,) for synapse in synapses] + ([synapses] if len(synapses) > 1 else [])
    for group in groups:
        what = "weights" if len(group) == len(synapses) else f"weights of {group[0].name}"
        yield from _scaled(case, where, group, what)
        yield from late(where, group, what)
        yield from _saturated(case, where, group, what)
        yield from (
            _cut(where, group, what) if isinstance(case.rule, IntegerRule) else _cut_reals(case, where, group, what)
        )
    for synapse in synapses:
        yield from wiring_hypotheses(case, where, synapse)
    if not where.all() or len(where) == 1:
        yield from _single(case, where)


# -- scaled and cut ----------------------------------------------------------------------------------------------------


def _scaled(case: Case, where: Array, group: tuple[Synapse, ...], what: str) -> Iterator[Hypothesis]:
    answers = case.responses
    changes = [factor - 1 for factor in _FACTORS]
    if answers is not None:
        change = sum((answers.parts[synapse.name] for synapse in group), np.zeros(()))
        ways = [(change, False)]
        if np.any(case.op.bias) or np.any(case.op.input_bias):  # what is one number to both is the threshold's, too
            ways.append((change + answers.bias, True))
        seen, some = case.observed[..., where], at(case.op, where)
        for each, bias in ways:
            found = interval(some, answers.whole[..., where], each[..., where], seen, case.slack)
            yield from _factors(case, where, group, what, nice(found, changes), bias)


def _factors(
    case: Case,
    where: Array,
    group: tuple[Synapse, ...],
    what: str,
    found: Iterator[tuple[float, int]],
    bias: bool,
) -> Iterator[Hypothesis]:
    whole = isinstance(case.rule, IntegerRule)
    for change, free in found:
        factor = 1 + change
        if np.isclose(factor, 0):
            continue
        detail = f"{what}{' and bias' * bias} {factor:g} times as large"
        roundings: list[tuple[str, Change]] = [
            ("", np.rint), (", rounded towards zero", np.trunc), (", rounded down", np.floor)
        ]  # fmt: skip
        for how, rounded in roundings if whole and factor % 1 else [("", np.asarray)]:
            change_of = _multiplied(factor, rounded)
            ops = {synapse.name: other(synapse.op, change_of) for synapse in group}
            names = ("bias", "input_bias") if bias else ()
            fields: dict[str, Any] = {name: change_of(np.asarray(getattr(case.op, name))) for name in names}

            def apply(case: Case, ops: dict[str, Op] = ops, fields: dict[str, Any] = fields) -> Run:
                return case.run(replace(case.op, **fields), case.with_weights(ops))

            yield Hypothesis("weights-scaled", detail + how, within(apply, where), free)
        for step, ops in _in_steps(case, group, partial(np.multiply, factor)) if whole and factor % 1 else ():
            yield Hypothesis("weights-scaled", f"{detail}, in steps of {step}", by_ops(ops, where), free)


def _steps(case: Case, group: tuple[Synapse, ...]) -> list[dict[str, float]]:
    """In which a chip may hold weights, by synapse: the largest power of two in all of them; halves; as membranes are.

    (Loihi's mantissas of eight bits and a sign are even, so that halves of these are whole on it.)
    """
    finest = 2.0**-case.op.shift if case.op.shift > 0 else 1.0
    own = {each.name: _common_step(weights_of(each.op)) for each in group}
    return [own, *(dict.fromkeys(own, step) for step in sorted({max(0.5, finest), finest} - {1.0}))]


def _in_steps(case: Case, group: tuple[Synapse, ...], change: Change) -> Iterator[tuple[str, dict[str, Op]]]:
    """Changed weights, rounded to such steps where these are not whole numbers."""
    for steps in _steps(case, group):
        if any(step != 1 for step in steps.values()):
            ops = {each.name: other(each.op, _rounded_to(steps[each.name], change)) for each in group}
            yield ", ".join(f"{step:g}" for step in dict.fromkeys(steps.values())), ops


def _rounded_to(step: float, change: Change) -> Change:
    return lambda w: np.rint(change(w) / step) * step


def _common_step(weights: Array) -> float:
    """The largest power of two that divides all of some whole numbers."""
    common = int(np.bitwise_or.reduce(np.abs(weights).astype(np.int64).ravel(), initial=0))
    return float(common & -common) or 1.0


def _saturated(case: Case, where: Array, group: tuple[Synapse, ...], what: str) -> Iterator[Hypothesis]:
    """Each source's weights end at one share of its largest, where membranes say which."""
    if case.steps is None:
        return
    for steps in _steps(case, group):

        def ops(share: float, steps: dict[str, float] = steps) -> dict[str, Op]:
            tops = {
                each.name: np.rint(share * np.abs(weights_of(each.op)).max() / steps[each.name]) * steps[each.name]
                for each in group
            }
            return {each.name: other(each.op, _clipped(-tops[each.name], tops[each.name])) for each in group}

        def read(share: float, ops: Callable[[float], dict[str, Op]] = ops) -> Array:
            return case.with_weights(ops(share))

        share = fitted_share(case.steps, where, read)
        detail = f"{what} end at {share:.4g} of the largest"
        yield Hypothesis("weights-saturated", detail, by_ops(ops(share), where), free=1)


def _cut(where: Array, group: tuple[Synapse, ...], what: str) -> Iterator[Hypothesis]:
    """Bits lost at the lower end of weights, or at the upper one."""
    most = max(int(np.abs(weights_of(synapse.op)).max(initial=0)) for synapse in group)
    full = (1 << most.bit_length()) - 1
    for bits in range(1, max(2, most.bit_length() + 1)):
        for how, rounded in _ROUNDINGS.items():
            detail = f"the lowest {bits} bits of {what} {how}"
            yield Hypothesis("weights-rounded", detail, with_weights(group, _to_steps(rounded, 1 << bits), where))
            if (most + (1 << bits - 1)) >> bits << bits > full:  # the largest do not fit any more
                held = _to_steps(rounded, 1 << bits, full)
                yield Hypothesis("weights-rounded", f"{detail}, at most {full}", with_weights(group, held, where))
    tops = {(1 << bits) - 1 for bits in range(most.bit_length() + 1)} | {1 << bits for bits in range(most.bit_length())}
    tops |= set(range(1, most)) if most <= _MOST_TOPS else set()
    for top in sorted(tops):
        for least in (-top, -top - 1) if 0 < top < most else ():
            detail = f"{what} between {least} and {top}"
            yield Hypothesis("weights-saturated", detail, with_weights(group, _clipped(least, top), where))


def _cut_reals(case: Case, where: Array, group: tuple[Synapse, ...], what: str) -> Iterator[Hypothesis]:
    """Weights to multiples of a power of two, or that end somewhere."""
    sizes = np.unique(np.abs(np.concatenate([weights_of(synapse.op).ravel() for synapse in group])))
    if not sizes[-1]:
        return
    for gain in _gains(case, group):
        most = max(float(np.abs(weights_of(synapse.op) / _along(gain, synapse)).max()) for synapse in group)
        for power in range(_POWERS):
            step = 2.0 ** (np.floor(np.log2(most)) + 1 - power)
            for how, rounded in _ROUNDINGS.items():
                ops = {each.name: other(each.op, _to_steps(rounded, step * _along(gain, each))) for each in group}
                detail = f"{what} {how} to multiples of {step:g}"
                yield Hypothesis("weights-rounded", detail, by_ops(ops, where))

    def wrong(top: float) -> int:
        return int(case.differing(with_weights(group, _clipped(-top, top), where)(case)).sum())

    tops = sizes[:: max(1, len(sizes) // _POWERS)]
    for _ in range(3):  # between the neighbours of the best, ever nearer
        best = int(np.argmin([wrong(float(top)) for top in tops]))
        tops = np.linspace(tops[max(0, best - 1)], tops[min(len(tops) - 1, best + 1)], _POWERS)
    top = float(tops[np.argmin([wrong(float(top)) for top in tops])])
    detail = f"{what} between {-top:g} and {top:g}"
    yield Hypothesis("weights-saturated", detail, with_weights(group, _clipped(-top, top), where), free=1)


def _gains(case: Case, group: tuple[Synapse, ...]) -> Iterator[Array]:
    """None; and that of the neurons, of which weights in reals have their share."""
    yield np.ones(())
    gain = case.rule.gains.get(case.layer.name) if isinstance(case.rule, RealRule) else None
    one_each = gain is not None and gain.size in (1, *(len(weights_of(each.op)) for each in group))
    if gain is not None and one_each and np.all(gain != 0) and np.any(gain != 1):
        yield gain.ravel() if gain.size > 1 else gain.reshape(())


def _along(gain: Array, synapse: Synapse) -> Array:
    """One number, or one for each output channel, beside the weights of a synapse."""
    return gain.reshape(-1, *(1,) * (weights_of(synapse.op).ndim - 1)) if gain.ndim else gain


def _away(x: Array) -> Array:
    """To the nearest whole number, halves away from zero."""
    return np.asarray(np.sign(x) * np.floor(np.abs(x) + 0.5))


def _up(x: Array) -> Array:
    """To the nearest whole number, halves up."""
    return np.asarray(np.floor(x + 0.5))


_ROUNDINGS: dict[str, Change] = {
    "cut off": np.floor, "cut off towards zero": np.trunc, "rounded": _up, "rounded to even": np.rint,
    "rounded away from zero": _away,
}  # fmt: skip


def _to_steps(rounded: Change, step: Array | float, full: int | None = None) -> Change:
    """Multiples of a step; between ``-full - 1`` and ``full``, if that is given."""
    low, high = (-np.inf, np.inf) if full is None else (-full - 1, full)
    return lambda w: np.clip(rounded(w / step) * step, low, high).astype(w.dtype)


def _clipped(least: float, top: float) -> Change:
    return lambda w: np.clip(w, least, top)


def _multiplied(factor: float, rounded: Change) -> Change:
    return lambda w: rounded(w * factor).astype(w.dtype)


# -- one weight --------------------------------------------------------------------------------------------------------


def _single(case: Case, where: Array) -> Iterator[Hypothesis]:
    """One number among the weights is another: of one output of a full connection, of one kernel."""
    answers = case.responses
    if answers is None:
        return
    none = {synapse.name: np.zeros_like(case.given(synapse)) for synapse in case.layer.synapses}
    silent = case.with_values(none)
    for synapse in case.layer.synapses:
        weights = weights_of(synapse.op)
        outputs = concerned(case, synapse)
        if weights.ndim < 2 or len(outputs) != 1 or weights[0].size > _MOST_INPUTS:
            continue
        for index in np.ndindex(weights.shape[1:]):
            yield from _single_at(case, where, synapse, (outputs[0], *index), none, silent)


def _single_at(
    case: Case, where: Array, synapse: Synapse, index: tuple[int, ...], none: Mapping[str, Array], silent: Array
) -> Iterator[Hypothesis]:
    answers, weights = case.responses, weights_of(synapse.op)
    assert answers is not None
    one = np.zeros_like(weights)
    one[index] = 1
    current = case.with_values(
        {**none, synapse.name: case.driven.synapse(synapse.name, other(synapse.op, lambda _: one))}
    )
    before = float(weights[index])
    exact = None
    if case.steps is not None:
        exact = case.steps.constant((current - silent)[..., where], where)
    if exact is not None:
        found: tuple[float, float] | None = (exact, exact)
    elif case.steps is not None and np.any(case.steps.surplus[case.steps.quiet]):
        found = None
    else:
        answer = case.answer((current - silent)[..., where], where)
        found = interval(at(case.op, where), answers.whole[..., where], answer, case.observed[..., where], case.slack)
    if found is None:
        return
    for change, free in nice(
        found, [value for value in (-before, -2 * before) if value and found[0] <= value <= found[1]]
    ):
        value = np.rint(before + change) if isinstance(case.rule, IntegerRule) else before + change

        def changed(w: Array, value: float = float(value)) -> Array:
            w = w.copy()
            w[index] = value
            return w

        detail = f"the weight {list(map(int, index))} of {synapse.name} is {value:g}, not {before:g}"
        # A number that is read off membranes explains each of these.
        fitted = free + 1 if exact is None else 0
        yield Hypothesis("weight-changed", detail, with_weights((synapse,), changed, where), fitted)
