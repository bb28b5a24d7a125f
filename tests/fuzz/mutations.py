"""How files are altered: their bytes, and what is in them, with checksums renewed."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurocompile.program.plain import digest_of, sum_of
from tests.fuzz.hdf5 import altered_hdf5
from tests.fuzz.onnxfile import altered_onnx

__all__ = ["altered"]

NASTY: tuple[Any, ...] = (
    -1, 0, 1, 2, 3, 7, 255, 10**9, 2**31, 2**63, 2**70, -(2**70), 10**400, True, False, None, 2.5, -0.5, 1e308, "", "x",
    "0", "[/foo]", "[bold]x[/]", "\x1b[31m", "\ud800",
    "../../etc/passwd", "é\u202e", "a" * 5000, [], {}, [[]], [1, 2, 3],
    {"array": "x"},
    {"number": "nan"}, {"number": "inf"}, {"number": "0x1p9999"}, {"number": 3}, {"array": 3}, "2020-01-01", [True],
)  # fmt: skip


def altered(source: Path, target: Path, draw: random.Random) -> str:
    """Write an altered copy of a file or of a program's folder; returns how it was altered."""
    if source.is_dir():
        return _program(source, target, draw)
    content = source.read_bytes()
    ways: list[Callable[[bytes, random.Random], bytes]] = [_bytes]
    if source.suffix in (".npz", ".pt"):
        ways += [_archive] * 3
    if source.suffix == ".npy":
        ways += [_array] * 3
    if source.suffix == ".toml":
        ways += [_toml] * 3
    if source.suffix == ".nir":
        ways += [altered_hdf5] * 4
    if source.suffix == ".onnx":
        ways += [altered_onnx] * 4
    way = draw.choice(ways)
    target.write_bytes(way(content, draw))
    return way.__name__.lstrip("_")


# -- bytes -------------------------------------------------------------------------------------------------------------


def _bytes(content: bytes, draw: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        if not data:
            return bytes(data)
        at = draw.randrange(len(data))
        size = min(draw.choice((1, 1, 4, 64, 1024)), len(data) - at)
        match draw.randrange(7):
            case 0:
                data[at] ^= 1 << draw.randrange(8)
            case 1:
                data[at : at + size] = draw.randbytes(size)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = draw.randbytes(size)
            case 4:
                data[at : at + size] = bytes(size)
            case 5:
                del data[at:]
            case 6:
                data[at:at] = data[at : at + size]
    return bytes(data)


# -- archives ----------------------------------------------------------------------------------------------------------


def _archive(content: bytes, draw: random.Random) -> bytes:
    """The members again, one of them altered; checksums are those of what is there."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = draw.randrange(len(members))
    name, inner = members[at]
    way = draw.choice(("inner", "inner", "inner", "name", "drop", "twice", "bomb", "header", "flags"))
    match way:
        case "inner":
            change = _array if name.endswith(".npy") else _pickle if name.endswith(".pkl") else _bytes
            members[at] = (name, change(inner, draw))
        case "name":
            members[at] = (
                draw.choice(("", "y.npy", "x", "../x.npy", "a/b/c.npy", "\x1b[1m.npy", name + "\0", "[/x].npy")),
                inner,
            )
        case "drop":
            del members[at]
        case "twice":
            members.append((name, _bytes(inner, draw)))
        case "bomb":
            members[at] = (name, inner[:128] + bytes(draw.choice((1 << 20,) * 12 + (1 << 24,) * 3 + (1 << 29,))))
    packed = _packed(members, draw)
    if way == "header":
        return _header(packed, draw)
    return _flagged(packed, draw) if way == "flags" else packed


def _packed(members: list[tuple[str, bytes]], draw: random.Random) -> bytes:
    buffer = io.BytesIO()
    how = draw.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    large = sum(len(inner) for _, inner in members) > 1 << 22
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if large else how) as archive:
        for name, inner in members:
            archive.writestr(zipfile.ZipInfo(name or "_"), inner, zipfile.ZIP_DEFLATED if large else how, 1)
    return buffer.getvalue()


def _header(content: bytes, draw: random.Random) -> bytes:
    """Sizes, methods, flags and names in the directory are others."""
    data = bytearray(content)
    for mark in (b"PK\x01\x02", b"PK\x03\x04"):
        places = [match.start() for match in re.finditer(re.escape(mark), content)]
        if places:
            at = draw.choice(places) + draw.randrange(4, 46)
            value = draw.choice((0, 1, 2**16 - 1, 2**31, 2**32 - 1, draw.getrandbits(32)))
            data[at : at + 4] = struct.pack("<I", value)[: max(0, len(data) - at)]
    return bytes(data)


def _flagged(content: bytes, draw: random.Random) -> bytes:
    """Members that say that they are encrypted, or packed in a way that nobody knows."""
    data, bits = bytearray(content), draw.choice((1, 1 << 5, 1 << 11))
    for mark, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        for match in re.finditer(re.escape(mark), content):
            data[match.start() + at] |= bits & 255
            data[match.start() + at + 1] |= bits >> 8
            if draw.random() < 0.3:
                data[match.start() + at + 2] = draw.randrange(256)
    return bytes(data)


def _array(content: bytes, draw: random.Random) -> bytes:
    """An npy with another header."""
    if draw.random() < 0.3 or len(content) < 12:
        return _bytes(content, draw)
    length = struct.unpack("<H", content[8:10])[0]
    shape = draw.choice((
        "(1000000000000,)", f"({2**80},)", "(-1,)", "()", "(0,)", "(3,)", "(5, 3, 4)", "(5, 4)", "(1, 2, 3, 4, 5)",
        "('a',)", "(True,)",
        "(2.5,)", "((1,),)", "[5]", "(" * 60 + ")" * 60, "(0, 1000000000000)",
    ))  # fmt: skip
    kind = draw.choice(
        ("<f8", "<f4", "<i8", "|b1", "<U9", "|O", "<M8[D]", "|S0", "<f2", "<c16", ">f8", "|V8", "<m8", "|u1")
    )
    order = draw.choice(("False", "True", "None"))
    header = f"{{'descr': {kind!r}, 'fortran_order': {order}, 'shape': {shape}, }}"
    header += " " * (64 - (len(header) + 11) % 64) + "\n"
    return content[:8] + struct.pack("<H", len(header)) + header.encode() + content[10 + length :]


_GADGETS = (
    b"cos\nsystem\n(S'touch RAN'\ntR.",
    b'c__builtin__\neval\n(S\'open("RAN", "w")\'\ntR.',
    b"cposix\nsystem\n(S'touch RAN'\ntR.",
)


def _pickle(content: bytes, draw: random.Random) -> bytes:
    """A pickle whose names are others, or that wants to run something."""
    if draw.random() < 0.2:
        return b"\x80\x02" + draw.choice(_GADGETS)
    words = sorted(set(re.findall(rb"[A-Za-z_][A-Za-z_0-9]{3,30}", content)))
    if not words or draw.random() < 0.3:
        return _bytes(content, draw)
    word = draw.choice(words)
    other = draw.choice((draw.choice(words), b"x" * len(word), word[::-1], b"system"))
    other = other[: len(word)].ljust(len(word), b"_") if draw.random() < 0.8 else other
    return content.replace(word, other, draw.choice((1, -1)))


# -- programs ----------------------------------------------------------------------------------------------------------


def _program(source: Path, target: Path, draw: random.Random) -> str:
    files = {str(file.relative_to(source)): file.read_bytes() for file in source.rglob("*") if file.is_file()}
    models = sorted(name for name in files if name.startswith("onnx/"))
    ways = ("json", "json", "json", "arrays", "bytes", "host", "text") if not models else ("onnx",) * 8 + ("bytes",)
    way = draw.choice(ways)
    host = [name for name in files if name.startswith("host/")]
    if way == "onnx":
        name = draw.choice(models)
        files[name] = draw.choice((altered_onnx, altered_onnx, altered_onnx, _bytes))(files[name], draw)
    elif way == "arrays":
        files["arrays.npz"] = _archive(files["arrays.npz"], draw)
    elif way == "host" and host:
        files[draw.choice(host)] = _bytes(files[host[0]], draw)
    elif way == "bytes":
        name = draw.choice(sorted(files))
        files[name] = _bytes(files[name], draw)
    if way != "bytes":
        files["program.json"] = _renewed(files, draw, way)
    for name, content in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    return way


def _renewed(files: dict[str, bytes], draw: random.Random, way: str) -> bytes:
    """program.json with something altered in it, if it is its turn, and checksums of what is there."""
    body = json.loads(files["program.json"])
    if way == "json":
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            _replaced(body, draw)
    if way == "text" and draw.random() < 0.5:
        return b'{"format": "neurocompile-program", "version": 1, "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    try:
        sums = {name: sum_of(content) for name, content in files.items() if name in body["sha256"]}
        body["sha256"] = {**body["sha256"], **sums}
        body["sha256"]["program.json"] = digest_of(body)
    except Exception:  # checksums are what was altered
        pass
    return json.dumps(body).encode()


def _replaced(body: Any, draw: random.Random) -> None:
    """One value anywhere in plain data is another, or gone, or twice there."""
    places: list[tuple[Any, Any]] = []
    waiting = [body]
    while waiting:
        top = waiting.pop()
        keys = list(top) if isinstance(top, dict) else range(len(top)) if isinstance(top, list) else ()
        for key in keys:
            places.append((top, key))
            waiting.append(top[key])
    if not places:
        return
    holder, key = draw.choice(places)
    match draw.randrange(6):
        case 0 if isinstance(holder, dict):
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[draw.choice(("", "x", "[/x]", "\ud800", str(key) * 2))] = holder.pop(key)
        case 2 if isinstance(holder, list):
            holder.insert(key, holder[key])
        case 3:
            other, place = draw.choice(places)
            there = other.get(place) if isinstance(other, dict) else other[place] if place < len(other) else None
            holder[key] = copy.deepcopy(there)  # it may hold what it is put into
        case _:
            holder[key] = draw.choice(NASTY)


# -- targets -----------------------------------------------------------------------------------------------------------


_TOML = (
    "-1", "0", "1e999", "nan", "true", '""', "[]", "{}", "10000000000000000000000", "2020-01-01", "'x'",
    '["a"]', "[1, 2]", "2.5", '"[/x]"', '"\\u001b[1m"', '"nc1"', '"loihi"',
)  # fmt: skip


def _toml(content: bytes, draw: random.Random) -> bytes:
    lines = content.decode().splitlines()
    for _ in range(draw.choice((1, 1, 3))):
        at = draw.randrange(len(lines))
        match draw.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, draw.choice(lines))
            case 2 if "=" in lines[at]:
                value = draw.choice(_TOML)
                lines[at] = lines[at].split("=")[0] + "= " + value
            case 3 if lines[at].startswith("["):
                lines[at] = draw.choice(("[x]", "[arithmetic]", "[[limits]]", "[prices.sop]", "[limits"))
            case _:
                lines[at] = lines[at][: draw.randrange(len(lines[at]) + 1)]
        if not lines:
            lines = [""]
    return "\n".join(lines).encode()
