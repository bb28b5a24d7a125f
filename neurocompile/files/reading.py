"""Opening what a user names: regular files only, of a bounded size, and what text and JSON are in them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from neurocompile.errors import BadInput, Problem

__all__ = ["HDF5", "begins_with", "content_of", "json_of", "opened", "text_of"]


HDF5 = b"\x89HDF\r\n\x1a\n"
"""The first bytes of an HDF5 file."""


def begins_with(path: Path, magic: bytes) -> bool:
    """Whether a regular file's first bytes are these; no for what cannot be read."""
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False


@contextmanager
def opened(path: Path, fix: str = "check the path") -> Iterator[BinaryIO]:
    """A regular file, open for reading; nobody waits for a pipe that nobody writes to.

    Args:
        path: of it.
        fix: what to do where there is none.

    Raises:
        BadInput: if it is missing, is no regular file, or may not be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise BadInput(Problem("no such file", str(path), fix=fix)) from None
    except (OSError, ValueError) as error:  # a ValueError: a null character in the name
        raise _unreadable(path, error) from error
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise BadInput(Problem("this is a folder, not a file", str(path), fix=fix))
        if not stat.S_ISREG(mode):
            what, fix = "this is a pipe or a device, not a file", "write it into a file first"
            raise BadInput(Problem(what, str(path), fix=fix))
        with os.fdopen(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def content_of(path: Path, most: int | None = None, fix: str = "check the path") -> bytes:
    """All bytes of a file.

    Args:
        path: of it.
        most: bytes that it may have.
        fix: what to do where there is none.

    Raises:
        BadInput: as :func:`opened` does, and if it is larger.
    """
    with opened(path, fix) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            fix = "this is another file, or a damaged one"
            raise BadInput(Problem("the file is too large", str(path), f"{size:,} bytes", f"{most:,} bytes", fix))
        try:
            return file.read()
        except OSError as error:
            raise _unreadable(path, error) from error


def text_of(path: Path, most: int) -> str:
    """A text in UTF-8.

    Raises:
        BadInput: as :func:`content_of` does, and if it is none.
    """
    try:
        return content_of(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(Problem(f"this is no text: {error}", str(path), fix="write it in UTF-8")) from error


def json_of(content: bytes) -> Any:
    """What a JSON text holds, without NaN and infinities.

    Raises:
        ValueError: if it is no such text, or nested too deeply.
    """
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _unreadable(path: Path, error: OSError | ValueError) -> BadInput:
    why = getattr(error, "strerror", None) or str(error)
    return BadInput(Problem(f"cannot be read: {why}", str(path), fix="check the path and its permissions"))
