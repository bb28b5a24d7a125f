"""Results as bytes and back: plain values and arrays, and nothing that runs when it is read.

A line of JSON says what there is, arrays by their type and shape; their bytes follow it, one after the other. Reading
makes numbers, texts, lists, dicts and arrays, whatever the bytes are: who can write into a cache can make results
false, and no more.
"""

from __future__ import annotations

import json
from math import prod
from typing import Any

import numpy as np

__all__ = ["packed", "unpacked"]

_DTYPES = {np.dtype(kind).str for kind in "?bBhHiIlLqQefd"}


def packed(value: Any) -> bytes:
    """A value as bytes: the same value, the same bytes.

    Raises:
        TypeError: for what is not plain.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    head = json.dumps(_to_json(value, arrays), separators=(",", ":")).encode()
    return b"\n".join([head, b"".join(array.tobytes() for array in arrays)])


def unpacked(content: bytes) -> Any:
    """The value.

    Raises:
        ValueError: if these are other bytes.
    """
    head, _, rest = content.partition(b"\n")
    try:
        value, end = _from_json(json.loads(head), memoryview(rest), 0)
    except (KeyError, IndexError, TypeError, RecursionError) as error:
        raise ValueError("this is no value") from error
    if end != len(rest):
        raise ValueError("there are more bytes than arrays")
    return value


def _to_json(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.str in _DTYPES:
        arrays.append(np.ascontiguousarray(value))
        return ["a", value.dtype.str, list(value.shape)]
    if isinstance(value, list | tuple):
        return ["l", *(_to_json(each, arrays) for each in value)]
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return ["d", *([key, _to_json(each, arrays)] for key, each in value.items())]
    raise TypeError(f"a result that is kept holds a {type(value).__name__}")


def _from_json(found: Any, rest: memoryview, at: int) -> tuple[Any, int]:
    """A value, and where the bytes of the next array are."""
    if not isinstance(found, list):
        return found, at
    kind, *parts = found
    if kind == "a":
        dtype, shape = parts
        if dtype not in _DTYPES or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("this is no array")
        end = at + prod(shape) * np.dtype(dtype).itemsize
        if end > len(rest):
            raise ValueError("an array is cut short")
        return np.frombuffer(rest[at:end], dtype).reshape(shape).copy(), end
    if kind not in ("l", "d"):
        raise ValueError("this is no value")
    values = []
    for part in parts:
        value, at = _from_json(part[1] if kind == "d" else part, rest, at)
        values.append(value)
    return (values if kind == "l" else {str(part[0]): value for part, value in zip(parts, values)}), at
