"""Tables of a file by their keys: what each value may be; errors name key, value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from neurocompile.errors import Problem

__all__ = ["ARITHMETIC", "LIF", "Key", "Keys", "checked", "nearest", "whole"]


@dataclass(frozen=True)
class Key:
    """A value: whole numbers (or numbers, with ``whole=False``) from ``low`` to ``high``, or one of ``choices``.

    ``kind`` is "number", "flag", "text" (of ``low`` characters at least), "texts", "pair" (two whole numbers) or "any".
    """

    kind: str = "number"
    low: float = 0
    high: float = float(1 << 40)
    whole: bool = True
    choices: tuple[str, ...] = ()
    needed: bool = False

    @property
    def allowed(self) -> str:
        """In words."""
        if self.choices:
            return ", ".join(repr(each) for each in self.choices)
        if self.kind == "number":
            return f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"
        text = "a text that is not empty" if self.low else "a text"
        words = {"flag": "true or false", "text": text, "texts": "a list of texts"}
        return words.get(self.kind, f"two whole numbers from {self.low:g} to {self.high:g}")

    def takes(self, value: object) -> bool:
        """Whether a value is allowed."""
        match self.kind:
            case "flag":
                return isinstance(value, bool)
            case "text":
                return isinstance(value, str) and len(value) >= self.low and value in (self.choices or (value,))
            case "any":  # looked at by whoever knows more
                return True
            case "texts":
                return isinstance(value, list) and all(isinstance(each, str) for each in value)
            case "pair":
                return isinstance(value, list) and len(value) == 2 and all(map(self._in_range, value))
        return self._in_range(value)

    def mended(self, value: object) -> str:
        """What to do about a value that is not allowed."""
        if self.kind in ("number", "pair") and isinstance(value, str):
            return "write numbers alone, without quotes or a unit"
        if self.kind == "number" and isinstance(value, float) and value.is_integer() and self._in_range(int(value)):
            return f"write {int(value)}"
        if isinstance(value, str) and (near := nearest(value, self.choices)):
            return f"did you mean {near}?"
        return "change it"

    def _in_range(self, value: object) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        fits = isinstance(value, int) or not (self.whole or self.kind == "pair")
        return fits and self.low <= value <= self.high


Keys = Mapping[str, Key]


def nearest(name: str, known: Iterable[str]) -> str:
    """The name that was probably meant; "" if none is near."""
    return next(iter(difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)), "")


def whole(low: int, high: int, needed: bool = True) -> Key:
    """A whole number from one to another."""
    return Key("number", low, high, needed=needed)


ARITHMETIC: Keys = {
    "weight_bits_min": whole(2, 16),
    "weight_bits_max": whole(2, 16),
    "weight_bits": whole(2, 16),
    "accumulator_bits": whole(8, 32),
    "state_bits": whole(8, 32),
    "decay_bits": whole(2, 32),
    "decay_fraction": whole(1, 30),
    "min_shift": whole(-31, 31),
    "max_shift": whole(-31, 31),
    "rounding": Key("text", choices=("nearest", "floor", "zero"), needed=True),
    "overflow": Key("text", choices=("saturate", "wrap"), needed=True),
    "current_overflow": Key("text", choices=("", "saturate", "wrap", "wrap-once")),
    "symmetric": Key("flag"),
    "event_sums": Key("flag"),
    "weight_exponent_max": whole(0, 14, needed=False),
    "graded_spikes": Key("flag", needed=True),
    "published": Key("flag"),
}
LIF: Keys = {
    "threshold_bits": whole(1, 31),
    "threshold_shift": whole(0, 24),
    "bias_bits": whole(1, 31),
    "bias_exponent_min": whole(0, 24),
    "bias_exponent_max": whole(0, 24),
    "decay_min": whole(0, 1 << 30),
    "decay_max": whole(1, 1 << 30),
    "current_decay_max": whole(0, 1 << 30),
    "populations": whole(1, 1 << 16),
    "weight_exponent_max": whole(0, 16),
    "joins": Key("flag"),
}
"""What a target computes with: the fields of :class:`neurocompile.arithmetic.Arithmetic` and of its neuron."""


def checked(table: Keys, data: object, name: str, where: str) -> list[Problem]:
    """Everything that is wrong with a table: keys that are none, values that are not allowed, what is missing.

    Args:
        table: its keys.
        data: what the file has.
        name: of the table, as in ``limits``; "" outside of any.
        where: the file.
    """
    if not isinstance(data, dict):
        return [Problem(f"{name} is no table", where, repr(data), f"[{name}]", f"write it as [{name}]")]
    dotted = {key: f"{name}.{key}" if name else key for key in (*data, *table)}
    problems = [
        Problem(f"there is no key {dotted[key]}", where, repr(value)[:60], ", ".join(table), _instead(key, table))
        for key, value in data.items()
        if key not in table
    ]
    problems += [
        Problem(f"{dotted[key]} cannot be this", where, repr(value)[:60], table[key].allowed, table[key].mended(value))
        for key, value in data.items()
        if key in table and not table[key].takes(value)
    ]
    problems += [
        Problem(f"{dotted[key]} is missing", where, "nothing", each.allowed, f"say {key}")
        for key, each in table.items()
        if each.needed and key not in data
    ]
    return problems


def _instead(key: str, table: Keys) -> str:
    near = nearest(key, table)
    return f"did you mean {near}?" if near else "leave it out, or name one" if table else "leave it out"
