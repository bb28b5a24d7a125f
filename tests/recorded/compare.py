"""Two recordings side by side."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Difference", "differences"]

Recording = dict[str, list[dict[str, Any]]]


class Difference(NamedTuple):
    """One place at which two recordings are not the same."""

    case: str
    step: str
    where: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.case} | {self.step} | {self.where}\n  - {_short(self.before)}\n  + {_short(self.after)}"


class _Nothing:
    def __repr__(self) -> str:
        return "(nothing)"


NOTHING = _Nothing()


def differences(before: Recording, after: Recording) -> Iterator[Difference]:
    """Every place at which they differ."""
    for case in [*before, *(case for case in after if case not in before)]:
        if case not in before or case not in after:
            yield Difference(case, "", "", *("recorded" if case in each else NOTHING for each in (before, after)))
            continue
        for number in range(max(len(before[case]), len(after[case]))):
            a, b = (each[case][number] if number < len(each[case]) else NOTHING for each in (before, after))
            step = next(each["step"] for each in (a, b) if isinstance(each, dict))
            for where, old, new in _within(a, b, ""):
                yield Difference(case, step, where, old, new)


def _within(a: Any, b: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            path = f"{where}.{key}" if where else key
            yield from _within(a.get(key, NOTHING), b.get(key, NOTHING), path)
        if set(a) == set(b) and list(a) != list(b):
            yield f"{where} (order of the keys)", list(a), list(b)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for k, (old, new) in enumerate(zip(a, b)):
            yield from _within(old, new, f"{where}[{k}]")
    elif isinstance(a, list) and isinstance(b, list):
        yield from _aligned([repr(each) for each in a], [repr(each) for each in b], where)
    elif isinstance(a, str) and isinstance(b, str) and a != b and "\n" in a + b:
        yield from _aligned(a.splitlines(True), b.splitlines(True), where)
    elif repr(a) != repr(b):  # so 1 is not 1.0, and NaN is NaN
        yield where, a, b


def _aligned(a: list[str], b: list[str], where: str) -> Iterator[tuple[str, Any, Any]]:
    """Lines that were replaced, and those that came or went."""
    for kind, start, end, first, last in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind != "equal":
            yield f"{where}:{start + 1}", "".join(a[start:end]) or NOTHING, "".join(b[first:last]) or NOTHING


def _short(value: Any, limit: int = 600) -> str:
    text = value.rstrip("\n") if isinstance(value, str) else repr(value)
    text = text if len(text) <= limit else f"{text[: limit // 2]} [...] {text[-limit // 2 :]}"
    return text.replace("\n", "\n    ")
