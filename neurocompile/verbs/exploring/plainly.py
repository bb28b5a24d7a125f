"""Dataclasses as what results are kept as, and back: dicts, lists, numbers and texts, by the types of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["made_of", "plainly"]


def plainly(value: Any) -> Any:
    """A dataclass of numbers, texts, arrays, tuples, dicts and such; where several kinds may stand, each has other
    fields."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plainly(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plainly(each) for name, each in value.items()}
    return [plainly(each) for each in value] if isinstance(value, list | tuple) else value


def made_of(hint: Any, value: Any) -> Any:
    """What :func:`plainly` was given, by its type."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        kinds = [each for each in get_args(hint) if each is not NoneType]
        if value is None or len(kinds) == 1:
            return None if value is None else made_of(kinds[0], value)
        of = (each for each in kinds if is_dataclass(each) and {f.name for f in fields(each)} == value.keys())
        return made_of(next(of), value)
    if is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        return hint(**{name: made_of(hints[name], each) for name, each in value.items()})
    if origin is tuple:
        inner = get_args(hint)
        each = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(map(made_of, each, value))
    if origin is dict:
        return {name: made_of(get_args(hint)[1], each) for name, each in value.items()}
    return value
