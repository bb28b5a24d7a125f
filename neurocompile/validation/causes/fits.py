"""One number that is another than the program has: from which value to which it explains every spike of a layer.

As long as resets fall where they were recorded, a membrane is linear in the weights' scale, the bias, the value that it
is reset to, the amount that a reset takes, its first value: h = sum over c of value_c * h_c, where h_c is its answer to
c alone. A spike says that h was not below the threshold, and silence that it was; so each place bounds a value from one
side, and where the bounds cross, no value of it explains the layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array, Neuron
from neurocompile.validation.causes.rules import Rule

__all__ = ["PARAMETERS", "Responses", "at", "interval", "responses"]

PARAMETERS = (
    "threshold", "flip", "decay", "current_decay", "gain", "bias", "input_bias", "v_reset", "amount", "keep", "v_init",
)  # fmt: skip
"""What a neuron has a number of."""


@dataclass(frozen=True, eq=False)
class Responses:
    """Answers of the membranes, ``[N, T, *shape]``, to each part alone, and what they are in sum.

    Attributes:
        parts: to each current that was given, by name.
        bias: to the bias (and the input's bias) as it is.
        to: to a reset to 1.
        by: to an amount of 1.
        start: to the first value as it is.
        whole: the membrane before the reset, h.
    """

    parts: Mapping[str, Array]
    bias: Array
    to: Array
    by: Array
    start: Array
    whole: Array


def responses(op: Neuron, rule: Rule, parts: Mapping[str, Array], observed: Array) -> Responses | None:
    """How the membranes of neurons answer, if they fired (and were reset) as observed; None for neurons not so simple.

    Args:
        op: the neurons.
        rule: their arithmetic.
        parts: the currents that they read, ``[N, T, *shape]`` each.
        observed: their spikes ``[N, T, *shape]``.
    """
    if op.norm is not None or op.deaf or op.refractory or op.negative_threshold is not None or op.max_spikes > 1:
        return None
    decay, current_decay, keep = rule.decays(op)
    fired = observed != 0
    shape = observed.shape
    scale = 2.0**op.shift * np.asarray(op.gain if not op.shift else 1.0)

    def answer(current: Array | None = None, direct: Array | float = 0.0, start: Array | float = 0.0,
               to: float = 0.0, by: float = 0.0) -> Array:  # fmt: skip
        v = np.broadcast_to(np.asarray(start, np.float64), shape[:1] + shape[2:])
        i = np.zeros(shape[:1] + shape[2:])
        h = np.empty(shape)
        for t in range(shape[1]):
            i = current_decay * i + (0.0 if current is None else current[:, t])
            h[:, t] = decay * v + scale * i + direct
            v = h[:, t]
            if op.reset == "to":
                v = np.where(fired[:, t], to, v)
            elif op.reset == "by":
                v = np.where(fired[:, t], keep * v - by, v)
        return h

    found = {name: answer(current) for name, current in parts.items()}
    bias = answer(direct=op.bias)
    if np.any(op.input_bias):
        steady = np.broadcast_to(op.input_bias / scale, shape[2:])
        bias = bias + answer(np.broadcast_to(steady, shape))
    to, by, start = answer(to=1.0), answer(by=1.0), answer(start=op.v_init)
    whole = sum(found.values(), bias + start)
    if op.reset == "to":
        whole = whole + op.v_reset * to
    elif op.reset == "by":
        whole = whole + op.amount * by
    return Responses(found, bias, to, by, start, whole)


def interval(op: Neuron, h: Array, change: Array, observed: Array, slack: float) -> tuple[float, float] | None:
    """The numbers p for which neurons with the membranes ``h + p * change`` fire as observed; None: there are none.

    Args:
        op: the neurons, whose threshold is right.
        h: their membranes ``[N, T, *shape]``.
        change: what one unit of p adds to them.
        observed: their spikes.
        slack: how far off membranes may be.
    """
    above = np.where(op.flip, -1.0, 1.0)
    need = (op.threshold - h) * above
    slope = np.broadcast_to(change * above, need.shape)
    fired = observed != 0
    still = slope == 0
    if np.any(still & fired & (need > slack)) or np.any(still & ~fired & (need < -slack)):
        return None
    low, high = ~still & (fired == (slope > 0)), ~still & (fired != (slope > 0))
    least = float(((need - slack * np.sign(slope))[low] / slope[low]).max(initial=-np.inf))
    most = float(((need + slack * np.sign(slope))[high] / slope[high]).min(initial=np.inf))
    return (least, most) if least <= most else None


def at(op: Neuron, where: Array) -> Neuron:
    """The neurons of a place ``where[*shape]`` of a layer, in a row."""
    given: dict[str, Any] = {name: np.broadcast_to(getattr(op, name), where.shape)[where] for name in PARAMETERS}
    return replace(op, **given)
