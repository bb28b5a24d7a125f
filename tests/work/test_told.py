"""What users are told where the work of a command cannot be shared as they said."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from neurocompile.reports import plain
from neurocompile.verbs.simulate import SimulateRequest, simulate
from neurocompile.work import Task, versions
from tests.cli.helpers import SHAPE, done, exported, one, refused, run, saved, says, small_net, start
from tests.work.clusters import free_port
from tests.work.test_store import files


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its program, and samples in a folder."""
    place = tmp_path_factory.mktemp("told")
    exported(saved(small_net(), place / "m.pt", layout="TN"), place / "program")
    draw = np.random.default_rng(5)
    (place / "data").mkdir()
    np.save(place / "data" / "x.npy", draw.random((160, *SHAPE)))
    np.save(place / "data" / "y.npy", draw.integers(0, 3, 160))
    return place


@pytest.fixture(params=["explore", "simulate"])
def command(request: pytest.FixtureRequest, place: Path) -> list[object]:
    """A command that says neither what its data are nor who works."""
    if request.param == "simulate":
        return ["simulate", place / "program"]
    return ["explore", place / "m.pt", "--bits", "3,8", "--targets", "anp-i"]


def test_there_is_no_scheduler(command: list[object], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurocompile.work.cluster._PATIENCE_S", 0.5)
    address = f"tcp://127.0.0.1:{free_port()}"
    error = one(refused(1, *command, "--data", place / "data", "--scheduler", address))
    assert error["what"] == "there is no Dask scheduler: nothing answers, 0.5 s long"
    assert error["where"] == f"--scheduler {address}"
    says(error, fix="start one: python -m neurocompile.work scheduler")


def test_workers_have_another_version(
    command: list[object], place: Path, hand: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {**versions(), "neurocompile": "9.9.9", "neurocompile's source": "another"}
    for module in ("version", "remote"):
        monkeypatch.setattr(f"neurocompile.work.{module}.versions", lambda: mine)
    errors = refused(1, *command, "--data", place / "data", "--scheduler", hand)
    assert len(errors) == 2 * 2, "two workers"
    assert len({error["where"] for error in errors}) == 2
    for error in errors:
        says(
            error, what="a worker has another version of neurocompile", where="tcp://127.0.0.1:", fix="install the same"
        )
    assert (errors[0]["actual"], errors[0]["limit"]) == (neurocompile.__version__, "9.9.9")


def test_a_worker_does_not_see_the_data(
    command: list[object], place: Path, hand: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are gone as soon as this process has read them."""
    from neurocompile.work import cluster

    data, asked = tmp_path / "data", cluster.call_of
    shutil.copytree(place / "data", data)

    def gone(task: Task) -> Any:
        if "folder" in task.arguments and data.exists():
            data.rename(tmp_path / "elsewhere")
        return asked(task)

    monkeypatch.setattr(cluster, "call_of", gone)
    ran = run(*command, "--data", data, "--scheduler", hand, "--json")
    assert ran.code == 6
    error = one(ran.json["errors"])
    says(error, what="a worker cannot see this file", where=str(data), actual="worker tcp://127.0.0.1:")
    assert error["fix"] == "put it where every worker sees it under the same path, or give arrays, which are sent"


def test_a_full_disk_ends_nothing(
    command: list[object], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    asked = [*command, "--data", place / "data", "--workers", 1, "--json"]
    whole = done(*asked)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("neurocompile.files.writing.os.fsync", full)
    ran = done(*asked, "--cache", tmp_path / "kept")
    assert ran.out == whole.out
    (said,) = [record.message for record in caplog.records if "not kept" in record.message]
    assert said.startswith("results are not kept any more: ")
    assert "cannot write the file: No space left on device" in said
    assert said.endswith("-> free some space, or write elsewhere")
    assert not files(tmp_path / "kept")


def test_two_share_a_cache_at_the_same_time(place: Path, tmp_path: Path) -> None:
    request = SimulateRequest(program=place / "program", data=place / "data", workers=1)
    whole = plain(simulate(request))
    with ThreadPoolExecutor(3) as crew:
        found = list(crew.map(lambda _: plain(simulate(replace(request, cache=tmp_path / "kept"))), range(3)))
    assert found == [whole] * 3
    assert len(files(tmp_path / "kept")) == 1
    assert not list((tmp_path / "kept").rglob(".*")), "something is left half-written"


@pytest.mark.slow
def test_two_sweeps_share_a_cache_at_the_same_time(place: Path, tmp_path: Path) -> None:
    """Processes, each with its own pool."""
    asked = ["explore", place / "m.pt", "--bits", "2,3,4,8", "--targets", "anp-i,loihi", "--data", place / "data"]
    both = [start(*asked, "--json", "--workers", 2, "--cache", tmp_path / "kept") for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert said == [done(*asked, "--json", "--workers", 1).out] * 2
    assert len(files(tmp_path / "kept")) == 16
    assert not list((tmp_path / "kept").rglob(".*")), "something is left half-written"
