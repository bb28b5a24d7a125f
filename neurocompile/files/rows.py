"""Arrays that are larger than memory, read some rows at a time: npy files, parts in npz files, zarr."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.extras import needing
from neurocompile.files.arrays import header_of, read_arrays, shapes_of
from neurocompile.files.reading import opened
from neurocompile.ir.ops import Array
from neurocompile.printable import first_line

__all__ = ["NpyRows", "PartRows", "ZarrRows", "rows_below"]

_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
# What zarr may unpack chunks with: its own codecs name others that run code (pickle).
_CODECS = {"blosc", "bytes", "bz2", "crc32c", "delta", "gzip", "lz4", "lzma", "sharding_indexed", "shuffle",
           "transpose", "zlib", "zstd"}  # fmt: skip
_LISTS = ("codecs", "index_codecs", "compressor", "compressors", "filters")
_CHUNK_BYTES = 1 << 30


class NpyRows:
    """An array in an npy file; rows are read, not mapped, so that what was read does not stay in memory.

    Raises:
        BadInput: if it is none, if its size is not what it says, or if it lies column by column.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        fix = "write it with numpy.save, in C order, without pickled objects"
        with opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            self.shape, columns_first, self.dtype, self._first = header_of(file, size, path.stem, str(path), fix)
        if columns_first and len(self.shape) > 1:
            what = "this array lies column by column: its samples are everywhere"
            raise BadInput(Problem(what, str(path), "Fortran order", "C order", "save numpy.ascontiguousarray(x)"))

    def __getitem__(self, rows: slice) -> Array:
        start, stop, _ = rows.indices(self.shape[0])
        found = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        each = prod(self.shape[1:]) * self.dtype.itemsize
        with opened(self._path) as file:
            file.seek(self._first + start * each)
            got = file.readinto(found.reshape(-1).view(np.uint8).data) if found.size else 0  # type: ignore[attr-defined]
        if got < found.nbytes:
            what, fix = "the file became shorter while it was read", "leave it alone meanwhile"
            raise BadInput(Problem(what, str(self._path), fix=fix))
        return found


class PartRows:
    """An array whose rows lie in one npz file after another; a part at a time is in memory.

    Args:
        folder: of the parts.
        name: of the array in each of them.
        parts: the files, and the shape and type of the array there.
        held: what the arrays of a folder share: the part that was read last.

    Raises:
        BadInput: if they do not go together.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        parts: Sequence[tuple[Path, tuple[int, ...], np.dtype[Any]]],
        held: dict[Path, Mapping[str, Array]],
    ) -> None:
        first, shape, self.dtype = parts[0]
        problems = []
        for path, other, dtype in parts:
            if (other[1:], dtype) != (shape[1:], self.dtype) or not other:
                what, fix = f"{name} is another array than in the first part", "write all parts alike"
                limit = f"{self.dtype} [.., {', '.join(map(str, shape[1:]))}] as in {first.name}"
                problems.append(Problem(what, str(path), f"{dtype} {list(other)}", limit, fix))
        if problems:
            raise BadInput(problems)
        self._name, self._held, self._files = name, held, [path for path, _, _ in parts]
        self._starts = np.cumsum([0, *(each[0] for _, each, _ in parts)]).tolist()
        self.shape = (self._starts[-1], *shape[1:])

    def __getitem__(self, rows: slice) -> Array:
        start, stop, _ = rows.indices(self.shape[0])
        found = [
            self._of(path)[max(0, start - first) : stop - first]
            for path, first, last in zip(self._files, self._starts, self._starts[1:])
            if first < stop and start < last
        ]
        if len(found) == 1:
            return found[0]
        return np.concatenate(found) if found else np.empty((0, *self.shape[1:]), self.dtype)

    def _of(self, path: Path) -> Array:
        if path not in self._held:
            self._held.clear()
            self._held[path] = read_arrays(path)
        return self._held[path][self._name]


class ZarrRows:
    """An array in zarr."""

    def __init__(self, array: Any, where: str) -> None:
        self._array, self._where = array, where
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, rows: slice) -> Array:
        try:
            return np.asarray(self._array[rows])
        except Exception as error:  # whatever codecs say of damaged chunks
            what = f"it cannot be read: {first_line(error)}"
            raise BadInput(Problem(what, self._where, fix="write it again")) from error


def rows_below(folder: Path) -> dict[str, Any]:
    """The arrays of a folder: ``x.npy``, ``y.npy``, ...; npz files, whose rows follow one another; or zarr.

    Raises:
        BadInput: if it holds nothing of these, several of them, or what cannot be read.
    """
    npy, npz = (sorted(folder.glob(pattern)) for pattern in ("*.npy", "*.npz"))
    zarr = any((folder / mark).is_file() for mark in _MARKS)
    kinds = [kind for kind, there in (("npy", npy), ("npz", npz), ("zarr", zarr)) if there]
    if len(kinds) != 1:
        fix = "give a folder of x.npy and y.npy, of npz files with x and y (in the order of their names), or of zarr"
        raise BadInput(Problem("this folder holds no data", str(folder), " and ".join(kinds) or "none", "one", fix))
    if npy:
        return {path.stem: NpyRows(path) for path in npy}
    if zarr:
        return _of_zarr(folder)
    return _of_parts(folder, npz)


def _of_parts(folder: Path, files: Sequence[Path]) -> dict[str, Any]:
    held: dict[Path, Mapping[str, Array]] = {}
    shapes = [(path, shapes_of(path)) for path in files]
    names = list(shapes[0][1])
    problems = [
        Problem("a part has other arrays than the first", str(path), ", ".join(each), ", ".join(names),
                "write all parts alike")
        for path, each in shapes if set(each) != set(names)
    ]  # fmt: skip
    if problems:
        raise BadInput(problems)
    return {name: PartRows(folder, name, [(path, *each[name]) for path, each in shapes], held) for name in names}


def _of_zarr(folder: Path) -> dict[str, Any]:
    _check_codecs(folder)
    with needing(str(folder), "zarr"):
        import zarr
    try:
        root = zarr.open(store=str(folder), mode="r")
        arrays = {"x": root} if isinstance(root, zarr.Array) else dict(sorted(root.arrays()))
    except Exception as error:
        what = f"this is no zarr: {first_line(error)}"
        raise BadInput(Problem(what, str(folder), fix="write it again")) from error
    problems = []
    for name, array in arrays.items():
        size = prod(array.chunks) * array.dtype.itemsize
        if size > _CHUNK_BYTES:
            fix = "write it in smaller chunks, of some samples each"
            problems.append(
                Problem(f"chunks of {name} are too large", str(folder), f"{size:,} bytes", f"{_CHUNK_BYTES:,}", fix)
            )
    if problems:
        raise BadInput(problems)
    return {name: ZarrRows(array, f"{folder}/{name}") for name, array in arrays.items()}


def _check_codecs(folder: Path) -> None:
    """That nothing unpacks chunks but what makes numbers of them.

    Raises:
        BadInput: with every other codec.
    """
    found = set()
    for mark in (*_MARKS, *(f"*/{mark}" for mark in _MARKS)):
        for path in folder.glob(mark):
            with opened(path) as file:
                try:
                    found |= set(_codecs(json.loads(file.read(1 << 22)), False))
                except (ValueError, RecursionError) as error:
                    raise BadInput(Problem("this is no zarr: its JSON is damaged", str(path))) from error
    if odd := sorted(found - _CODECS):
        fix = "write it with blosc, gzip, zstd, lz4, or without"
        what = "its chunks are packed by what is not unpacked here"
        raise BadInput(Problem(what, str(folder), ", ".join(odd), ", ".join(sorted(_CODECS)), fix))


def _codecs(found: Any, inside: bool) -> list[str]:
    """The names of all codecs, in metadata of either version; ``inside`` a list of them."""
    if isinstance(found, list):
        return [name for each in found for name in _codecs(each, inside)]
    if not isinstance(found, dict):
        return []
    names = [str(found[key]) for key in ("id", "name") if inside and key in found]
    for key, each in found.items():
        if key != "attributes":
            names += _codecs(each, key in _LISTS or (inside and key == "configuration"))
    return names
