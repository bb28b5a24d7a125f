"""Zip archives, as npz and torch files are: looked at before anything in them is unpacked."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from neurocompile.errors import BadInput, Problem
from neurocompile.printable import first_line

__all__ = ["DAMAGED", "FREE_BYTES", "Archive"]

_MEMBERS = 100_000
FREE_BYTES = 256 << 20
"""So much may come out of any archive; more only of one that was packed ``_RATIO`` times at most."""
_RATIO = 200

DAMAGED = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, KeyError,
    NotImplementedError, RuntimeError, OverflowError, IndexError,
)  # fmt: skip
"""What zipfile raises for archives that are cut short, altered, encrypted, or packed in another way."""


class Archive:
    """An archive whose members fit the limits.

    Args:
        file: of the archive.
        where: its name, for messages.
        fix: what makes a whole one.

    Raises:
        BadInput: if it is none, or if its members are too many, too large, encrypted, or not to be unpacked here.
    """

    def __init__(self, file: BinaryIO, where: str, fix: str) -> None:
        self._where, self._fix = where, fix
        try:
            self._zip = zipfile.ZipFile(file)
            size = file.seek(0, os.SEEK_END)
        except DAMAGED as error:
            raise self._damaged(error) from error
        self._infos = {info.filename: info for info in self._zip.infolist()}
        problems = [Problem(what, where, actual, limit, fix) for what, actual, limit in self._faults(size)]
        if problems:
            raise BadInput(problems)

    def _faults(self, size: int) -> Iterator[tuple[str, str, str]]:
        infos = self._zip.infolist()
        if len(infos) > _MEMBERS:
            yield "the archive holds too many files", f"{len(infos):,}", f"{_MEMBERS:,}"
        if len(self._infos) != len(infos):
            yield "the archive holds two files of one name", "", ""
        encrypted = [info.filename for info in infos if info.flag_bits & 1]
        if encrypted:
            yield f"{encrypted[0]!r} in the archive is encrypted", "", ""
        odd = [info for info in infos if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
        if odd:
            names = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "lzma"}
            how = names.get(odd[0].compress_type, f"method {odd[0].compress_type}")
            yield f"{odd[0].filename!r} in the archive is packed in another way", how, "stored or deflated"
        whole = sum(info.file_size for info in infos)
        most = max(FREE_BYTES, _RATIO * size)
        if whole > most:
            what = "the archive holds far more than a file of its size should"
            yield what, f"{whole:,} bytes in {size:,}", f"{most:,} bytes (or store it unpacked: numpy.savez)"
        stored = [i for i in infos if i.compress_type == zipfile.ZIP_STORED and i.file_size != i.compress_size]
        if stored or any(info.compress_size > size for info in infos):
            yield "the sizes in the archive contradict one another", "", ""

    @property
    def names(self) -> list[str]:
        """Of its members, in order."""
        return list(self._infos)

    def size(self, name: str) -> int:
        """Bytes of a member, unpacked."""
        return self._infos[name].file_size

    @contextmanager
    def member(self, name: str) -> Iterator[IO[bytes]]:
        """A member, open for reading.

        Raises:
            BadInput: if it is damaged, also while the block reads it.
        """
        try:
            with self._zip.open(self._infos[name]) as stream:
                yield stream
        except DAMAGED as error:
            raise self._damaged(error) from error

    def read(self, name: str) -> bytes:
        """All bytes of a member.

        Raises:
            BadInput: if it is damaged.
        """
        with self.member(name) as stream:
            return stream.read()

    def _damaged(self, error: Exception) -> BadInput:
        return BadInput(Problem(f"the archive cannot be read: {first_line(error)}", self._where, fix=self._fix))
