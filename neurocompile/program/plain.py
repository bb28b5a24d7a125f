"""Graphs as plain data that JSON holds, and their arrays beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.host import HostRegion
from neurocompile.ir.ops import OPS, Array, MembraneNorm

__all__ = [
    "FORMAT", "array_to_json", "digest_of", "from_json", "graph_from_json", "graph_to_json", "host_file", "sum_of",
]  # fmt: skip

FORMAT = "neurocompile-program"


def sum_of(content: bytes) -> str:
    """The checksum of a file."""
    return hashlib.sha256(content).hexdigest()


def digest_of(body: Mapping[str, Any]) -> str:
    """The checksum of everything in program.json but its own."""
    sums = {name: digest for name, digest in body["sha256"].items() if name != "program.json"}
    text = json.dumps({**body, "sha256": sums}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def graph_to_json(graph: Graph, prefix: str, arrays: dict[str, Array]) -> list[dict[str, Any]]:
    """The nodes of a graph; their arrays are added to ``arrays``, under names that begin with ``prefix``."""
    nodes = []
    for node in graph:
        values = {
            f.name: _to_json(getattr(node.op, f.name), f"{prefix}/{node.name}/{f.name}", arrays)
            for f in fields(node.op)
            if getattr(node.op, f.name) is not None
        }
        nodes.append({"name": node.name, "op": type(node.op).__name__, "inputs": list(node.inputs), "fields": values})
    return nodes


def _to_json(value: Any, key: str, arrays: dict[str, Array]) -> Any:
    if isinstance(value, np.ndarray):
        return array_to_json(value, key, arrays)
    if isinstance(value, MembraneNorm):
        raise TypeError("a program holds no batch norm of the membrane: it is folded")
    if isinstance(value, tuple):
        return [_to_json(item, key, arrays) for item in value]
    if isinstance(value, float | np.floating):
        return {"number": float(value).hex()}
    return int(value) if isinstance(value, np.integer) else value


def array_to_json(array: Array, key: str, arrays: dict[str, Array]) -> dict[str, str]:
    """What stands for an array, which is added to ``arrays``."""
    arrays[key] = _narrowed(array)
    return {"array": key}


def _narrowed(array: Array) -> Array:
    """The narrowest integers that hold the same numbers."""
    if array.dtype.kind != "i" or not array.size:
        return array
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= array.min() and array.max() <= np.iinfo(kind).max:
            return array.astype(kind)
    return array


def graph_from_json(
    nodes: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, Array],
    hosts: Sequence[HostRegion],
    check: Callable[[str, Any], None],
) -> Graph:
    """A graph of nodes that :mod:`neurocompile.program.schema` looked at.

    Args:
        nodes: as :func:`graph_to_json` made them.
        arrays: by their names.
        hosts: the regions of the graph.
        check: called with the name and the operation of each node, before the graph is made of them.

    Raises:
        InvalidGraph: if they are none.
    """
    built = []
    for node in nodes:
        values = {name: from_json(value, arrays) for name, value in node["fields"].items()}
        built.append(Node(node["name"], OPS[node["op"]](**values), tuple(node["inputs"])))
        check(node["name"], built[-1].op)
    return Graph(built, hosts)


def host_file(number: int) -> str:
    """Where the ONNX of a host region lies in the folder."""
    return f"host/{number}.onnx"


def from_json(value: Any, arrays: Mapping[str, Array]) -> Any:
    """A field of an operation, or an array."""
    if isinstance(value, dict):
        return arrays[value["array"]] if "array" in value else float.fromhex(value["number"])
    if isinstance(value, list):
        return tuple(from_json(item, arrays) for item in value)
    return value
