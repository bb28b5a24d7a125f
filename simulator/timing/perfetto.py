"""Timelines in Perfetto's own format, a stream of protobuf messages, for traces that are too large as JSON.

A file is a message ``Trace`` whose ``packet`` follow one another (protos/perfetto/trace/perfetto_trace.proto in
Perfetto's sources). A slice is two packets: a TrackEvent that begins it, one that ends it. Groups are processes, tracks
their children; names are written once and called by number after that. Packets of many slices are made at once, as rows
of bytes; nothing of the trace is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from neurocompile.ir.ops import Array
from neurocompile.simulator.timing.slices import Slices, Timeline, Tracks

__all__ = ["SUFFIXES", "write_perfetto"]

SUFFIXES = (".pftrace", ".perfetto-trace")
"""What files of this format are called."""

_CHUNK = 1 << 15
"""Slices that are made at once: a few MB."""

# Numbers of fields, by message.
_PACKET = 1  # Trace
_TIMESTAMP, _SEQUENCE, _TRACK_EVENT, _INTERNED, _FLAGS, _TRACK = 8, 10, 11, 12, 13, 60  # TracePacket
_ANNOTATION, _TYPE, _NAME_IID, _TRACK_UUID, _FLOW = 4, 9, 10, 11, 47  # TrackEvent
_UUID, _NAME, _PROCESS, _PARENT, _ORDERING, _RANK = 1, 2, 3, 5, 11, 12  # TrackDescriptor
_PID, _PROCESS_NAME = 1, 6  # ProcessDescriptor
_EVENT_NAMES, _ANNOTATION_NAMES = 2, 3  # InternedData
_IID, _TEXT = 1, 2  # EventName, DebugAnnotationName
_NAMED, _INT, _STRING, _ARRAY = 1, 4, 6, 12  # DebugAnnotation

# Values of enumerations, and the one sequence of packets that a file has.
_BEGIN, _END = 1, 2
_EXPLICIT = 3
_CLEARED, _NEEDED = 1, 2
_ONE_SEQUENCE = 1


def write_perfetto(file: BinaryIO, timeline: Timeline) -> None:
    """Write a timeline, piece by piece; times are in nanoseconds, rounded down.

    Args:
        file: to write to; nothing is read back.
        timeline: whose tracks come before what lies on them.
    """
    names, keys = _Interned(_EVENT_NAMES), _Interned(_ANNOTATION_NAMES)
    uuids: dict[str | tuple[str, int], int] = {}
    file.write(_packet(_FLAGS, _CLEARED))
    for piece in timeline:
        if isinstance(piece, Tracks):
            file.writelines(_described(piece, uuids))
            continue
        file.write(names.new([piece.name]) + keys.new(piece.about))
        on = _field(_TRACK_UUID, uuids[piece.group, piece.track])
        begins = _field(_TYPE, _BEGIN) + on + _field(_NAME_IID, names[piece.name])
        begins += b"".join(_field(_ANNOTATION, _annotation(value, keys[key])) for key, value in piece.about.items())
        if piece.flow:
            begins += _varint(_FLOW << 3 | 1) + piece.flow.to_bytes(8, "little")
        file.writelines(_pairs(piece, timeline.ticks_per_us, begins, _field(_TYPE, _END) + on))


class _Interned(dict[str, int]):
    """Texts by the numbers that packets call them."""

    def __init__(self, field: int) -> None:
        self._field = field

    def new(self, texts: Iterable[str]) -> bytes:
        """What has to be written before packets can call these by number."""
        found = b""
        for text in texts:
            if text not in self:
                self[text] = len(self) + 1
                entry = _field(_IID, self[text]) + _field(_TEXT, text)
                found += _packet(_INTERNED, _field(self._field, entry), _NEEDED)
        return found


def _described(tracks: Tracks, uuids: dict[str | tuple[str, int], int]) -> Iterator[bytes]:
    """A process and its tracks, in the order that they are to be shown in."""
    group = tracks.group
    if group not in uuids:
        uuids[group] = len(uuids) + 1
        pid = sum(isinstance(each, str) for each in uuids)
        process = _field(_PID, pid) + _field(_PROCESS_NAME, group)
        yield _packet(_TRACK, _field(_UUID, uuids[group]) + _field(_PROCESS, process) + _field(_ORDERING, _EXPLICIT))
    for number, name in tracks.names.items():
        uuids[group, number] = len(uuids) + 1
        own = _field(_UUID, uuids[group, number]) + _field(_NAME, name) + _field(_PARENT, uuids[group])
        yield _packet(_TRACK, own + _field(_RANK, number))


def _pairs(slices: Slices, ticks_per_us: int, begins: bytes, ends: bytes) -> Iterator[bytes]:
    """The packets of slices: one that begins, one that ends, in turns."""
    for first in range(0, len(slices.start), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        rows = [
            *_stamped(slices.start[chunk] * 1000 // ticks_per_us, begins),
            *_stamped(slices.stop[chunk] * 1000 // ticks_per_us, ends),
        ]
        yield np.hstack(rows[::2])[np.hstack(rows[1::2])].tobytes()


def _stamped(ns: Array, event: bytes) -> tuple[Array, Array]:
    """Packets that differ by their time alone: bytes ``[n, width]``, and which of them are there."""
    rest = _field(_TRACK_EVENT, event) + _field(_SEQUENCE, _ONE_SEQUENCE) + _field(_FLAGS, _NEEDED)
    stamp, has_stamp = _varints(ns)
    length, has_length = _varints(1 + has_stamp.sum(1) + len(rest))
    fixed = [np.frombuffer(part, np.uint8) for part in (_varint(_PACKET << 3 | 2), _varint(_TIMESTAMP << 3), rest)]
    packet, time, rest_of_it = (np.broadcast_to(part, (len(ns), len(part))) for part in fixed)
    whole = [packet, length, time, stamp, rest_of_it]
    there = [np.ones(packet.shape, bool), has_length, np.ones(time.shape, bool), has_stamp]
    return np.hstack(whole), np.hstack([*there, np.ones(rest_of_it.shape, bool)])


def _varints(values: Array) -> tuple[Array, Array]:
    """Whole numbers from 0 as varints: bytes ``[n, width]``, and which of them are there."""
    width = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    septets = values[:, None] >> 7 * np.arange(width)
    there = septets > 0
    there[:, 0] = True
    found = (septets & 127).astype(np.uint8)
    found[:, :-1] |= there[:, 1:].astype(np.uint8) << 7
    return found, there


# -- one message at a time ---------------------------------------------------------------------------------------------


def _packet(field: int, value: int | bytes, flags: int = 0) -> bytes:
    own = _field(field, value) + _field(_SEQUENCE, _ONE_SEQUENCE)
    return _field(_PACKET, own + (_field(_FLAGS, flags) if flags else b""))


def _annotation(value: object, name: int | None = None) -> bytes:
    """A DebugAnnotation; those in an array have no name."""
    named = b"" if name is None else _field(_NAMED, name)
    if isinstance(value, list):
        return named + b"".join(_field(_ARRAY, _annotation(each)) for each in value)
    return named + (_field(_INT, value) if isinstance(value, int) else _field(_STRING, str(value)))


def _field(number: int, value: int | bytes | str) -> bytes:
    """A field: a whole number from 0, or a text or message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
