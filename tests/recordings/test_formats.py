"""Spikes of the simulator in each format, read back as they were; and in real time, with clocks that are not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neurocompile
from neurocompile.recordings import Hints, read_recordings
from neurocompile.reports.validation import Stage
from tests.recordings import files
from tests.recordings.conftest import Digits
from tests.recordings.planting import List

US = 1000  # of a step, in microseconds


def stage_of(digits: Digits, *recorded: Path | str, **options: Any) -> Stage:
    """The stage "recorded" of the digits and files."""
    report = neurocompile.validate(digits.program, digits.file, recorded=recorded, **options)
    return next(stage for stage in report.stages if stage.name == "recorded")


def exact(stage: Stage, *layers: str) -> None:
    """All of these layers were compared, and nothing differs."""
    assert stage.passed, stage
    assert stage.mismatches == 0
    assert set(stage.damage) == set(layers)
    assert stage.alignment is not None
    assert stage.alignment.decided


def pixels(spikes: Any) -> tuple[Any, Any, Any, Any]:
    """Time in microseconds, and x, y, p, of a layer whose neurons are numbered through a sensor of 64 columns."""
    events = List.of(spikes)
    return events.row * US + 300, events.neuron % 64, events.neuron // 64, np.ones(len(events.row), np.int64)


@pytest.fixture(scope="module")
def last(digits: Digits) -> Any:
    return digits.spikes[digits.last]


TABLES = {
    "steps": ("step,neuron", lambda e: (e.row, e.neuron)),
    "microseconds": ("t_us,neuron", lambda e: (e.row * US + 250, e.neuron)),
    "a unit in brackets": ("Time [us],Address", lambda e: (e.row * US + 250, e.neuron)),
    "nanoseconds of a clock that runs": ("t_ns,neuron", lambda e: (e.row * US * 1000 + 17 * 10**17, e.neuron)),
    "seconds": ("t_s,neuron", lambda e: (e.row * 1e-3 + 4e-4, e.neuron)),
    "samples apart": ("sample,t_us,neuron", lambda e: (e.row // 4, e.row % 4 * US, e.neuron)),
    "samples and steps": ("sample,step,neuron", lambda e: (e.row // 4, e.row % 4, e.neuron)),
    "samples of one clock": ("sample,t_us,neuron", lambda e: (e.row // 4, e.row * US, e.neuron)),
    "no unit": ("t,neuron", lambda e: (e.row * 7.5 + 2, e.neuron)),
    "pixels": ("t_us,x,y,p", lambda e: (e.row * US, e.neuron, 0 * e.row, e.row % 2)),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_tables(digits: Digits, last: Any, kind: str, tmp_path: Path) -> None:
    head, columns = TABLES[kind]
    exact(stage_of(digits, files.csv(tmp_path / "a.csv", head, *columns(List.of(last)))), digits.last)
    names = [name.strip() for name in head.split(",")]
    table = files.parquet(tmp_path / "a.parquet", **dict(zip(names, columns(List.of(last)))))
    exact(stage_of(digits, table), digits.last)


@pytest.mark.parametrize("between", [";", "\t"])
def test_other_separators_and_comments(digits: Digits, last: Any, between: str, tmp_path: Path) -> None:
    events = List.of(last)
    rows = [f"{row}{between}{neuron}" for row, neuron in zip(events.row, events.neuron)]
    (tmp_path / "a.tsv").write_text("\n".join(["# a comment", f"step{between}neuron", *rows]))
    exact(stage_of(digits, tmp_path / "a.tsv"), digits.last)


def test_several_layers_in_one_table(digits: Digits, tmp_path: Path) -> None:
    events = {name: List.of(each) for name, each in digits.spikes.items()}
    columns = [np.concatenate([getattr(each, key) for each in events.values()]) for key in ("row", "neuron")]
    layer = np.concatenate([np.full(len(each.row), name) for name, each in events.items()])
    exact(stage_of(digits, files.csv(tmp_path / "a.csv", "step,neuron,layer", *columns, layer)), *events)


def test_a_file_of_each_layer(digits: Digits, tmp_path: Path) -> None:
    given_ = [
        f"{name}={files.csv(tmp_path / f'{name}.csv', 'step,neuron', List.of(each).row, List.of(each).neuron)}"
        for name, each in digits.spikes.items()
    ]
    exact(stage_of(digits, *given_), *digits.spikes)
    first = next(iter(digits.spikes))
    exact(stage_of(digits, tmp_path / f"{first}.csv", recorded_layer=first), first)


def test_npz(digits: Digits, last: Any, tmp_path: Path) -> None:
    events, name = List.of(last), digits.last
    np.savez(tmp_path / "a.npz", **{f"{name}:t_us": events.row * US, f"{name}:neuron": events.neuron})
    exact(stage_of(digits, tmp_path / "a.npz"), name)
    np.savez(tmp_path / "b.npz", step=events.row % 4, neuron=events.neuron, sample=events.row // 4)
    exact(stage_of(digits, tmp_path / "b.npz"), name)
    np.save(tmp_path / "c.npy", last)
    exact(stage_of(digits, tmp_path / "c.npy"), name)
    np.savez(tmp_path / "d.npz", **digits.spikes)
    exact(stage_of(digits, tmp_path / "d.npz"), *digits.spikes)
    arrays = {f"{name}:t": events.row * 0.5, f"{name}:neuron": events.neuron}
    report = neurocompile.validate(digits.program, digits.file, recorded=arrays)
    exact(next(stage for stage in report.stages if stage.name == "recorded"), name)


def test_nir(digits: Digits, last: Any, tmp_path: Path) -> None:
    pytest.importorskip("nir")
    exact(stage_of(digits, files.nir_grid(tmp_path / "a.h5", digits.spikes, 1e-3)), *digits.spikes)
    exact(stage_of(digits, files.nir_events(tmp_path / "b.h5", digits.last, last, 1e-3)), digits.last)
    late = files.nir_events(tmp_path / "c.h5", digits.last, last, 1e-3, late=5e-4)
    exact(stage_of(digits, late, step_length="1ms"), digits.last)


@pytest.mark.parametrize("suffix", ["aedat4", "raw", "dat", "es"])
def test_what_faery_writes(digits: Digits, last: Any, suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("faery")
    exact(stage_of(digits, files.by_faery(tmp_path / f"a.{suffix}", *pixels(last), (64, 8))), digits.last)


def test_what_expelliarmus_writes(digits: Digits, last: Any, tmp_path: Path) -> None:
    """Prophesee's EVT2; its EVT3 leaves out the words with a time's high bits, and its DAT what kind events are of."""
    pytest.importorskip("expelliarmus")
    exact(stage_of(digits, files.by_expelliarmus(tmp_path / "a.raw", "evt2", *pixels(last))), digits.last)


def test_published_formats_of_cameras(digits: Digits, last: Any, tmp_path: Path) -> None:
    t, x, y, p = pixels(last)
    exact(stage_of(digits, files.nmnist(tmp_path / "a.bin", t, x, y, p)), digits.last)
    exact(stage_of(digits, files.aedat2(tmp_path / "a.aedat", t, x, y, p)), digits.last)
    exact(stage_of(digits, files.aedat3(tmp_path / "b.aedat", t, x, y, p)), digits.last)


# -- real time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("step_us", [1000.0, 312.7, 20_011.0])
def test_a_step_of_unknown_length(digits: Digits, last: Any, step_us: float, seed: int, tmp_path: Path) -> None:
    """Found to a few parts in a million beneath damage, wherever in the step its events come."""
    rng = np.random.default_rng(seed)
    events = List.of(last).thinned(0.1, rng)
    time = (events.row + 5 + rng.uniform(0.2, 0.8, len(events.row))) * step_us
    stage = stage_of(digits, files.csv(tmp_path / "a.csv", "t_us,neuron", np.round(time, 2), events.neuron))
    assert stage.alignment is not None
    found = stage.alignment.layers[digits.last]
    assert found.step_s == pytest.approx(step_us * 1e-6, rel=2e-3)
    damage = stage.damage[digits.last]
    assert abs(damage.missing_share - (1 - len(events.row) / last.sum())) < 0.01
    assert damage.extra_share < 0.01


@pytest.mark.parametrize("ppm", [-12_000, -3000, 9000, 15_000])
def test_a_clock_that_drifts(digits: Digits, last: Any, ppm: int, tmp_path: Path) -> None:
    events = List.of(last)
    time = (events.row + 0.4) * US * (1 + ppm * 1e-6)
    file = files.csv(tmp_path / "a.csv", "t_us,neuron", np.round(time).astype(int), events.neuron)
    stage = stage_of(digits, file, step_length="1ms")
    assert stage.alignment is not None
    if abs(ppm) * len(digits.data) * digits.program.timesteps >= 1.2e6:
        assert stage.alignment.layers[digits.last].drift_ppm == pytest.approx(ppm, rel=0.05)
    exact(stage, digits.last)


def test_a_step_of_known_length_is_kept(digits: Digits, last: Any, tmp_path: Path) -> None:
    events = List.of(last)
    file = files.csv(tmp_path / "a.csv", "t,neuron", events.row * 500 + 100, events.neuron)
    stage = stage_of(digits, file, step_length="500us", time_unit="us")
    exact(stage, digits.last)
    assert stage.alignment is not None
    assert stage.alignment.applied == ()
    assert stage.alignment.layers[digits.last].drift_ppm == 0


def test_pauses_between_samples(digits: Digits, last: Any, tmp_path: Path) -> None:
    events = List.of(last)
    row = events.row // 4 * 10 + events.row % 4
    file = files.csv(tmp_path / "a.csv", "t_us,neuron", row * US, events.neuron)
    exact(stage_of(digits, file, step_length="1ms", sample_length="10ms"), digits.last)


@pytest.mark.parametrize("kind", ["txt", "npy", "array", "npz"])
def test_markers(digits: Digits, last: Any, kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    starts = np.cumsum(rng.integers(6 * US, 30 * US, len(digits.data)))
    events = List.of(last)
    time = starts[events.row // 4] + events.row % 4 * US + 100
    file = files.csv(tmp_path / "a.csv", "t_us,neuron", time, events.neuron)
    markers: Any = starts
    if kind == "txt":
        markers = tmp_path / "m.txt"
        markers.write_text("\n".join(map(str, starts)))
    elif kind == "npy":
        markers = tmp_path / "m.npy"
        np.save(markers, starts)
    elif kind == "npz":
        np.savez(tmp_path / "a.npz", t_us=time, neuron=events.neuron, markers=starts)
        file, markers = tmp_path / "a.npz", None
    exact(stage_of(digits, file, markers=markers, step_length="1ms"), digits.last)
    exact(stage_of(digits, file, markers=markers), digits.last)


def test_samples_apart_that_are_late(digits: Digits, last: Any, tmp_path: Path) -> None:
    """With room behind each sample nothing is lost of what comes late."""
    events = List.of(last)
    file = files.csv(tmp_path / "a.csv", "sample,step,neuron", events.row // 4, events.row % 4 + 3, events.neuron)
    stage = stage_of(digits, file)
    exact(stage, digits.last)
    assert stage.alignment is not None
    assert stage.alignment.layers[digits.last].offset_steps == 3


@pytest.mark.parametrize("seed", range(3))
def test_events_that_come_twice(digits: Digits, last: Any, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    events = List.of(last).doubled(0.07, rng)
    file = files.csv(
        tmp_path / "a.csv", "t_us,neuron", events.row * US + rng.integers(0, 90, len(events.row)), events.neuron
    )
    stage = stage_of(digits, file)
    exact(stage, digits.last)
    assert stage.damage[digits.last].doubled_share == pytest.approx(len(events.row) / last.sum() - 1, abs=1e-9)


# -- what is written is read -------------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(st.integers(0, 2**22), st.integers(0, 127), st.integers(0, 127), st.integers(0, 1)), max_size=40
)
quiet = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quiet
@given(EVENTS)
def test_round_trips(tmp_path: Path, events: list[tuple[int, int, int, int]]) -> None:
    t, x, y, p = (np.array([each[i] for each in events], np.int64) for i in range(4))
    paths = [files.csv(tmp_path / "a.csv", "t_us,x,y,p", t, x, y, p), files.aedat2(tmp_path / "a2", t, x, y, p),
             files.aedat3(tmp_path / "a3", t, x, y, p), files.nmnist(tmp_path / "a.bin", t, x, y, p),
             files.parquet(tmp_path / "a.parquet", t_us=t, x=x, y=y, p=p)]  # fmt: skip
    np.savez(tmp_path / "a.npz", t_us=t, x=x, y=y, p=p)
    for path in [*paths, tmp_path / "a.npz"]:
        found = read_recordings([("", path)], Hints(), "one").events["one"]
        assert found.unit == "us"
        for name, column in (("time", t), ("x", x), ("y", y), ("p", p)):
            assert (np.asarray(getattr(found, name)) == column).all(), (path, name)


@settings(quiet, max_examples=8)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 1279), st.integers(0, 719), st.integers(0, 1)),
                min_size=1, max_size=30))  # fmt: skip
@pytest.mark.parametrize("suffix", ["aedat4", "raw"])
def test_round_trips_through_faery(tmp_path: Path, suffix: str, events: list[tuple[int, int, int, int]]) -> None:
    pytest.importorskip("faery")
    t, x, y, p = (np.array([each[i] for each in sorted(events)], np.int64) for i in range(4))
    path = files.by_faery(tmp_path / f"a.{suffix}", t, x, y, p, (1280, 720))
    found = read_recordings([("", path)], Hints(), "one").events["one"]
    assert found.size == (1280, 720)
    told = sorted(zip(*(np.asarray(each).tolist() for each in (found.time, found.x, found.y, found.p))))
    assert told == sorted(zip(*(each.tolist() for each in (t, x, y, p))))
