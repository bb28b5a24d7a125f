"""The graph as text: one line an operation, which a person can read and a test can compare."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from neurocompile.ir.ops import MembraneNorm

if TYPE_CHECKING:
    from neurocompile.ir.graph import Graph

__all__ = ["to_text"]


def to_text(graph: Graph) -> str:
    """``name : carries[shape] = Op(reads; what differs from the default)``, in the order of a step; then the host's."""
    lines = []
    for node in graph:
        edge = graph.edges[node.name]
        shown = [text for f in fields(node.op) if (text := _field(f.name, getattr(node.op, f.name), _default(f)))]
        reads = ", ".join(node.inputs)
        inside = "; ".join(part for part in (reads, ", ".join(shown)) if part)
        shape = ", ".join(map(str, edge.shape))
        lines.append(f"{node.name} : {edge.carries}[{shape}] = {type(node.op).__name__}({inside})")
    for region in graph.hosts.values():
        reads = ", ".join(read.source for read in region.reads)
        when = "at each step" if region.per_step else "over all steps"
        gives = f" -> {region.output}" if region.output else ""
        shape = ", ".join(map(str, region.shape))
        lines.append(f"{region.name} : host[{shape}] = {region.kind}({reads}; {when}){gives}")
    return "\n".join(lines)


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
