"""Dataclasses whose fields are of the types that they say: whoever makes one is told everything that is not.

From Python anything can be given for anything. What requests and settings are made of is looked at when they are made,
so that nothing begins with a number of steps that is a text, or a path that no file system takes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from neurocompile.errors import Problem, UsageError

__all__ = ["Count", "Positive", "Range", "Steps", "Typed", "as_path", "origin_of"]


@dataclass(frozen=True)
class Range:
    """Of a number: from ``low`` on, or only above it, up to ``high``."""

    low: float
    above: bool = False
    high: float = 1 << 31

    def __str__(self) -> str:
        """In words."""
        return f"above {self.low:.15g}" if self.above else f"from {self.low:.15g} to {self.high:.15g}"

    def takes(self, value: float) -> bool:
        """Whether a number lies in it."""
        return (self.low < value if self.above else self.low <= value) and value <= self.high


Count = Annotated[int, Range(1)]
"""1, 2, ..."""
Steps = Annotated[int, Range(1, high=1 << 20)]
"""A number of steps: as many as a program may have."""
Positive = Annotated[float, Range(0.0, above=True)]
"""A number above 0."""


class Typed:
    """A frozen dataclass whose fields are held against their types when it is made.

    NumPy's numbers become Python's, lists become tuples where these are wanted. Types that stand here only for type
    checkers take anything: whoever uses the value knows.

    Raises:
        UsageError: with every field that is not what it should be.
    """

    def __post_init__(self) -> None:
        problems = []
        for name, hint in _hints(type(self)).items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, _taken(hint, value))
            except _Refused as refused:
                problems.append(refused.problem(name, value))
        if problems:
            raise UsageError(problems)


def as_path(value: str | os.PathLike[str]) -> Path:
    """A path that a file system can be asked for.

    Raises:
        UsageError: for what is none.
    """
    try:
        return _path(Path(value))
    except (_Refused, TypeError):
        fix = "give a text or a pathlib.Path, without a null character or half a one (a lone surrogate)"
        raise UsageError(Problem("this is no path", actual=_shown(value), fix=fix)) from None


def origin_of(hint: Any) -> Any:
    """What a type is one of (``ndarray`` for ``NDArray[Any]``), behind a name that a ``type`` statement gave it.

    NumPy's own are such names from 2.5 on.
    """
    origin = get_origin(hint)
    named = getattr(origin or hint, "__value__", None)
    return origin if named is None else get_origin(named) or named


class _Refused(Exception):
    """What would have been taken, in words."""

    def problem(self, name: str, value: object) -> Problem:
        """What to tell."""
        return Problem(f"{name} cannot be this", name, _shown(value), str(self), f"change {name}")


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 and "\n" not in shown else f"a {type(value).__name__}"


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _hints(kind: type[Any]) -> dict[str, Any]:
    """The types of its fields, found once; ``Any`` for what only type checkers know."""
    unknown: dict[str, Any] = {}
    while kind not in _HINTS:
        try:
            hints = get_type_hints(kind, localns=unknown, include_extras=True)
            _HINTS[kind] = {field.name: hints[field.name] for field in fields(kind)}
        except NameError as error:
            unknown[str(error.name)] = Any
    return _HINTS[kind]


def _taken(hint: Any, value: Any) -> Any:
    """The value as the type has it.

    Raises:
        _Refused: if it is of another.
    """
    origin = origin_of(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _one_of(get_args(hint), value)
    if origin is Annotated:
        number, limits = get_args(hint)
        return _within(number, limits, value)
    if origin is Literal:
        return _chosen(get_args(hint), value)
    if origin is tuple:
        return _several(get_args(hint), value)
    if hint is Path:
        return _path(value)
    if hint in _PLAIN:
        return _PLAIN[hint](value)
    wanted = origin or hint
    if (wanted.__module__, wanted.__name__) == _ARRAY:  # or whatever NumPy makes one of: seen where it is read
        if value is None or isinstance(value, str | bytes | Path | Mapping):
            raise _Refused("an array")
    elif not isinstance(value, wanted):
        raise _Refused(_WORDS.get(wanted, f"a {wanted.__name__}"))
    elif wanted is Mapping:
        for key in value:
            _taken(get_args(hint)[0], key)
    return value


def _one_of(hints: tuple[Any, ...], value: Any) -> Any:
    allowed = []
    for hint in sorted(hints, key=lambda each: each is not NoneType):
        try:
            return _taken(hint, value)
        except _Refused as refused:
            allowed.append(str(refused))
    raise _Refused(" or ".join(allowed[1:] + allowed[:1] if hints and NoneType in hints else allowed))


def _within(hint: Any, limits: Range, value: Any) -> Any:
    try:
        taken = _taken(hint, value)
    except _Refused as refused:
        raise _Refused(f"{refused} {limits}") from None
    if not limits.takes(taken):
        raise _Refused(f"{_NUMBERS[hint]} {limits}")
    return taken


def _chosen(choices: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, str) or value not in choices:
        raise _Refused(", ".join(map(repr, choices)))
    return value


def _several(hints: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise _Refused("a tuple")
    each = hints[:1] * len(value) if hints[-1] is Ellipsis else hints
    if len(each) != len(value):
        raise _Refused(f"a tuple of {len(each)}")
    try:
        return tuple(map(_taken, each, value))
    except _Refused as refused:
        raise _Refused(f"a tuple, each of it {refused}") from None


def _path(value: Any) -> Path:
    if not isinstance(value, Path):
        raise _Refused("a path")
    try:
        written = os.fsencode(value)
    except UnicodeEncodeError:
        raise _Refused("a path") from None
    if b"\0" in written:
        raise _Refused("a path")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise _Refused(_NUMBERS[int])
    return int(value)


def _number(value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or value != value:
        raise _Refused(_NUMBERS[float])
    return float(value)


def _flag(value: Any) -> bool:
    if type(value) is not bool and (type(value).__module__, type(value).__name__) not in _BOOLS:
        raise _Refused("True or False")
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Refused("a text")
    return value


def _nothing(value: Any) -> None:
    if value is not None:
        raise _Refused("None")


_PLAIN = {int: _whole, float: _number, bool: _flag, str: _text, NoneType: _nothing}
_ARRAY = ("numpy", "ndarray")
_BOOLS = (("numpy", "bool"), ("numpy", "bool_"))
"""NumPy's, by name: requests are made where it is not imported."""
_NUMBERS = {int: "a whole number", float: "a number"}
_WORDS: dict[Any, str] = {**_NUMBERS, str: "a text", Mapping: "arrays by name"}
