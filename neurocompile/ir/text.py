"""A graph's nodes and regions as text: one line each, which a person can read and a test can compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from neurocompile.ir.host import HostRegion
from neurocompile.ir.ops import MembraneNorm, Op
from neurocompile.printable import printable

__all__ = ["node_text", "region_text"]


def node_text(name: str, op: Op, reads: Sequence[str], carries: str, sizes: Sequence[int]) -> str:
    """``name : carries[shape] = Op(reads; what differs from the default)``."""
    shown = [text for f in fields(op) if (text := _field(f.name, getattr(op, f.name), _default(f)))]
    inside = "; ".join(part for part in (", ".join(reads), ", ".join(shown)) if part)
    return printable(f"{name} : {carries}[{', '.join(map(str, sizes))}] = {type(op).__name__}({inside})")


def region_text(region: HostRegion) -> str:
    """``name : host[shape] = kind(reads; when)``, and the output that it gives, if any."""
    reads = ", ".join(read.source for read in region.reads)
    when = "at each step" if region.per_step else "over all steps"
    gives = f" -> {region.output}" if region.output else ""
    return printable(
        f"{region.name} : host[{', '.join(map(str, region.shape))}] = {region.kind}({reads}; {when}){gives}"
    )


def _default(f: Any) -> Any:
    return f.default_factory() if callable(f.default_factory) else f.default


def _field(name: str, value: Any, default: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, MembraneNorm):
        return f"{name}={value.on}"
    if isinstance(value, np.ndarray):
        if isinstance(default, np.ndarray) and value.ndim == 0 and value == default:
            return ""
        return f"{name}={_array(value)}"
    return "" if value == default else f"{name}={value}"


def _array(value: np.ndarray[Any, Any]) -> str:
    if value.size == 0:
        return "[]"
    if np.all(value == value.flat[0]):
        number = f"{value.flat[0]:.6g}" if value.dtype.kind == "f" else str(value.flat[0])
        return number if value.ndim == 0 else f"{number} x {list(value.shape)}"
    if value.dtype.kind == "b":
        return f"{int(value.sum())} of {value.size} set"
    kind = "{:.4g}..{:.4g}" if value.dtype.kind == "f" else "{}..{}"
    return f"{list(value.shape)} in {kind.format(value.min(), value.max())}"
