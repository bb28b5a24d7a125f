"""A reader of Perfetto's format that is not ours: the messages that Perfetto's own package generates."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as messages

__all__ = ["Read", "Slice", "read"]


class Slice(NamedTuple):
    """As a reader sees it, in nanoseconds."""

    name: str
    start: int
    stop: int
    about: dict[str, Any]
    flow: int


Read = dict[tuple[str, str], list[Slice]]


def read(content: bytes) -> Read:
    """Slices by process and track; every rule that a reader relies on is checked."""
    trace = messages.Trace()
    trace.ParseFromString(content)
    packets = list(trace.packet)
    assert packets[0].sequence_flags == messages.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    assert {packet.trusted_packet_sequence_id for packet in packets} == {1}
    processes: dict[int, str] = {}
    tracks: dict[int, tuple[str, str]] = {}
    ranks: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    keys: dict[int, str] = {}
    found: Read = {}
    last: dict[int, int] = {}
    opened: dict[int, Any] = {}
    for packet in packets[1:]:
        match packet.WhichOneof("data"):
            case "track_descriptor":
                track = packet.track_descriptor
                assert track.uuid not in processes.keys() | tracks.keys()
                if track.HasField("process"):
                    assert track.process.pid > 0
                    processes[track.uuid] = track.process.process_name
                else:
                    tracks[track.uuid] = (processes[track.parent_uuid], track.name)
                    ranks.setdefault(track.parent_uuid, []).append(track.sibling_order_rank)
            case "track_event":
                assert packet.sequence_flags == messages.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
                event = packet.track_event
                assert packet.timestamp >= last.get(event.track_uuid, 0), "out of order"
                last[event.track_uuid] = packet.timestamp
                if event.type == messages.TrackEvent.TYPE_SLICE_BEGIN:
                    assert event.track_uuid not in opened, "one slice lies over another"
                    about = {keys[each.name_iid]: value(each) for each in event.debug_annotations}
                    flow = event.flow_ids[0] if event.flow_ids else 0
                    opened[event.track_uuid] = (names[event.name_iid], packet.timestamp, about, flow)
                else:
                    assert event.type == messages.TrackEvent.TYPE_SLICE_END
                    name, start, about, flow = opened.pop(event.track_uuid)
                    each = Slice(name, start, packet.timestamp, about, flow)
                    found.setdefault(tracks[event.track_uuid], []).append(each)
            case _:
                assert packet.HasField("interned_data")
                for table, entries in (
                    (names, packet.interned_data.event_names),
                    (keys, packet.interned_data.debug_annotation_names),
                ):
                    assert not table.keys() & {each.iid for each in entries}
                    table.update({each.iid: each.name for each in entries})
    assert not opened, "a slice has no end"
    assert all(a < b for each in ranks.values() for a, b in pairwise(each))
    return found


def value(annotation: Any) -> Any:
    field = annotation.WhichOneof("value")
    if annotation.array_values:
        return [value(each) for each in annotation.array_values]
    return getattr(annotation, field)
