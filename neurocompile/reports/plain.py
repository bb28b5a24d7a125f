"""The one JSON writer: a report as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """A report, or a part of one, as dicts, lists, strings and numbers, in the order of its fields.

    The fields of a dataclass are the keys, unless a field says ``metadata={"json": False}`` (not in JSON) or names
    another key, ``metadata={"json": "key"}``. A class with a method ``as_json`` says by itself what it is.
    """
    if hasattr(value, "as_json"):
        return value.as_json()
    if is_dataclass(value) and not isinstance(value, type):
        named = ((f.metadata.get("json", f.name), getattr(value, f.name)) for f in fields(value))
        return {key: plain(each) for key, each in named if key is not False}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
