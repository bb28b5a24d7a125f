"""Hypotheses on which weights go where, and when: missing, turned round, exchanged, late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from neurocompile.ir.form import Synapse
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import Array, Conv, ConvTranspose, Scale
from neurocompile.validation.causes.case import Case, Hypothesis
from neurocompile.validation.causes.driven import later
from neurocompile.validation.causes.neurons import within
from neurocompile.validation.causes.others import Change, concerned, weights_of, with_weights
from neurocompile.validation.causes.rules import Run

__all__ = ["late", "wiring_hypotheses"]

_DELAYS = (1, -1, 2, -2, 3, 4)
_MOST_SOURCES = 512


def wiring_hypotheses(case: Case, where: Array, synapse: Synapse) -> Iterator[Hypothesis]:
    """All that may be wrong with where the weights of a synapse lead.

    Args:
        case: the layer.
        where: the neurons that may be concerned, ``[*shape]``.
        synapse: of it.
    """
    yield from _missing(case, where, synapse)
    if where.all():
        yield from _turned(where, synapse)
        yield from _exchanged(case, where, synapse)
        yield from _unheard(case, synapse)


def _missing(case: Case, where: Array, synapse: Synapse) -> Iterator[Hypothesis]:
    def none(w: Array) -> Array:
        return np.zeros_like(w)

    yield Hypothesis("weights-missing", f"no weights in {synapse.name}", with_weights((synapse,), none, where))
    yield Hypothesis(
        "weights-missing",
        f"only weights above 0 in {synapse.name}",
        with_weights((synapse,), lambda w: np.maximum(w, 0), where),
    )
    yield Hypothesis(
        "weights-missing",
        f"only weights below 0 in {synapse.name}",
        with_weights((synapse,), lambda w: np.minimum(w, 0), where),
    )
    weights = weights_of(synapse.op)
    if weights.ndim < 2:
        return
    for axis, what in ((0, "output"), (1, "input")):
        if weights.shape[axis] > 512:
            continue
        for index in concerned(case, synapse) if axis == 0 else range(weights.shape[axis]):

            def without(w: Array, axis: int = axis, index: int = index) -> Array:
                w = w.copy()
                w[(slice(None),) * axis + (index,)] = 0
                return w

            yield Hypothesis(
                "weights-missing",
                f"no weights of {what} {index} of {synapse.name}",
                with_weights((synapse,), without, where),
            )


def _unheard(case: Case, synapse: Synapse) -> Iterator[Hypothesis]:
    """One neuron (or input) that nobody hears through these weights: all that differ would."""
    shape = tuple(synapse.reads.shape)
    count = int(np.prod(shape))
    if count > _MOST_SOURCES:
        return
    alone = apply(synapse.op, [np.eye(count).reshape(count, *shape)])
    for index in range(count):
        if not alone[index].any():
            continue

        def without(case: Case, index: int = index) -> Run:
            events = case.driven.events(synapse.event)
            heard = events.reshape(*events.shape[:2], -1)[:, :, index]
            lost = heard.reshape(*heard.shape, *(1,) * len(synapse.gives)) * alone[index]
            return case.run(current=case.with_values({synapse.name: case.given(synapse) - lost}))

        place = list(map(int, np.unravel_index(index, shape)))
        detail = f"nothing is heard of {place} of {synapse.source} in {synapse.name}"
        yield Hypothesis("weights-missing", detail, without)


def _turned(where: Array, synapse: Synapse) -> Iterator[Hypothesis]:
    op, weights = synapse.op, weights_of(synapse.op)
    if isinstance(op, Conv | ConvTranspose):
        rank = weights.ndim - 2
        if rank == 2 and weights.shape[-1] == weights.shape[-2]:
            yield Hypothesis(
                "kernel-transposed",
                f"kernel of {synapse.name} transposed",
                with_weights((synapse,), lambda w: w.swapaxes(-1, -2), where),
            )
        axes = [(axis,) for axis in range(2, weights.ndim)] + ([tuple(range(2, weights.ndim))] if rank > 1 else [])
        for turned in axes:
            what = "both axes" if len(turned) > 1 else f"axis {turned[0] - 2}"
            yield Hypothesis("kernel-flipped", f"kernel of {synapse.name} flipped along {what}",
                             with_weights((synapse,), _flipped(turned), where))  # fmt: skip
    if not isinstance(op, Scale) and weights.ndim >= 2 and weights.shape[0] == weights.shape[1] > 1:
        yield Hypothesis("kernel-transposed", f"inputs and outputs of {synapse.name} exchanged",
                         with_weights((synapse,), lambda w: w.swapaxes(0, 1), where))  # fmt: skip
        for axis, what in ((1, "inputs"), (0, "outputs")):
            reverse = with_weights((synapse,), _flipped((axis,)), where)
            yield Hypothesis("kernel-flipped", f"{what} of {synapse.name} in reverse", reverse)


def _exchanged(case: Case, where: Array, synapse: Synapse) -> Iterator[Hypothesis]:
    """Two input channels of some weights, or two output channels."""
    weights = weights_of(synapse.op)
    if weights.ndim < 2:
        return
    for axis, what in ((1, "input"), (0, "output")):
        count = weights.shape[axis]
        some = concerned(case, synapse) if axis == 0 else range(count)
        pairs = [(a, b) for a in some for b in some if a < b]
        for a, b in pairs if len(pairs) <= 500 else ():
            order = np.arange(count)
            order[[a, b]] = b, a
            detail = f"{what} channels {a} and {b} of {synapse.name} exchanged"
            yield Hypothesis(
                "channels-swapped",
                detail,
                with_weights((synapse,), _taken(order, axis), where),
            )


def late(where: Array, group: tuple[Synapse, ...], what: str) -> Iterator[Hypothesis]:
    """Weights that act some steps later, or earlier."""
    for steps in _DELAYS:

        def apply(case: Case, steps: int = steps) -> Run:
            moved = {synapse.name: later(case.given(synapse), steps) for synapse in group}
            run = case.run(current=case.with_values(moved))
            return run if steps > 0 else replace(run, known=slice(0, steps))

        side = "late" if steps > 0 else "early"
        many = "s" * (abs(steps) > 1)
        yield Hypothesis("delay-off", f"{what} act {abs(steps)} step{many} {side}", within(apply, where))


def _taken(order: Array, axis: int) -> Change:
    return lambda w: np.take(w, order, axis)


def _flipped(axes: tuple[int, ...]) -> Change:
    return lambda w: np.flip(w, axes)
