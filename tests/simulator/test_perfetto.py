"""Perfetto's own format, read back with Perfetto's own messages: the same slices as in JSON, and valid ones."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurocompile.simulator.timing import perfetto
from neurocompile.simulator.timing.cycles import CycleClock
from neurocompile.simulator.timing.events import EventClock
from neurocompile.simulator.timing.slices import Piece, Slices, Timeline, Tracks, merged
from tests.cli.helpers import done, refused, result
from tests.simulator.test_timeline import CHECKPOINTS, apart, timed

pytest.importorskip("perfetto")

from tests.simulator.perfetto_reader import Read, Slice, read


def written(timeline: Timeline) -> bytes:
    file = io.BytesIO()
    perfetto.write_perfetto(file, timeline)
    return file.getvalue()


def of_json(events: Iterable[dict[str, Any]], ns: Any) -> Read:
    """The slices of a trace in JSON, in nanoseconds."""
    events = list(events)
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    tracks = {
        (e["pid"], e["tid"]): (processes[e["pid"]], e["args"]["name"]) for e in events if e["name"] == "thread_name"
    }
    found: Read = {}
    for e in events:
        if e["ph"] == "X":
            each = Slice(e["name"], ns(e["ts"]), ns(e["ts"] + e["dur"]), e.get("args", {}), 0)
            found.setdefault(tracks[e["pid"], e["tid"]], []).append(each)
    return found


@pytest.mark.parametrize("target", ["nc1", "loihi"])
def test_slices_are_those_of_the_json(target: str) -> None:
    clock = timed(target)[2]
    found = read(written(clock.slices()))
    # Sums of JSON's floats, in picoseconds: what is left of them is no part of one.
    ns = (lambda us: us * 1000) if target == "nc1" else (lambda us: round(us * 1e6) // 1000)
    expected = of_json(clock.timeline()["traceEvents"], ns)
    assert sum(map(len, expected.values())) > 500
    assert {at: slices for at, slices in found.items() if at[0] in ("steps", "cores", "links")} == expected
    apart({number: [(s.start, s.stop) for s in slices] for number, slices in enumerate(found.values())})


def test_layers_of_nc1_fired_what_their_cores_did() -> None:
    clock = timed("nc1")[2]
    assert isinstance(clock, CycleClock)
    assert clock.first is not None
    found = read(written(clock.slices()))
    fires = {at: slices for at, slices in found.items() if at[0] == "layers" and at[1].endswith("fires")}
    assert sum(s.about["vectors"] for slices in fires.values() for s in slices) == len(clock.first.fired)
    words = [(s.start, s.stop) for at, slices in found.items() for s in slices if at[1].endswith("synapses")]
    heard = [(s.start, s.stop) for at, slices in found.items() for s in slices if at[1].endswith("is heard")]
    assert len(fires) > 2
    assert covered(heard) == covered(words)


def test_layers_of_loihi_sent_what_their_cores_did() -> None:
    clock = timed("loihi")[2]
    assert isinstance(clock, EventClock)
    assert clock.first is not None
    found = read(written(clock.slices()))
    fires = {at: slices for at, slices in found.items() if at[0] == "layers" and at[1].endswith("fires")}
    assert sum(s.about["messages"] for slices in fires.values() for s in slices) == len(clock.first.events)
    received = [(s.start, s.stop) for at, slices in found.items() for s in slices if at[1].endswith("receives")]
    heard = [(s.start, s.stop) for at, slices in found.items() for s in slices if at[1].endswith("is heard")]
    assert covered(heard) == covered(received)


def covered(slices: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The time in which anything happened."""
    starts, stops = merged(*np.array(slices).T)
    return list(zip(starts.tolist(), stops.tolist()))


@pytest.mark.parametrize("target", ["nc1", "loihi"])
def test_arrows_lead_from_the_first_moment_of_each_step_to_its_last(target: str) -> None:
    clock = timed(target)[2]
    found = read(written(clock.slices()))
    legs = sorted((s for at, slices in found.items() if at[0] == "critical path" for s in slices), key=lambda s: s[1:3])
    ticks = 1000 if target == "nc1" else 1 / 1000
    for flow, (start, quiet) in enumerate(zip(clock.first.start.tolist(), clock.first.quiet.tolist()), 1):
        way = [leg for leg in legs if leg.flow == flow]
        assert (way[0].start, way[-1].stop) == (int(start * ticks), int(quiet * ticks))
        assert all(a.stop == b.start for a, b in pairwise(way))


@pytest.mark.parametrize("seed", range(20))
def test_random_slices_come_back(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every size that a varint can have, in several chunks, with names and remarks of many bytes."""
    monkeypatch.setattr(perfetto, "_CHUNK", 7)
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    pieces: list[Piece] = [Tracks("a", {0: "first", 3: "läuft"}), Tracks("b", {0: "x" * 300})]
    expected: Read = {}
    for group, track, name in (("a", 0, "first"), ("b", 0, "x" * 300), ("a", 3, "läuft")):
        edges = np.sort(rng.integers(0, 1 << rng.integers(1, 53, 60), endpoint=True))
        for part in np.split(edges, [20, 20, 40]):
            text = draw.choice(("one", "zwei", "3" * 200))
            about = draw.choice(({}, {"n": draw.randrange(1 << 40)}, {"why": ["a", "b" * 200], "n": 0}))
            flow = draw.choice((0, draw.randrange(1, 1 << 63)))
            pieces.append(Slices(group, track, text, part[::2], part[1::2], about, flow))
            own = [Slice(text, *pair, about, flow) for pair in zip(part[::2].tolist(), part[1::2].tolist())]
            expected.setdefault((group, name), []).extend(own)
    assert read(written(Timeline(1000, pieces))) == expected


def test_no_slices_are_a_trace_too() -> None:
    nothing = np.zeros(0, np.int64)
    assert read(written(Timeline(1, [Tracks("a", {0: "b"}), Slices("a", 0, "c", *merged(nothing, nothing))]))) == {}


def test_what_touches_or_overlaps_is_one() -> None:
    starts, stops = merged(np.array([9, 0, 5, 1, 20]), np.array([12, 8, 6, 2, 21]))
    assert (starts.tolist(), stops.tolist()) == ([0, 9, 20], [8, 12, 21])
    starts, stops = merged(np.array([4, 0]), np.array([6, 4]))
    assert (starts.tolist(), stops.tolist()) == ([0], [6])


def test_simulate_writes_it_by_the_name_of_the_file(tmp_path: Path) -> None:
    done("demo", "--write-data", tmp_path / "digits.npz")
    done("export", CHECKPOINTS / "digits.pt", "--target", "nc1", "-o", tmp_path / "nc1")
    few = tmp_path / "few.npz"
    with np.load(tmp_path / "digits.npz") as arrays:
        np.savez(few, x=arrays["x"][:2], y=arrays["y"][:2])
    for name in ("t.pftrace", "t.perfetto-trace"):
        body = result("simulate", tmp_path / "nc1", "--data", few, "--timeline", tmp_path / name)
        found = read((tmp_path / name).read_bytes())
        assert {process for process, _ in found} == {"steps", "cores", "links", "layers", "critical path"}
        assert body["cycles"] > 10_000
    assert (tmp_path / "t.pftrace").read_bytes() == (tmp_path / "t.perfetto-trace").read_bytes()
    errors = refused(2, "simulate", tmp_path / "nc1", "--data", few, "--timeline", tmp_path / "t.pftrace")
    assert "exists" in errors[0]["what"]


@pytest.mark.parametrize("million", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_trace(million: int, tmp_path: Path) -> None:
    """Ten million slices within 200 MB, NumPy and Python included."""
    out = tmp_path / "t.pftrace"
    command = [sys.executable, "-m", "benchmarks.traces", "--slices", str(million * 10**6), "--out", str(out)]
    took = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert out.stat().st_size > million * 25e6
    assert took["peak_mb"] < 200
