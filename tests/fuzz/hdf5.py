"""How the HDF5 of a .nir file is altered: its numbers, shapes, types, names, links and edges."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

__all__ = ["altered_hdf5"]

_NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, np.nan, np.inf, -np.inf, 2.0**63, -(2.0**31), 3.0)
_SHAPES: tuple[tuple[int, ...], ...] = (
    (), (0,), (1,), (2,), (1, 1), (3, 0), (1,) * 8, (2, 3, 4), (300, 300), (2,) * 12,
)  # fmt: skip
_TYPES = ("f8", "f4", "f2", "i8", "i1", "u1", "u8", "c16", "?", ">f8", "S4")
_WORDS = (
    "", "x", "LIF", "IF", "LI", "CubaLIF", "CubaLI", "Affine", "Linear", "Conv1d", "Conv2d", "Scale", "Flatten",
    "SumPool2d", "AvgPool2d", "Delay", "Threshold", "Input", "Output", "NIRGraph", "../x", "a/b", "\x1b[31m",
    "[bold]x[/]", "é\u202e", "a" * 3000,
)  # fmt: skip


_NONE = (
    LookupError, ValueError, TypeError, AttributeError, OSError, RuntimeError, OverflowError, StopIteration,
)  # fmt: skip
"""What a change raises that there cannot be."""


def altered_hdf5(content: bytes, draw: random.Random) -> bytes:
    """The same file with one thing in it, or a few, otherwise; h5py writes what stays legal HDF5."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        for _ in range(draw.choice((1, 1, 2, 4))):
            way = draw.choice(_WAYS)
            try:
                way(file, draw)
            except (
                LookupError,
                ValueError,
                TypeError,
                OSError,
                RuntimeError,
                OverflowError,
                StopIteration,
                AttributeError,
            ):
                continue  # such a change cannot be had here
    return buffer.getvalue()


def _all(file: h5py.File, kind: type[Any]) -> list[str]:
    """The names of all of a kind; none that is too large to be read."""
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, kind) and getattr(item, "size", 0) <= 1 << 20:
            found.append(name)

    file.visititems(visit)
    return found


def _put(file: h5py.File, name: str, value: Any, **how: Any) -> None:
    if name in file:
        del file[name]
    file.create_dataset(name, data=value, **how)


def _number(file: h5py.File, draw: random.Random) -> None:
    """One number of an array, or all."""
    name = draw.choice([n for n in _all(file, h5py.Dataset) if file[n].dtype.kind in "fiu"])
    value = np.array(file[name][()], np.float64)
    flat = value.reshape(-1)
    flat[slice(None) if draw.random() < 0.4 else draw.randrange(max(flat.size, 1))] = draw.choice(_NUMBERS)
    _put(file, name, value)


def _shape(file: h5py.File, draw: random.Random) -> None:
    name, shape = draw.choice(_all(file, h5py.Dataset)), draw.choice(_SHAPES)
    _put(file, name, np.ones(shape))


def _type(file: h5py.File, draw: random.Random) -> None:
    name = draw.choice(_all(file, h5py.Dataset))
    known = file[name]
    value = np.ones(known.shape) if known.dtype.kind == "O" else known[()]
    _put(file, name, np.asarray(value).astype(draw.choice(_TYPES)))


def _text(file: h5py.File, draw: random.Random) -> None:
    """A type, a name in the edges, a version: other words, or numbers."""
    name = draw.choice([n for n in _all(file, h5py.Dataset) if file[n].dtype.kind == "O"])
    value = file[name][()]
    word: Any = draw.choice(_WORDS)
    if np.ndim(value):
        value = np.array(value, object)
        value.reshape(-1)[draw.randrange(max(value.size, 1))] = word
        _put(file, name, value, dtype=h5py.string_dtype())
    else:
        _put(file, name, word if draw.random() < 0.8 else draw.choice((3, 2.5, b"\xff\xfe")))


def _edges(file: h5py.File, draw: random.Random) -> None:
    """More edges, fewer, the other way round, or to itself."""
    name = next(n for n in _all(file, h5py.Dataset) if n.endswith("edges"))
    pairs = [[each.decode() for each in pair] for pair in file[name][()]]
    nodes = sorted({each for pair in pairs for each in pair})
    match draw.randrange(5):
        case 0:
            pairs.append([draw.choice(nodes), draw.choice(nodes)])
        case 1:
            del pairs[draw.randrange(len(pairs))]
        case 2:
            pairs = [pair[::-1] for pair in pairs]
        case 3:
            pairs *= draw.choice((2, 500))
        case 4:
            pairs.append([draw.choice(nodes)] * 2)
    _put(file, name, np.array(pairs, object).reshape(-1, 2), dtype=h5py.string_dtype())


def _gone(file: h5py.File, draw: random.Random) -> None:
    del file[draw.choice(_all(file, h5py.Dataset) + _all(file, h5py.Group))]


def _twice(file: h5py.File, draw: random.Random) -> None:
    """A copy of something under another name, possibly within itself."""
    names = _all(file, h5py.Dataset) + _all(file, h5py.Group)
    file.copy(draw.choice(names), file, f"{draw.choice(_all(file, h5py.Group))}/{draw.choice(_WORDS) or 'y'}")


def _link(file: h5py.File, draw: random.Random) -> None:
    """A link to elsewhere: into the file, in a circle, to nothing, to other files."""
    name = draw.choice(_all(file, h5py.Dataset) + _all(file, h5py.Group))
    links = (
        h5py.SoftLink("/"), h5py.SoftLink(f"/{name}"), h5py.SoftLink("/nothing"),
        h5py.ExternalLink("/etc/passwd", "/"), h5py.ExternalLink("RAN.nir", "/node"), file["/"],
        file[name.split("/")[0]],
    )  # fmt: skip
    del file[name]
    file[name] = draw.choice(links)


def _bomb(file: h5py.File, draw: random.Random) -> None:
    """An array that is far larger than the file: in chunks that nobody wrote, or of zeros that pack well."""
    name = draw.choice(_all(file, h5py.Dataset))
    shape = draw.choice(((1 << 40,), (1 << 20, 1 << 20), (1 << 27,), (1 << 16, 1 << 12)))
    del file[name]
    file.create_dataset(name, shape, "f4", chunks=tuple(min(n, 1024) for n in shape), compression="gzip")


def _attribute(file: h5py.File, draw: random.Random) -> None:
    file[draw.choice(_all(file, h5py.Group))].attrs[draw.choice(("dt", "type", "x"))] = draw.choice(_NUMBERS)


_WAYS: tuple[Callable[[h5py.File, random.Random], None], ...] = (
    _number, _number, _number, _shape, _type, _text, _text, _edges, _gone, _twice, _link, _bomb, _attribute,
)  # fmt: skip
