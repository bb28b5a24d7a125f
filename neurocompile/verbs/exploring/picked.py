"""Samples from all over the data: with these in another order, or some of these, all of them are in memory."""

from __future__ import annotations

import numpy as np

from neurocompile.data import Data, Stored
from neurocompile.errors import BadInput, Problem
from neurocompile.ir.ops import Array

__all__ = ["check_size", "every", "picked"]

_MOST_BYTES = 1 << 30


def check_size(data: Data, option: str) -> None:
    """That data in files are not too large to be held.

    Raises:
        BadInput: if they are.
    """
    if isinstance(data, Stored) and data.bytes > _MOST_BYTES:
        what, fix = "samples from all over the data are picked, which holds all of them in memory", "give fewer samples"
        actual, limit = (f"{size / (1 << 20):,.0f} MiB" for size in (data.bytes, _MOST_BYTES))
        raise BadInput(Problem(f"{what} ({option})", data.where, actual, limit, f"{fix}, or leave out {option}"))


def every(data: Data, step: int, first: int = 0) -> Data:
    """One sample of so many, from the first on."""
    return picked(data, slice(first, None, step))


def picked(data: Data, rows: slice | Array) -> Data:
    """Some samples, in this order."""
    whole = data.part(0, len(data))
    labels = None if whole.labels is None else whole.labels[rows]
    return Data({name: _rows(x, rows) for name, x in whole.inputs.items()}, labels, whole.where)


def _rows(x: Array, rows: slice | Array) -> Array:
    """Some samples of an input; a frame that repeats is one still."""
    some = x[:, :1][rows] if x.strides[1] == 0 else x[rows]
    return np.broadcast_to(some, (len(some), *x.shape[1:]))
