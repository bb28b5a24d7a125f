"""Which kind of neuron a layer has, and what it gives to the function of that kind.

What differs in the steps of the computation is a kind of its own; numbers (thresholds, decays, shifts) are parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir.ops import Array, Integrator, Neuron

__all__ = ["Factor", "Kind", "Unit", "unit_of"]

Factor = Literal["none", "whole", "times", "over"]
"""How a register is multiplied: by 0, by 1, by a number, or by a mantissa (and then divided and rounded)."""


@dataclass(frozen=True)
class Kind:
    """What of the equation of :class:`neurocompile.ir.ops.Neuron` is computed, and in which registers.

    ``dtype`` is of all that the function computes with. ``ends`` are the least and the largest membrane, ``rounding``,
    ``overflow`` and ``current_overflow`` (""; no current is held) as in :class:`Arithmetic`; reals have none of these.
    """

    dtype: str
    fires: bool
    decay: Factor
    current: Factor = "none"
    gain: Factor = "whole"
    keep: Factor = "whole"
    shift: Literal["", "up", "down"] = ""
    bias: bool = False
    input_bias: bool = False
    reset: Literal["to", "by", "none"] = "none"
    strict: bool = False
    flip: Literal["", "all", "some"] = ""
    signed: bool = False
    many: bool = False
    refractory: int = 0
    deaf: bool = False
    norm: Literal["", "compare", "membrane"] = ""
    rounding: str = ""
    overflow: str = ""
    current_overflow: str = ""
    ends: tuple[int, int] = (0, 0)

    @property
    def whole(self) -> bool:
        """Whether it computes with integers."""
        return self.dtype != "float32"

    @property
    def title(self) -> str:
        """A name for people."""
        if not self.fires:
            return {"none": "Current", "whole": "Integrator"}.get(self.decay, "LeakyIntegrator")
        parts = ["Cuba" if self.current != "none" else "", "IF" if self.decay == "whole" else "LIF"]
        parts.append({"to": "Hard", "by": "Soft", "none": "NoReset"}[self.reset])
        more = (("Signed", self.signed), ("Many", self.many), ("Deaf", self.deaf), ("Refractory", self.refractory))
        return "".join([*parts, *(word for word, there in more if there), "Flipped" if self.flip else ""])

    @property
    def equation(self) -> str:
        """What it does, in a line."""
        decay = {"none": "", "whole": "v + "}.get(self.decay, "decay * v + ")
        bias = " + bias" if self.bias else ""
        heard = {"": "x", "up": "x * shift", "down": "x / shift"}[self.shift]
        if not self.fires:
            return f"v = {decay}{heard}{bias}"
        heard += " + input_bias" if self.input_bias else ""
        lines = []
        if self.current != "none":
            lines, heard = [f"i = current_decay * i + {heard}"], "i"
        compare = ("<" if self.flip == "all" else ">") + ("" if self.strict else "=")
        lines += [f"h = {decay}{heard}{bias}", f"spikes = h {compare} threshold"]
        kept = "h" if self.keep == "whole" else "keep * h"
        after = {"to": "v_reset if spikes else h", "by": f"{kept} - amount * spikes if spikes else h", "none": "h"}
        return "; ".join([*lines, f"v = {after[self.reset]}"])


@dataclass(frozen=True)
class Unit:
    """A layer of neurons as a call: its kind, what it gives to it by parameter, and its states as they are at rest."""

    kind: Kind
    parameters: dict[str, Array]
    states: dict[str, Array]


def unit_of(op: Neuron | Integrator, arithmetic: Arithmetic | None, reach: int) -> Unit:
    """A layer's neurons.

    Args:
        op: of an integer graph, or of a real one.
        arithmetic: of the target; None: reals, in float32.
        reach: the largest absolute value of its synaptic sum (of no interest for reals).
    """
    given: dict[str, Array] = {}
    uses: dict[str, Any] = {"fires": isinstance(op, Neuron)}
    fraction = None if arithmetic is None else arithmetic.decay_fraction
    uses["decay"] = _factor("decay", op.decay, fraction, given)
    uses["bias"] = _given("bias", op.bias, given)
    if arithmetic is None:
        uses["gain"] = _factor("gain", op.gain, None, given)
    else:
        uses["shift"] = "up" if op.shift > 0 else "down" if op.shift < 0 else ""
        if op.shift:
            given["shift"] = np.asarray(1 << abs(op.shift))
        current = arithmetic.current_overflow or (arithmetic.overflow if isinstance(op, Neuron) else "")
        uses |= {"rounding": arithmetic.rounding, "overflow": arithmetic.overflow, "current_overflow": current}
        uses["ends"] = (arithmetic.state_min, arithmetic.state_max)
    states = {"v": np.asarray(0)}
    if isinstance(op, Neuron):
        uses |= _firing(op, fraction, given)
        states["v"] = np.asarray(op.v_init)
        states |= {"i": np.asarray(0)} if uses["current"] != "none" else {}
        states |= {"wait": np.asarray(0)} if op.refractory or op.deaf else {}
    dtype = np.dtype(np.float32 if arithmetic is None else _integers(arithmetic, given, op.shift, reach))
    found = {name: np.asarray(value).astype(bool if name == "flip" else dtype) for name, value in given.items()}
    return Unit(Kind(dtype.name, **uses), found, {name: value.astype(dtype) for name, value in states.items()})


def _firing(op: Neuron, fraction: int | None, given: dict[str, Array]) -> dict[str, Any]:
    """What only neurons have that fire; parameters go to ``given``."""
    given["threshold"] = op.threshold
    flip = np.asarray(op.flip)
    if flip.any() and not flip.all():
        given["flip"] = flip
    uses: dict[str, Any] = {
        "reset": op.reset,
        "strict": op.strict,
        "refractory": op.refractory,
        "deaf": op.deaf,
        "signed": op.negative_threshold is not None,
        "many": op.max_spikes > 1,
        "flip": "all" if flip.all() else "some" if flip.any() else "",
        "current": _factor("current_decay", op.current_decay, fraction, given),
        "input_bias": _given("input_bias", op.input_bias, given),
    }
    if op.negative_threshold is not None:
        given["negative_threshold"] = op.negative_threshold
    if op.reset == "to":
        given["v_reset"] = op.v_reset
    if op.reset == "by":
        uses["keep"] = _factor("keep", op.keep, fraction, given)
    if op.reset == "by" or op.max_spikes > 1:
        given["amount"] = op.amount
    if op.max_spikes > 1:
        given["max_spikes"] = np.asarray(op.max_spikes)
    if op.norm is not None:
        uses["norm"] = op.norm.on
        given |= {f"norm_{name}": getattr(op.norm, name) for name in ("gamma", "beta", "mean", "std")}
    return uses


def _given(name: str, value: Array, given: dict[str, Array]) -> bool:
    if np.any(value):
        given[name] = value
    return bool(np.any(value))


def _factor(name: str, value: Array, fraction: int | None, given: dict[str, Array]) -> Factor:
    value = np.asarray(value)
    if not value.any():
        return "none"
    # What all mantissas have as a power of two is taken out: a product is rounded as before.
    while fraction and not (value & 1).any():
        value, fraction = value >> 1, fraction - 1
    if not fraction and np.all(value == 1):
        return "whole"
    given[name] = value
    if fraction:
        given[f"{name}_one"] = np.asarray(1 << fraction)
    return "over" if fraction else "times"


def _integers(arithmetic: Arithmetic, given: dict[str, Array], shift: int, reach: int) -> Any:
    """int32 where nothing on the way can leave it, else int64."""
    most = {name: int(np.abs(value).max(initial=0)) for name, value in given.items()}
    state = 1 << (arithmetic.state_bits - 1)
    factor = max(most.get(name, 1) for name in ("decay", "current_decay", "keep"))
    one = max(most.get(f"{name}_one", 1) for name in ("decay", "current_decay", "keep"))
    by = most.get("shift", 1)
    x = reach * by if shift > 0 else reach + by
    more = sum(most.get(name, 0) for name in ("bias", "input_bias", "threshold", "negative_threshold", "v_reset"))
    more += most.get("amount", 0) * (1 + most.get("max_spikes", 1))
    return np.int32 if 2 * state * factor + one + x + more + 4 * state < 2**31 else np.int64
