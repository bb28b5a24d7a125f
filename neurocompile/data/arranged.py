"""Samples as a network takes them: x (or one array for each named input) and labels y."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.ir.ops import Array

__all__ = ["Column", "Data", "arrange", "arrange_inputs", "in_time", "pieces"]

_PIECE_BYTES = 32 << 20


@dataclass(frozen=True)
class Data:
    """Inputs ``[N, T, *shape]`` (views, where one frame repeats), labels ``[N]``, if any, and where they came from."""

    inputs: Mapping[str, Array]
    labels: Array | None = None
    where: str = "the data"

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def part(self, start: int, stop: int) -> Data:
        """Samples ``start`` to ``stop``."""
        labels = None if self.labels is None else self.labels[start:stop]
        return Data({name: x[start:stop] for name, x in self.inputs.items()}, labels, self.where)


class Column(Protocol):
    """An array, or what is read like one along its first axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples first."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its numbers."""

    def __getitem__(self, rows: slice, /) -> Array: ...


def arrange_inputs(
    arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], timesteps: int, where: str,
    lines: Mapping[str, str] | None = None,
) -> Data:  # fmt: skip
    """Check arrays against the network and give each of them a time axis.

    Args:
        arrays: by name.
        shapes: of each input, without batch and time.
        timesteps: T.
        where: what holds the arrays, in the user's words.
        lines: where forward draws the random numbers that an input stands for: the user's file:line, by name.

    Raises:
        BadInput: with everything that does not match.
    """
    chosen = arrange(arrays, shapes, timesteps, where, lines)
    inputs = {name: in_time(arrays[key], shapes[name], timesteps) for name, key in chosen.items()}
    return Data(inputs, None if "y" in shapes else arrays.get("y"), where)


def in_time(x: Array, shape: tuple[int, ...], timesteps: int) -> Array:
    """Samples ``[n, *shape]``, each frame repeated for every step, or ``[n, T, *shape]`` as they are."""
    return x if x.shape[1:] != shape else np.broadcast_to(x[:, None], (len(x), timesteps, *shape))


def pieces(x: Column) -> list[slice]:
    """The rows of an array in pieces that take little memory."""
    rows = x.shape[0]
    size = max(1, _PIECE_BYTES // max(1, int(np.prod(x.shape[1:], dtype=np.int64)) * x.dtype.itemsize))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def arrange(
    columns: Mapping[str, Column], shapes: Mapping[str, tuple[int, ...]], timesteps: int, where: str,
    lines: Mapping[str, str] | None = None,
) -> dict[str, str]:  # fmt: skip
    """Check arrays against the network (:func:`arrange_inputs`); gives the array of each input.

    Raises:
        BadInput: with everything that does not match.
    """
    problems: list[Problem] = []
    chosen: dict[str, str] = {}
    for name, shape in shapes.items():
        wanted = f"[N, {', '.join(map(str, shape))}] or [N, {timesteps}, {', '.join(map(str, shape))}]"
        key = name if name in columns else "x" if len(shapes) == 1 else name
        if key not in columns:
            found = ", ".join(columns) or "nothing"
            what, fix = f"there is no array {key!r}", "name it so"
            if lines and key in lines:
                what += f" of the random numbers that forward draws at {lines[key]}"
                fix = f"draw them, and give them as {key}: {wanted}"
            problems.append(Problem(what, where, found, ", ".join(shapes), fix))
            continue
        x = columns[key]
        if x.dtype.kind not in "fiub":
            fix = "convert it with astype"
            problems.append(Problem(f"{key} holds no numbers", where, str(x.dtype), "float or integer", fix))
        elif x.shape[:1] > (0,) and x.shape[1:] in (shape, (timesteps, *shape)):
            chosen[name] = key
        else:
            fix = "samples come first; time, if any, second"
            problems.append(Problem(f"{key} has the wrong shape", where, str(list(x.shape)), wanted, fix))
        if name in chosen and x.dtype.kind == "f" and (bad := _counted(x, lambda part: ~np.isfinite(part))):
            size = int(np.prod(x.shape, dtype=np.int64))
            what, fix = f"{key} holds NaN or infinite values", "clean the data"
            problems.append(Problem(what, where, f"{bad} of {size}", "finite", fix))
    lengths = {name: columns[key].shape[0] for name, key in chosen.items()}
    if len(set(lengths.values())) > 1:
        problems.append(
            Problem("inputs have different numbers of samples", where, str(lengths), "the same", "pair them up")
        )
    labels = None if "y" in shapes else columns.get("y")
    if labels is not None and lengths:
        samples = next(iter(lengths.values()))
        if labels.shape != (samples,) or labels.dtype.kind not in "iub":
            fix = "give one whole number a sample"
            actual = f"{labels.dtype} {list(labels.shape)}"
            problems.append(Problem("the labels do not match the samples", where, actual, f"int [{samples}]", fix))
    if problems:
        raise BadInput(problems)
    return chosen


def _counted(x: Column, test: Callable[[Array], Array]) -> int:
    """How many values are so, piece by piece."""
    return sum(int(np.count_nonzero(test(x[rows]))) for rows in pieces(x))
