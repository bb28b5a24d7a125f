"""The arrays of a bundle."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurocompile.ir.ops import Array

__all__ = ["Arrays"]


class Arrays:
    """Arrays by name, each in the narrowest integers."""

    def __init__(self) -> None:
        self.found: dict[str, Array] = {}

    def keep(self, name: str, values: Any) -> None:
        """Add one."""
        array = np.asarray(values)
        if array.dtype.kind in "iu" and array.size:
            kinds = (np.int16, np.int32, np.int64)
            kind = next(k for k in kinds if np.iinfo(k).min <= array.min() and array.max() <= np.iinfo(k).max)
            array = array.astype(kind)
        self.found[name] = array

    def keep_sparse(self, name: str, rows: Array, columns: Array, values: Array, height: int) -> None:
        """Add a matrix of so many rows, by its entries in the order of rows."""
        self.keep(f"{name}.data", values)
        self.keep(f"{name}.indices", columns)
        self.keep(f"{name}.indptr", np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=height)))))
