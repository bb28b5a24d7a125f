"""Timelines say what the timing simulators counted, and no slice lies over another."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from neurocompile.data import Data
from neurocompile.program import Program
from neurocompile.simulator.timing.cycles import CycleClock
from neurocompile.simulator.timing.events import EventClock
from neurocompile.simulator.timing.nc1 import PORTS
from neurocompile.simulator.timing.timeline import critical_path, trace_async_events, trace_events
from neurocompile.verbs.running import run_program
from tests.cli.helpers import done, refused, result

CHECKPOINTS = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints"
STEPS, CORES, LINKS = range(3)


def timed(target: str, samples: int = 1) -> tuple[Program, Data, Any]:
    program = neurocompile.compile(CHECKPOINTS / "digits.pt", target)
    data = program.example_data()
    assert data is not None
    data = data.part(0, samples)
    return program, data, run_program(program, data, timing=True, timeline=True).clock


def slices(events: list[dict[str, Any]], process: int) -> dict[int, list[tuple[float, float]]]:
    found: dict[int, list[tuple[float, float]]] = {}
    for each in events:
        if each["ph"] == "X" and each["pid"] == process:
            found.setdefault(each["tid"], []).append((each["ts"], each["ts"] + each["dur"]))
    return found


def apart(tracks: dict[int, list[tuple[float, float]]], slack: float = 0) -> None:
    for track in tracks.values():
        ordered = sorted(track)
        assert all(a[1] <= b[0] + slack for a, b in pairwise(ordered))


def test_slices_of_nc1_are_what_was_counted() -> None:
    _, _, clock = timed("nc1")
    assert isinstance(clock, CycleClock)
    timing, chip = clock.first, clock.chip
    assert timing is not None
    events = list(trace_events(chip, timing))
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    for process in (STEPS, CORES, LINKS):
        tracks = slices(events, process)
        apart(tracks)
        assert all((process, track) in names for track in tracks)
    steps = slices(events, STEPS)[0]
    assert steps == list(zip(timing.start.tolist(), (timing.quiet + 1).tolist()))
    words = chip.routes.axon_words
    for track, runs in slices(events, CORES).items():
        place, unit = divmod(track, 3)
        busy = sum(stop - start for start, stop in runs)
        if unit == 1:
            assert busy == (timing.events[:, 2] == place).sum()
        if unit == 2:
            axons = timing.events[timing.events[:, 3] == place, 4]
            assert (
                busy
                == np.maximum(words[chip.axons_of(int(chip.core_at[place]))][axons], 1).sum()
                >= timing.words[place]
            )
    links = slices(events, LINKS)
    for place, output in np.argwhere(timing.flits[:, : PORTS.index("local")] > 0).tolist():
        assert sum(stop - start for start, stop in links[5 * place + output]) == timing.flits[place, output]


def test_the_critical_path_of_a_step_goes_from_its_first_cycle_to_its_last() -> None:
    _, _, clock = timed("nc1")
    assert isinstance(clock, CycleClock)
    timing = clock.first
    assert timing is not None
    for step in range(len(timing.start)):
        legs = critical_path(clock.chip, timing, step)
        assert legs[0].start == timing.start[step]
        assert legs[-1].stop == timing.quiet[step]
        assert all(a.stop == b.start for a, b in pairwise(legs))


def test_slices_of_loihi_are_what_was_counted() -> None:
    _, _, clock = timed("loihi")
    assert isinstance(clock, EventClock)
    timing = clock.first
    assert timing is not None
    events = list(trace_async_events(clock.mapped.chip, timing))
    apart(slices(events, CORES), slack=2e-6)
    received = {track // 2: runs for track, runs in slices(events, CORES).items() if track % 2}
    for core in range(clock.mapped.chip.cores - 1):
        busy = sum(stop - start for start, stop in received.get(core, []))
        assert busy == pytest.approx(timing.working[core] * 1e-6, rel=1e-6, abs=1e-9)
    steps = slices(events, STEPS)[0]
    assert [stop for _, stop in steps] == pytest.approx((timing.quiet * 1e-6).tolist())


def test_simulate_writes_it_and_refuses_where_nothing_is_timed(tmp_path: Path) -> None:
    done("demo", "--write-data", tmp_path / "digits.npz")
    for target in ("nc1", "generic"):
        done("export", CHECKPOINTS / "digits.pt", "--target", target, "-o", tmp_path / target)
    few = tmp_path / "few.npz"
    with np.load(tmp_path / "digits.npz") as arrays:
        np.savez(few, x=arrays["x"][:3], y=arrays["y"][:3])
    body = result(
        "simulate", tmp_path / "nc1", "--data", few, "--timeline", tmp_path / "t.json", "--placement", "refined"
    )
    trace = json.loads((tmp_path / "t.json").read_text())
    assert len(trace["traceEvents"]) > 1000
    assert body["cycles"] == body["timing"]["cycles"] > 10_000
    assert body["timing"]["placement"] == "refined"
    assert body["per_sample"]["cycles"] == pytest.approx(body["cycles"] / 3)
    errors = refused(2, "simulate", tmp_path / "generic", "--data", few, "--timeline", tmp_path / "u.json")
    assert "no timing model" in errors[0]["what"]
    assert not (tmp_path / "u.json").exists()
