"""Small .nir files, as nir writes them, and what a hand can do to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np

N = 3


def lif(width: int = N, **fields: Any) -> nir.LIF:
    """Neurons of snnTorch: beta 0.9."""
    plain = {"tau": 1e-3, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
    return nir.LIF(**{name: np.full(width, value) for name, value in (plain | fields).items()})


def affine(out: int = N, into: int = N, seed: int = 0) -> nir.Affine:
    """Weights that let neurons fire."""
    draw = np.random.default_rng(seed)
    return nir.Affine(draw.normal(0, 1, (out, into)), draw.normal(0, 0.3, out))


def chain(path: Path, *parts: Any, into: Sequence[int] = (N,), out: Sequence[int] = (N,)) -> Path:
    """A file of one part after another."""
    names = [f"n{k}" for k in range(len(parts))]
    nodes = {"input": nir.Input(np.array(into)), **dict(zip(names, parts)), "output": nir.Output(np.array(out))}
    order = ["input", *names, "output"]
    nir.write(path, nir.NIRGraph(nodes, list(pairwise(order)), type_check=False))
    return path


def changed(path: Path, change: Callable[[h5py.File], None]) -> Path:
    """The same file after a change."""
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def put(file: h5py.File, name: str, value: Any) -> None:
    """A dataset in place of the one that is there."""
    if name in file:
        del file[name]
    file[name] = value


def edges(file: h5py.File, pairs: Sequence[tuple[str, str]], graph: str = "node") -> None:
    """The edges of a graph."""
    put(file, f"{graph}/edges", np.array(pairs, dtype=h5py.string_dtype()))
