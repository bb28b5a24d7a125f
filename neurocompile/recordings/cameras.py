"""Event cameras' own files, as data sets are published in them: N-MNIST, AEDAT 2.0 and AEDAT 3.1."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from neurocompile.errors import BadInput, Problem
from neurocompile.files import content_of

__all__ = ["EVENT", "LARGEST_BYTES", "CameraEvents", "read_aedat2", "read_aedat3", "read_nmnist"]

EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
"""One event: time t [us], column x from the left, row y from the top, polarity p (1: brighter, 0: darker)."""

CameraEvents: TypeAlias = NDArray[np.void]
"""A recording `[E]` of dtype `EVENT`, in the order of its file."""

LARGEST_BYTES = 2**31  # of a file or of what it unpacks to: three times the largest published one (EMNIST, 0.6 GB)
_AGAIN = "download it again"


def read_nmnist(path: Path) -> CameraEvents:
    """The events of one .bin: 5 bytes each, x, y, then the polarity in the highest bit and 23 bits of time [us].

    Source: https://www.garrickorchard.com/datasets/n-mnist, as read by load_ATIS_bin in spikingjelly/datasets/utils.py.

    Raises:
        BadInput: if it is damaged.
    """
    content = content_of(path, LARGEST_BYTES)
    if len(content) % 5:
        raise _bad("not whole events", str(path), f"{len(content)} bytes", "a multiple of 5", _AGAIN)
    raw = np.frombuffer(content, np.uint8).reshape(-1, 5)
    events = np.empty(len(raw), EVENT)
    events["x"], events["y"], events["p"] = raw[:, 0], raw[:, 1], raw[:, 2] >> 7
    events["t"] = (raw[:, 2:].astype(np.int64) & [0x7F, 0xFF, 0xFF]) @ [1 << 16, 1 << 8, 1]
    return events


_PACKET = struct.Struct("<2h6i")  # type, source, event size, offset of t, overflows of t, capacity, number, valid
_POLARITY_EVENT = 1


def read_aedat3(path: Path) -> CameraEvents:
    """The polarity events of an AEDAT 3.1 file; packets of other types and events marked invalid are left out.

    After the header lines come packets, all little-endian: 28 bytes (`_PACKET`) and room for `capacity` events, of
    which the first `number` are there. A polarity event is two int32: bit 0 valid, bit 1 polarity, bits 2 to 16 y,
    bits 17 to 31 x; then 31 bits of time [us], which the packet's overflows continue. Sources: "AEDAT 3.1" on
    https://docs.inivation.com (software-advanced-usage/file-formats), and include/libcaer/events/common.h of libcaer.

    Raises:
        BadInput: if it is damaged, or of another version.
    """
    content, where = content_of(path, LARGEST_BYTES), str(path)
    position = _after_aedat_header(content, "3.1", where)
    parts: list[CameraEvents] = []
    while position < len(content):
        if len(content) - position < _PACKET.size:
            raise _truncated(f"{where}, packet at byte {position}", len(content) - position, _PACKET.size)
        kind, _, size, time_offset, overflows, capacity, number, _ = _PACKET.unpack_from(content, position)
        wrong_events = kind == _POLARITY_EVENT and (size, time_offset) != (8, 4)
        if wrong_events or min(size, overflows, capacity, number) < 0 or number > capacity:
            actual = f"{number} of {capacity} events of {size} bytes, type {kind}"
            raise _bad("not a packet of events", f"{where}, byte {position}", actual, fix=_AGAIN)
        position += _PACKET.size
        if size * capacity > len(content) - position:
            raise _truncated(f"{where}, packet at byte {position}", len(content) - position, size * capacity)
        if kind == _POLARITY_EVENT:
            words = np.frombuffer(content, "<u4", 2 * number, position).reshape(-1, 2)
            parts.append(_polarity_events(words[(words[:, 0] & 1) == 1], overflows))
        position += size * capacity
    return np.concatenate(parts) if parts else np.empty(0, EVENT)


def _polarity_events(words: NDArray[np.uint32], overflows: int) -> CameraEvents:
    events = np.empty(len(words), EVENT)
    data = words[:, 0]
    events["x"], events["y"], events["p"] = data >> 17, (data >> 2) & 0x7FFF, (data >> 1) & 1
    events["t"] = words[:, 1].astype(np.int64) + (overflows << 31)
    return events


def read_aedat2(path: Path) -> CameraEvents:
    """The events of an AEDAT 2.0 file of a DVS128, turned upright as for CIFAR10-DVS.

    After lines that begin with # come pairs of big-endian 32-bit words, address and time [us], read unsigned, so that
    times go on at 2^31. Bit 0 of an address is 0 for brighter, bits 1 to 7 and 8 to 14 are the column and the row of
    the sensor; addresses with bit 15 or 31 are no pixels (external events) and are left out. Sources: "AEDAT 2.0" and
    "AEDAT 1.0" on https://docs.inivation.com (software-advanced-usage/file-formats); the polarity as in
    extractRetina128EventsFromAddr.m of SensorsINI/jaer; the sensor stood on its side, and x = 127 - row, y = 127 -
    column as in spikingjelly/datasets/cifar10_dvs.py.

    Raises:
        BadInput: if it is damaged, of another version or of another sensor.
    """
    content, where = content_of(path, LARGEST_BYTES), str(path)
    start = _after_aedat_header(content, "2.0", where)
    if (len(content) - start) % 8:
        actual = f"{len(content) - start} bytes after the header"
        raise _bad("not whole events", where, actual, "a multiple of 8", _AGAIN)
    words = np.frombuffer(content, ">u4", offset=start).reshape(-1, 2)
    words = words[(words[:, 0] & 0x8000_8000) == 0]
    address = words[:, 0]
    if (address > 0x7FFF).any():
        actual = f"address 0x{int(address.max()):08x}"
        raise _bad("events lie outside the sensor", where, actual, "0x7fff", "is it a file of a DVS128?")
    events = np.empty(len(words), EVENT)
    events["x"], events["y"] = 127 - (address >> 8), 127 - ((address >> 1) & 0x7F)
    events["p"], events["t"] = 1 - (address & 1), words[:, 1]
    return events


def _after_aedat_header(content: bytes, version: str, where: str) -> int:
    """Where the events begin. Every header line begins with #; from 3.1 on the last one says so."""
    first = content[: content.find(b"\n") + 1].strip()
    if first != f"#!AER-DAT{version}".encode():
        actual = repr(first[:20].decode("latin-1"))
        raise _bad(f"not an AEDAT {version} file", where, actual, f"#!AER-DAT{version}", "use the file as published")
    position = 0
    while content[position : position + 1] == b"#":
        line = content[position : content.find(b"\n", position) + 1]
        if not line:
            raise _bad("the header does not end", where, fix=_AGAIN)
        position += len(line)
        if line.startswith(b"#Format:") and line.strip() != b"#Format: RAW":
            actual = repr(line[:40].strip().decode("latin-1"))
            raise _bad("the events are packed", where, actual, "#Format: RAW", "use the file as published")
        if line.strip() == b"#!END-HEADER":
            return position
    if version == "3.1":
        raise _bad("the header does not end", where, limit="#!END-HEADER", fix=_AGAIN)
    return position


def _bad(what: str, where: str, actual: str = "", limit: str = "", fix: str = "") -> BadInput:
    return BadInput(Problem(what, where, actual, limit, fix))


def _truncated(where: str, actual: int, needed: int) -> BadInput:
    return _bad("the file ends too early", where, f"{actual} bytes", f"{needed} bytes", _AGAIN)
