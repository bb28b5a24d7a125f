"""Neurons as model-local functions in standard operators, one for each kind.

What they do is what :class:`neurocompile.simulator.reference.Registers` does. There is no shift of signed integers in
ONNX: one to the right that rounds towards zero is Div, one that rounds down is ``(v - Mod(v, d)) / d``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from neurocompile.backends.onnx.kinds import Factor, Kind, Unit
from neurocompile.backends.onnx.writing import DOMAIN, OPSET, code_of

__all__ = ["Functions"]


class Functions:
    """The functions of a file, by kind."""

    def __init__(self) -> None:
        self.made: dict[Kind, onnx.FunctionProto] = {}

    def named(self, unit: Unit) -> str:
        """The function of a layer's kind, which is written if there is none yet."""
        if unit.kind not in self.made:
            taken, title = {made.name for made in self.made.values()}, unit.kind.title
            name = next(n for k in range(1, 10_000) if (n := title if k == 1 else f"{title}{k}") not in taken)
            self.made[unit.kind] = _Body(unit).function(name)
        return self.made[unit.kind].name


class _Body:
    """The nodes of a function; values are known by name."""

    def __init__(self, unit: Unit) -> None:
        self.unit, self.kind = unit, unit.kind
        self.dtype = np.dtype(unit.kind.dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.numbers: dict[int, str] = {}
        self.count = 0

    def function(self, name: str) -> onnx.FunctionProto:
        """Reads x, the states and the parameters; gives spikes (of neurons), h, and the states after the step."""
        kind, states = self.kind, list(self.unit.states)
        x = self._shifted("x") if kind.shift else "x"
        after = self._fired(x) if kind.fires else self._integrated(x)
        outputs = ["h", *(f"{state}_next" for state in states)]
        outputs = ["spikes", *outputs] if kind.fires else outputs
        for output in outputs:
            self.nodes.append(helper.make_node("Identity", [after[output]], [output]))
        return helper.make_function(
            DOMAIN,
            name,
            ["x", *states, *self.unit.parameters],
            outputs,
            self.nodes,
            [helper.make_opsetid("", OPSET)],
            doc_string=self._told(),
        )

    def _told(self) -> str:
        kind = self.kind
        if not kind.whole:
            return f"{kind.equation}; in float32"
        held = f"{kind.overflow}s at {kind.ends[0]} and {kind.ends[1]}"
        return f"{kind.equation}; whole numbers in {kind.dtype}, rounded {_ROUNDED[kind.rounding]}, v {held}"

    # -- the equation --------------------------------------------------------------------------------------------------

    def _integrated(self, x: str) -> dict[str, str]:
        kind = self.kind
        if kind.whole and kind.current_overflow:
            x = self._current(x)
        x = self._times(x, "gain", kind.gain)
        total = self._sum(self._decayed("v", "decay", kind.decay), x, "bias" if kind.bias else "")
        h = self._held(total)
        return {"h": h, "v_next": h}

    def _fired(self, x: str) -> dict[str, str]:
        kind = self.kind
        i = self._sum(self._decayed("i", "current_decay", kind.current), x, "input_bias" if kind.input_bias else "")
        i = self._current(i) if kind.whole else i
        heard = self._where(self._not_zero("wait"), self._number(0), i) if kind.deaf else i
        heard = self._times(heard, "gain", kind.gain)
        h = self._held(self._sum(self._decayed("v", "decay", kind.decay), heard, "bias" if kind.bias else ""))
        compared = self._normed(h) if kind.norm else h
        h = compared if kind.norm == "membrane" else h
        spikes = self._spikes(compared)
        found = {"h": h, "i_next": i}
        if kind.refractory:
            spikes = self._where(self._not_zero("wait"), self._number(0), spikes)
        fires = self._not_zero(spikes)
        if kind.deaf:
            found["wait_next"] = self._cast(fires, self.dtype)
        elif kind.refractory:
            less = self._node("Sub", "wait", self._number(1))
            waiting = self._node("Max", less, self._node("Min", "wait", self._number(0)))
            found["wait_next"] = self._where(fires, self._number(kind.refractory), waiting)
        found["spikes"] = self._cast(spikes, np.int8)
        found["v_next"] = self._after(h, spikes, fires)
        return found

    def _normed(self, h: str) -> str:
        scaled = self._node("Div", self._node("Mul", "norm_gamma", self._node("Sub", h, "norm_mean")), "norm_std")
        return self._node("Add", scaled, "norm_beta")

    def _spikes(self, h: str) -> str:
        kind = self.kind
        more, less = ("Greater", "Less") if kind.strict else ("GreaterOrEqual", "LessOrEqual")
        fires = self._node(less if kind.flip == "all" else more, h, "threshold")
        if kind.many:
            return self._where(fires, self._node("Min", self._amounts(h), "max_spikes"), self._number(0))
        if kind.flip == "some":
            down = self._node("And", "flip", self._node(less, h, "threshold"))
            fires = self._node("Or", down, self._node("And", self._node("Not", "flip"), fires))
        spikes = self._cast(fires, self.dtype)
        if kind.signed:
            below = self._node("And", self._node(less, h, "negative_threshold"), self._node("Not", fires))
            spikes = self._where(below, self._number(-1), spikes)
        return spikes

    def _amounts(self, h: str) -> str:
        """How often the amount can be taken from h before it no longer compares."""
        above = self._node("Add", h, self._node("Sub", "amount", "threshold"))
        if self.kind.strict:
            over = self._node("Neg", self._floor(self._node("Neg", above), "amount"))
            return self._node("Sub", over, self._number(1))
        return self._floor(above, "amount")

    def _after(self, h: str, spikes: str, fires: str) -> str:
        kind = self.kind
        if kind.reset == "none":
            return h
        if kind.reset == "to":
            return self._held(self._where(fires, "v_reset", h))
        kept = self._decayed(h, "keep", kind.keep) or self._number(0)
        left = self._node("Sub", kept, self._node("Mul", "amount", spikes))
        return self._held(self._where(fires, left, h))

    # -- registers -----------------------------------------------------------------------------------------------------

    def _decayed(self, value: str, name: str, factor: Factor) -> str:
        """A register times a decay; "" where nothing is left."""
        if factor == "none":
            return ""
        return self._times(value, name, factor)

    def _times(self, value: str, name: str, factor: Factor) -> str:
        if factor == "whole":
            return value
        if factor == "none":
            return self._node("Mul", value, self._number(0))
        product = self._node("Mul", value, name)
        return self._rounded(product, f"{name}_one") if factor == "over" else product

    def _shifted(self, value: str) -> str:
        return self._node("Mul", value, "shift") if self.kind.shift == "up" else self._rounded(value, "shift")

    def _rounded(self, value: str, divisor: str) -> str:
        """A quotient, rounded as the target does; divisors are powers of two."""
        if self.kind.rounding == "zero":
            return self._node("Div", value, divisor)
        if self.kind.rounding == "nearest":
            value = self._node("Add", value, self._node("Div", divisor, self._number(2)))
        return self._floor(value, divisor)

    def _floor(self, value: str, divisor: str) -> str:
        """The quotient rounded down, for a divisor above 0."""
        if not self.kind.whole:
            return self._node("Floor", self._node("Div", value, divisor))
        return self._node("Div", self._node("Sub", value, self._node("Mod", value, divisor)), divisor)

    def _held(self, value: str) -> str:
        """What the membrane's register keeps."""
        return self._kept(value, self.kind.overflow, *self.kind.ends)

    def _current(self, value: str) -> str:
        """What the current's register keeps."""
        most = self.kind.ends[1]
        least = (-most, most + 1) if self.kind.current_overflow == "wrap-once" else (-most - 1, most)
        return self._kept(value, self.kind.current_overflow, *least)

    def _kept(self, value: str, how: str, least: int, most: int) -> str:
        if not self.kind.whole:
            return value
        low, high, span = self._number(least), self._number(most), self._number(most - least + 1)
        if how == "saturate":
            return self._node("Min", self._node("Max", value, low), high)
        if how == "wrap":
            return self._node("Add", self._node("Mod", self._node("Sub", value, low), span), low)
        above, below = self._node("Greater", value, high), self._node("Less", value, low)
        wrapped = self._where(below, self._node("Add", value, span), value)
        return self._where(above, self._node("Sub", value, span), wrapped)

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self.count += 1
        name = f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _number(self, value: int) -> str:
        """A constant of the function's type."""
        if value not in self.numbers:
            tensor = numpy_helper.from_array(np.asarray(value, self.dtype))
            self.numbers[value] = self._node("Constant", value=tensor)
        return self.numbers[value]

    def _sum(self, *terms: str) -> str:
        """Of the terms that there are."""
        first, *more = [term for term in terms if term]
        for term in more:
            first = self._node("Add", first, term)
        return first

    def _where(self, condition: str, one: str, other: str) -> str:
        return self._node("Where", condition, one, other)

    def _not_zero(self, value: str) -> str:
        return self._node("Not", self._node("Equal", value, self._number(0)))

    def _cast(self, value: str, dtype: Any) -> str:
        return self._node("Cast", value, to=code_of(dtype))


_ROUNDED = {"nearest": "to the nearest (a half up)", "floor": "down", "zero": "towards zero"}
