"""Samples in files: an npz file is read whole, a folder of arrays piece by piece, however large it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

import numpy as np

from neurocompile.data.arranged import Column, Data, arrange, arrange_inputs, in_time
from neurocompile.files import read_arrays, rows_below
from neurocompile.ir.ops import Array

__all__ = ["Stored", "load_data", "reopened"]


class Stored(Data):
    """Samples in a folder; its labels alone are in memory, and of its inputs what a part asks for.

    Attributes:
        folder: of them.
        chosen: the array of each input, by name.
        shapes: of each input, without batch and time.
        timesteps: T.
    """

    def __init__(
        self,
        folder: Path,
        columns: Mapping[str, Column],
        chosen: Mapping[str, str],
        shapes: Mapping[str, tuple[int, ...]],
        timesteps: int,
        labels: Array | None,
    ) -> None:
        self.folder, self.chosen, self.shapes, self.timesteps = folder, dict(chosen), dict(shapes), timesteps
        self._columns = columns
        super().__init__(_Inputs(self), labels, str(folder))

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return min(self._columns[key].shape[0] for key in self.chosen.values())

    @property
    def bytes(self) -> int:
        """What its inputs would take in memory, frames that repeat once."""
        columns = [self._columns[key] for key in self.chosen.values()]
        return sum(prod(x.shape) * x.dtype.itemsize for x in columns)

    def rows(self, name: str, start: int, stop: int) -> Array:
        """Some samples of an input, ``[n, T, *shape]``."""
        return in_time(self._columns[self.chosen[name]][start:stop], self.shapes[name], self.timesteps)

    def part(self, start: int, stop: int) -> Data:
        """Samples ``start`` to ``stop``, read now."""
        labels = None if self.labels is None else self.labels[start:stop]
        return Data({name: self.rows(name, start, stop) for name in self.chosen}, labels, self.where)


class _Inputs(Mapping[str, Array]):
    """All samples of an input, read when they are asked for."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> Array:
        return self._stored.rows(name, 0, len(self._stored))

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored.chosen)

    def __len__(self) -> int:
        return len(self._stored.chosen)


def load_data(
    path: Path, shapes: Mapping[str, tuple[int, ...]], timesteps: int, lines: Mapping[str, str] | None = None
) -> Data:
    """Inputs and labels for a network with inputs of ``shapes`` (no batch, no time).

    Raises:
        BadInput: with everything that does not match.
    """
    if not path.is_dir():
        return arrange_inputs(read_arrays(path), shapes, timesteps, str(path), lines)
    columns = rows_below(path)
    chosen = arrange(columns, shapes, timesteps, str(path), lines)
    labels = None if "y" in shapes or "y" not in columns else np.asarray(columns["y"][:])
    return Stored(path, columns, chosen, shapes, timesteps, labels)


def reopened(folder: Path, chosen: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], timesteps: int) -> Stored:
    """A folder that was checked before, elsewhere; without its labels."""
    return Stored(folder, rows_below(folder), chosen, shapes, timesteps, None)
