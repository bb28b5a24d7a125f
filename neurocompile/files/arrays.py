"""Arrays in npz and npy files: headers are held against the bytes that are there before anything is allocated."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.files.archives import DAMAGED, Archive
from neurocompile.files.reading import opened
from neurocompile.ir.ops import Array

__all__ = ["arrays_of", "header_of", "pack_arrays", "read_arrays", "shapes_of"]

_FIX = "write it with numpy.savez(path, x=..., y=...), without pickled objects"
_MAGIC = b"\x93NUMPY"
_ZIP = b"PK"


def read_arrays(path: Path) -> dict[str, Array]:
    """All arrays of an ``.npz`` file (a single ``.npy`` is x).

    Raises:
        BadInput: if it cannot be read, holds objects instead of numbers, or more than a file of its size should.
    """
    with opened(path) as file:
        start = file.read(len(_MAGIC))
        file.seek(0)
        if start == _MAGIC:
            return {"x": _array(file, os.fstat(file.fileno()).st_size, "x", str(path), _FIX)}
        if not start.startswith(_ZIP):
            raise BadInput(Problem("this holds no NumPy arrays", str(path), fix=_FIX))
        return arrays_of(file, str(path), _FIX)


def arrays_of(file: BinaryIO, where: str, fix: str = _FIX) -> dict[str, Array]:
    """All arrays of an archive.

    Args:
        file: of it.
        where: its name, for messages.
        fix: what makes a whole one.

    Raises:
        BadInput: as :func:`read_arrays` does.
    """
    archive = Archive(file, where, fix)
    return {_named(name): _member(archive, name, where, fix) for name in archive.names}


def _named(member: str) -> str:
    return member.removesuffix(".npy")


def _member(archive: Archive, name: str, where: str, fix: str) -> Array:
    with archive.member(name) as stream:
        return _array(stream, archive.size(name), _named(name), where, fix)


def shapes_of(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """The shape and type of each array of an npz file, whose numbers are not read.

    Raises:
        BadInput: as :func:`read_arrays` does.
    """
    found = {}
    with opened(path) as file:
        archive = Archive(file, str(path), _FIX)
        for name in archive.names:
            with archive.member(name) as stream:
                shape, _, dtype, _ = header_of(stream, archive.size(name), _named(name), str(path), _FIX)
                found[_named(name)] = shape, dtype
    return found


def _array(stream: IO[bytes], size: int, name: str, where: str, fix: str) -> Array:
    """One array of so many bytes, header and all."""
    shape, columns_first, dtype, _ = header_of(stream, size, name, where, fix)
    flat = np.empty(prod(shape), dtype)
    _fill(stream, flat, name, where, fix)
    return flat.reshape(shape, order="F" if columns_first else "C")


def header_of(
    stream: IO[bytes], size: int, name: str, where: str, fix: str
) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether columns come first, type, and the bytes of the header, of an array of so many bytes in all.

    Raises:
        BadInput: if it is none, holds no plain numbers, or has another size than it says.
    """
    try:
        shape, columns_first, dtype, header = _header(stream)
    except DAMAGED as error:
        what = f"{name!r} is no array: {(str(error).splitlines() or [type(error).__name__])[0]}"
        raise BadInput(Problem(what, where, fix=fix)) from error
    if dtype.hasobject or dtype.names or dtype.subdtype or not dtype.itemsize:
        kind = "Python objects" if dtype.hasobject else "no plain numbers"
        raise BadInput(Problem(f"{name!r} holds {kind}", where, str(dtype)[:60], "numbers", fix))
    needed = prod(shape) * dtype.itemsize
    if needed != size - header:
        what = f"{name!r} does not have the size that it says"
        actual = f"{size - header:,} bytes"
        raise BadInput(Problem(what, where, actual, f"{needed:,} bytes for {list(shape)[:8]} of {dtype}", fix))
    return shape, columns_first, dtype, header


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether columns come first, type, and how many bytes the header has.

    Raises:
        ValueError: if it is none.
    """
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the format is not known")
    counted = _Counted(stream)
    try:
        shape, columns_first, dtype = readers[version](counted)
    except Exception as error:  # a header is a Python expression: whatever its tokenizer and parser say
        raise ValueError("its header is damaged") from error
    if any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, bool(columns_first), dtype, len(_MAGIC) + 2 + counted.read_bytes


class _Counted:
    """A stream that counts what is read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.read_bytes = 0

    def read(self, size: int = -1, /) -> bytes:
        found = self._stream.read(size)
        self.read_bytes += len(found)
        return found


def _fill(stream: IO[bytes], array: Array, name: str, where: str, fix: str) -> None:
    view: memoryview = array.view(np.uint8).data if array.size else memoryview(b"")
    done = 0
    while done < len(view):
        part = stream.read(min(len(view) - done, 1 << 22))
        if not part:
            raise BadInput(Problem(f"{name!r} is cut short", where, f"{done:,} bytes", f"{len(view):,} bytes", fix))
        view[done : done + len(part)] = part
        done += len(part)
    if isinstance(stream, zipfile.ZipExtFile):
        stream.read(1)  # at the end the checksum is looked at


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """The content of an npz without dates, in the order of the names: the same arrays give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            np.lib.format.write_array(content, arrays[name].copy(order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED, 6)
    return buffer.getvalue()
