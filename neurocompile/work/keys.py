"""Checksums of what a result depends on: equal keys, equal results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["key_of"]

_PIECE = 1 << 20


def key_of(*parts: Any) -> str:
    """The SHA-256 of numbers, texts, arrays, files (what they hold, not what they are called), and lists of them.

    Raises:
        TypeError: for anything else: a key that did not see all would stand for several results.
    """
    digest = hashlib.sha256()
    for part in parts:
        _add(digest, part)
    return digest.hexdigest()


def _add(digest: Any, part: Any) -> None:
    """One part, with its kind and its length, so that no two lists of parts look alike."""
    if isinstance(part, Path):
        digest.update(b"file:")
        inner = hashlib.sha256()
        with open(part, "rb") as file:
            while piece := file.read(_PIECE):
                inner.update(piece)
        digest.update(inner.digest())
    elif isinstance(part, np.ndarray):
        digest.update(f"array:{part.dtype.str}:{part.shape}:".encode())
        for row in np.atleast_1d(part) if part.ndim else [part]:
            digest.update(np.ascontiguousarray(row).tobytes())
    elif isinstance(part, Mapping):
        digest.update(f"mapping:{len(part)}:".encode())
        for name in sorted(part):
            _add(digest, name)
            _add(digest, part[name])
    elif isinstance(part, Sequence) and not isinstance(part, str | bytes):
        digest.update(f"list:{len(part)}:".encode())
        for each in part:
            _add(digest, each)
    elif isinstance(part, bytes):
        digest.update(f"bytes:{len(part)}:".encode() + part)
    elif part is None or isinstance(part, str | int | float | bool):
        text = json.dumps(part).encode()
        digest.update(f"{type(part).__name__}:{len(text)}:".encode() + text)
    else:
        raise TypeError(f"no checksum of a {type(part).__name__}")
