"""Archives and arrays that hold anything: refused before they are unpacked."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from neurocompile.errors import BadInput
from neurocompile.files import archives, read_arrays
from neurocompile.files.reading import json_of


def _npz(path: Path, inner: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", inner)
    return path


def _npy(shape: str, kind: str = "<f4", content: bytes = b"") -> bytes:
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def test_what_numpy_wrote_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    arrays = {
        "x": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "columns": np.asfortranarray(np.eye(3)),
        "y": np.array(3), "none": np.zeros((0, 3)), "truth": np.array([True, False]),
        "large": np.arange(3, dtype=">i8"),
    }  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_arrays(tmp_path / "a.npz")
        assert list(found) == list(arrays)
        for name, x in arrays.items():
            np.testing.assert_array_equal(found[name], x)
            assert found[name].dtype == x.dtype
    np.save(tmp_path / "b.npy", arrays["x"])
    np.testing.assert_array_equal(read_arrays(tmp_path / "b.npy")["x"], arrays["x"])


@pytest.mark.parametrize(
    "inner",
    [
        _npy("(1000000000000,)"), _npy(f"({2**80},)"), _npy("(-1,)"), _npy("(True,)"), _npy("(2.5,)"), _npy("('a',)"),
        _npy("(0, 1000000000000)", "|S0"), _npy("(1,)", "|O", b"x" * 8), _npy("(2,)", "<f4", b"x" * 4), b"",
        b"no array",
        _npy("((((((", "<f4"), _npy("(2,)", "<f4", b"x" * 12),
    ],
    ids=range(13),
)  # fmt: skip
def test_members_that_are_no_arrays(inner: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        read_arrays(_npz(tmp_path / "x.npz", inner))
    if inner.startswith(b"\x93NUMPY"):
        (tmp_path / "x.npy").write_bytes(inner)
        with pytest.raises(BadInput):
            read_arrays(tmp_path / "x.npy")


def test_an_archive_that_unpacks_to_far_more(tmp_path: Path) -> None:
    size = archives.FREE_BYTES + (64 << 20)
    with (
        zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as member,
    ):
        member.write(_npy(f"({size},)", "|u1"))
        for _ in range(size >> 20):
            member.write(bytes(1 << 20))
    assert (tmp_path / "x.npz").stat().st_size < 1 << 20
    with pytest.raises(BadInput, match="far more"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_packed_in_another_way(method: int, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="packed in another way"):
        read_arrays(_npz(tmp_path / "x.npz", _npy("(1,)", "<f4", b"x" * 4), method))


def test_encrypted_and_doubled_members(tmp_path: Path) -> None:
    content = bytearray(_npz(tmp_path / "x.npz", _npy("(1,)", "<f4", b"x" * 4)).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[content.index(b"PK\x03\x04") + 6] |= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(BadInput, match="encrypted"):
        read_arrays(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("x.npy", _npy("(1,)", "<f4", b"x" * 4))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", _npy("(1,)", "<f4", b"y" * 4))
    with pytest.raises(BadInput, match="two files of one name"):
        read_arrays(tmp_path / "y.npz")


def test_nobody_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="pipe or a device"):
        read_arrays(tmp_path / "pipe")


def test_damaged_content_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.arange(1000.0))
    content = bytearray(buffer.getvalue())
    content[4000] ^= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(BadInput, match="CRC"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("text", "why"),
    [("NaN", "no number"), ("[Infinity]", "no number"), ("[" * 200_000 + "]" * 200_000, "deeply"),
     ("9" * 5000, "digits"),
     ("{", "Expecting"), ("\xff", "decode")],
    ids=range(6),
)  # fmt: skip
def test_json_that_is_none(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        json_of(text.encode("latin-1"))
