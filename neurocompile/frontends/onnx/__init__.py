"""ONNX: plain networks without neurons, of operations that graphs have (docs/onnx.md)."""

from __future__ import annotations

from pathlib import Path

from neurocompile.extras import needing
from neurocompile.files import begins_with
from neurocompile.frontends.base import Frontend, Model, Settings

__all__ = ["frontend"]

_VERSIONS = range(3, 32)
"""Of ONNX's IR: a model begins with its own, and there is nothing else by which a file is known."""


def _is_onnx(path: Path) -> bool:
    """Whether a file begins as ONNX does: field 1, a version, then another of a model's fields."""
    starts = (bytes((0x08, version, then)) for version in _VERSIONS for then in b"\x12\x1a\x22\x3a\x42\x72")
    return begins_with(path, b"\x08") and any(begins_with(path, start) for start in starts)


def _load(path: Path, settings: Settings) -> Model:
    """:func:`neurocompile.frontends.onnx.model.load`, where onnx is installed."""
    with needing(str(path), "onnx"):
        from neurocompile.frontends.onnx.model import load
    return load(path, settings)


frontend = Frontend(_is_onnx, _load)
