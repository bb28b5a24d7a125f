"""The HDF5 of a .nir file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from neurocompile.backends.nir.network import Network, network_of
from neurocompile.backends.wanted import USUAL, Wanted
from neurocompile.extras import needing
from neurocompile.program import Program

__all__ = ["nir_files"]

VERSION = "1.0.8"
"""Of the format that is written."""


def nir_files(program: Program, wanted: Wanted = USUAL) -> dict[str, bytes]:
    """``network.nir``: the real-valued, folded graph of a program, or its integers.

    Args:
        program: compiled.
        wanted: whether its integers are written, and what NIR cannot say as near as can be.

    Raises:
        DoesNotFit: with everything that NIR cannot say.
        ToolFailed: without h5py.
    """
    network = network_of(program, wanted.integers, wanted.approximate)
    for loss in network.losses:
        wanted.tell(f"NIR: {loss}")
    return {"network.nir": _written(network)}


def _written(network: Network) -> bytes:
    with needing("--emit nir", "nir"):
        import h5py
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v108")) as file:
        file["version"] = VERSION
        top = file.create_group("node")
        top["type"] = "NIRGraph"
        _put(top.create_group("metadata"), network.metadata)
        edges = np.array(network.edges, dtype=h5py.string_dtype())
        top.create_dataset("edges", data=edges)
        nodes = top.create_group("nodes")
        for name, (kind, fields) in network.nodes.items():
            _put(nodes.create_group(name), {"type": kind, **fields})
    return buffer.getvalue()


def _put(group: Any, fields: Mapping[str, Any]) -> None:
    """Numbers and texts; nothing of it says when it was written."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            _put(group.create_group(name), value)
        else:
            group.create_dataset(name, data=value, track_times=False)
