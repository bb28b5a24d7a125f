"""Users' arrays: ``X.npz`` with x (or one array for each named input) and labels y."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.files import read_arrays
from neurocompile.ir.ops import Array

__all__ = ["Data", "arrange_inputs", "load_data"]


@dataclass(frozen=True)
class Data:
    """Inputs ``[N, T, *shape]`` (views, where one frame repeats), labels ``[N]``, if any, and where they came from."""

    inputs: dict[str, Array]
    labels: Array | None = None
    where: str = "the data"

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def part(self, start: int, stop: int) -> Data:
        """Samples ``start`` to ``stop``."""
        labels = None if self.labels is None else self.labels[start:stop]
        return Data({name: x[start:stop] for name, x in self.inputs.items()}, labels, self.where)


def load_data(
    path: Path, shapes: Mapping[str, tuple[int, ...]], timesteps: int, lines: Mapping[str, str] | None = None
) -> Data:
    """Inputs and labels for a network with inputs of ``shapes`` (no batch, no time).

    Raises:
        BadInput: with everything that does not match.
    """
    return arrange_inputs(read_arrays(path), shapes, timesteps, str(path), lines)


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
    problems: list[Problem] = []
    inputs: dict[str, Array] = {}
    for name, shape in shapes.items():
        wanted = f"[N, {', '.join(map(str, shape))}] or [N, {timesteps}, {', '.join(map(str, shape))}]"
        key = name if name in arrays else "x" if len(shapes) == 1 else name
        if key not in arrays:
            found = ", ".join(arrays) or "nothing"
            what, fix = f"there is no array {key!r}", "name it so"
            if lines and key in lines:
                what += f" of the random numbers that forward draws at {lines[key]}"
                fix = f"draw them, and give them as {key}: {wanted}"
            problems.append(Problem(what, where, found, ", ".join(shapes), fix))
            continue
        x = arrays[key]
        if x.dtype.kind not in "fiub":
            fix = "convert it with astype"
            problems.append(Problem(f"{key} holds no numbers", where, str(x.dtype), "float or integer", fix))
        elif x.shape[1:] == shape and len(x):
            inputs[name] = np.broadcast_to(x[:, None], (len(x), timesteps, *shape))
        elif x.shape[1:] == (timesteps, *shape) and len(x):
            inputs[name] = x
        else:
            fix = "samples come first; time, if any, second"
            problems.append(Problem(f"{key} has the wrong shape", where, str(list(x.shape)), wanted, fix))
        if name in inputs and x.dtype.kind == "f" and not np.isfinite(x).all():
            bad = int((~np.isfinite(x)).sum())
            problems.append(
                Problem(f"{key} holds NaN or infinite values", where, f"{bad} of {x.size}", "finite", "clean the data")
            )
    lengths = {name: len(x) for name, x in inputs.items()}
    if len(set(lengths.values())) > 1:
        problems.append(
            Problem("inputs have different numbers of samples", where, str(lengths), "the same", "pair them up")
        )
    labels = None if "y" in shapes else arrays.get("y")
    if labels is not None and lengths:
        samples = next(iter(lengths.values()))
        if labels.shape != (samples,) or labels.dtype.kind not in "iub":
            fix = "give one whole number a sample"
            actual = f"{labels.dtype} {list(labels.shape)}"
            problems.append(Problem("the labels do not match the samples", where, actual, f"int [{samples}]", fix))
    if problems:
        raise BadInput(problems)
    return Data(inputs, labels, where)
