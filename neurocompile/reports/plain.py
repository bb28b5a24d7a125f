"""The one JSON writer: a report as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["HIDDEN", "INLINED", "OMITTED", "plain"]

# What ``field(metadata=...)`` says about a field's place in JSON. A room that must not import this one writes the same
# by hand: {"json": "key"} is another key.
HIDDEN = {"json": False}
"""Not in JSON: arrays, and what only a person is shown."""
INLINED = {"json": "**"}
"""Its own keys stand among those of what holds it; none, where it is None."""
OMITTED = {"omit": True}
"""Left out where it is None or empty."""


def plain(value: object) -> Any:
    """A report, or a part of one, as dicts, lists, strings and numbers, in the order of its fields.

    The fields of a dataclass are the keys, but for what their metadata says (:data:`HIDDEN`, :data:`INLINED`,
    :data:`OMITTED`, another key). A class with a method ``as_json`` says by itself what it is.
    """
    if hasattr(value, "as_json"):
        return value.as_json()
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if hasattr(value, "tolist"):  # of NumPy, which is not imported for this: `targets` starts without it
        return value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _fields(report: DataclassInstance) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(report):
        key, value = field.metadata.get("json", field.name), getattr(report, field.name)
        if key is False or (field.metadata.get("omit") and not value):
            continue
        if key != "**":
            found[key] = plain(value)
        elif value is not None:
            found |= plain(value)
    return found
