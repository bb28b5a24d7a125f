"""Simulators of the RTL are built once, whole, and anew when damaged; the limits name what was too slow."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from neurocompile.backends.rtl import executor as rtl_executor
from neurocompile.backends.rtl import runner
from neurocompile.backends.rtl.builds import builds_folder, digest_of, kept
from neurocompile.backends.rtl.executor import RtlExecutor
from neurocompile.backends.rtl.runner import Run, build
from neurocompile.errors import ToolFailed
from neurocompile.targets.nc1.chip import Parameters, usual
from tests.backends.rtl.test_executor import ordinary
from tests.backends.rtl.test_rtl import need


class Maker:
    """Builds a file and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, work: Path) -> Path:
        self.times += 1
        (work / "half.o").write_bytes(b"thrown away")
        (work / "made").write_bytes(b"a program")
        return work / "made"


def test_what_was_built_is_used_again_and_what_was_damaged_is_built_anew(tmp_path: Path) -> None:
    make = Maker()
    made = kept(tmp_path, "entry", "program", make)
    assert kept(tmp_path, "entry", "program", make) == made
    assert (made.read_bytes(), make.times) == (b"a program", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["entry"], "nothing else is left"
    for damage in (lambda: made.write_bytes(b"a prog"), made.unlink, (made.parent / "sha256").unlink):
        before = make.times
        damage()
        assert kept(tmp_path, "entry", "program", make).read_bytes() == b"a program"
        assert make.times == before + 1
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_two_that_build_the_same_at_once_both_get_a_whole_one(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def make(work: Path) -> Path:
        both.wait()  # neither is done before the other has begun
        (work / "made").write_bytes(b"x" * 1_000_000)
        both.wait()
        return work / "made"

    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(kept(tmp_path, "entry", "program", make).read_bytes()))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"x" * 1_000_000] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def make(work: Path) -> Path:
        (work / "half").write_bytes(b"x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path, "entry", "program", make)
    assert not list(tmp_path.iterdir())


def test_a_digest_tells_where_one_part_ends() -> None:
    assert digest_of([b"ab", b"c"]) != digest_of([b"a", b"bc"])
    assert digest_of([b"ab", b"c"]) == digest_of([b"ab", b"c"])


def test_where_the_cache_cannot_be_written_a_temporary_folder_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert builds_folder() == tmp_path / "cache" / "neurocompile" / "nc1"
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be in it
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first = builds_folder()
    assert first == tmp_path / f"neurocompile-{os.getuid()}" / "nc1" == builds_folder()
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700
    first.parent.chmod(0o777)  # others could have put a program there
    assert builds_folder() != first


def planted(folder: Path, name: str) -> None:
    """A tool that sleeps for ever, and has children that do."""
    tool = folder / name
    tool.write_text("#!/bin/sh\nsleep 100000 &\nwait\n")
    tool.chmod(0o755)


def test_a_build_that_takes_too_long_is_not_told_to_run_fewer_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(tmp_path, "verilator")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ToolFailed, match="building the chip's simulator did not finish") as caught:
        build(usual(), tmp_path / "builds", time_limit_s=0.2)
    assert "allow more time for building" in str(caught.value)
    assert "--backend-samples" not in str(caught.value)


def test_a_run_that_takes_too_long_says_that_it_was_the_run(tmp_path: Path) -> None:
    planted(tmp_path, "nc1_testbench")
    with pytest.raises(ToolFailed, match="running the chip's samples did not finish") as caught:
        Run(tmp_path / "nc1_testbench", tmp_path).finish(time_limit_s=0.2)
    assert "--time-limit" in str(caught.value)
    assert "0.2 s" in str(caught.value)


def test_the_builds_of_other_sources_parameters_and_tools_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("iverilog")
    entries: set[str] = set()

    def name_of(folder: Path, entry: str, *_: object) -> Path:
        entries.add(entry)
        return folder

    monkeypatch.setattr(runner, "kept", name_of)
    sets: list[Parameters] = [usual(), usual(2, 1), usual(1, 2), usual(lanes=4)]
    for parameters in sets:
        build(parameters, tmp_path, "iverilog")
    known = runner.sources()
    monkeypatch.setattr(runner, "sources", lambda: {**known, "nc1.v": known["nc1.v"] + b"\n"})
    build(usual(), tmp_path, "iverilog")
    assert len(entries) == 5


def test_samples_in_pieces_are_those_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("iverilog")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    case = ordinary(7)
    inputs = {name: np.tile(x.astype(float), (3, *[1] * (x.ndim - 1))) for name, x in case.inputs.items()}
    whole = RtlExecutor(case.program, "iverilog").run(inputs)
    monkeypatch.setattr(rtl_executor, "_SAMPLES", 2)
    pieces = RtlExecutor(case.program, "iverilog").run(inputs)
    assert whole.moments_differing == pieces.moments_differing == 0
    assert pieces.moments > 0
    assert set(pieces.spikes) == set(whole.spikes)
    for name, spikes in whole.spikes.items():
        np.testing.assert_array_equal(pieces.spikes[name], spikes)
    for name, left in whole.potentials.items():
        np.testing.assert_array_equal(pieces.potentials[name], left)
