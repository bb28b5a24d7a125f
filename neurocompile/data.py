"""Users' arrays: ``X.npz`` with x (or one array for each named input) and labels y."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurocompile.errors import BadInput, Problem, ToolFailed
from neurocompile.ir.ops import Array

__all__ = ["Data", "arrange_inputs", "completed", "load_arrays", "load_data", "pack_arrays", "write_file"]


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


def load_arrays(path: Path) -> dict[str, Array]:
    """All arrays of an ``.npz`` file (a single ``.npy`` is x).

    Raises:
        BadInput: if it cannot be read, or holds objects instead of numbers.
    """
    if not path.exists():
        raise BadInput(Problem("no such file", str(path), fix="check the path"))
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"x": loaded}
        with loaded as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        what = "cannot be read as NumPy arrays"
        fix = "write it with numpy.savez(path, x=..., y=...), without pickled objects"
        raise BadInput(Problem(f"{what}: {error}", str(path), fix=fix)) from error


def load_data(
    path: Path, shapes: Mapping[str, tuple[int, ...]], timesteps: int, lines: Mapping[str, str] | None = None
) -> Data:
    """Inputs and labels for a network with inputs of ``shapes`` (no batch, no time).

    Raises:
        BadInput: with everything that does not match.
    """
    return arrange_inputs(load_arrays(path), shapes, timesteps, str(path), lines)


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


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """The content of an npz without dates, in the order of the names: the same arrays give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            np.lib.format.write_array(content, arrays[name].copy(order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED, 6)
    return buffer.getvalue()


@contextmanager
def completed(path: Path) -> Iterator[Path]:
    """Where to write a file that appears under its name only when it is complete.

    Raises:
        ToolFailed: if the disk does not take it.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        what = f"cannot write the file: {error.strerror or error}"
        raise ToolFailed(Problem(what, str(path), fix="free some space, or write elsewhere")) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_file(path: Path, content: bytes) -> None:
    """A file that appears under its name only when it is complete.

    Raises:
        ToolFailed: if the disk does not take it.
    """
    with completed(path) as partial, open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
