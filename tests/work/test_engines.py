"""Engines: the same results from each, errors as they were raised, and work that is done whoever dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import neurocompile
from neurocompile.errors import BadInput, ToolFailed, UsageError
from neurocompile.work import Engine, Here, Pool, Shared, Task, engine_of, key_of, versions
from neurocompile.work.cluster import Cluster
from tests.work.clusters import ByHand, by_hand, ended, free_port

ENGINES = ("here", "pool", "dask", "by hand")


@pytest.fixture(scope="module")
def engines(local: str, cluster: ByHand) -> Iterator[dict[str, Engine]]:
    found: dict[str, Engine] = {
        "here": Here(), "pool": Pool(2), "dask": engine_of(local), "by hand": engine_of(cluster.address)
    }  # fmt: skip
    yield found
    for engine in found.values():
        engine.close()


def squares(count: int, log: Path | None = None, pause: float = 0.0) -> list[Task]:
    shared = Shared({"a": list(range(1000))})
    return [
        Task("tests.work.tasks:square", {"number": n, "log": log, "pause": pause, "shared": shared}, key_of(n), f"{n}")
        for n in range(count)
    ]


@pytest.mark.parametrize("name", ENGINES)
def test_results_in_order(name: str, engines: dict[str, Engine]) -> None:
    told: list[int] = []
    found = list(engines[name].run(squares(40), told.append))
    assert [each["square"] for each in found] == [n * n for n in range(40)]
    assert all(each["row"].tolist() == list(range(n)) for n, each in enumerate(found))
    assert {each["shared"] for each in found} == {repr({"a": list(range(1000))})}
    assert sum(told) == 40
    assert engines[name].workers == (1 if name == "here" else 2)
    assert list(engines[name].run([])) == []


@pytest.mark.parametrize("name", ENGINES)
def test_what_a_task_raises_is_raised(name: str, engines: dict[str, Engine]) -> None:
    with pytest.raises(BadInput) as refused:
        list(engines[name].run([*squares(3), Task("tests.work.tasks:refuse", {"number": 7}, what="seven")]))
    assert [(each.what, each.actual) for each in refused.value.problems] == [("the first", "7"), ("the second", "")]
    if name != "here":
        with pytest.raises(ToolFailed, match="eight: internal error: KeyError: 8") as failed:
            list(engines[name].run([Task("tests.work.tasks:fault", {"number": 8}, what="eight")]))
        assert "in fault" in str(failed.value.__cause__), "no trace of where"
    assert len(list(engines[name].run(squares(4)))) == 4, "it is of no use any more"


@pytest.mark.parametrize("name", ENGINES[1:])
def test_a_file_that_a_worker_does_not_see(name: str, engines: dict[str, Engine], tmp_path: Path) -> None:
    tasks = [Task("tests.work.tasks:square", {"number": 1, "log": tmp_path / "no such folder"})]
    with pytest.raises(BadInput, match=r"a worker cannot see this file \(got (process|worker) .+\)"):
        list(engines[name].run(tasks))


@pytest.mark.parametrize("name", ["pool", "dask"])
def test_who_dies_is_replaced(name: str, engines: dict[str, Engine], tmp_path: Path) -> None:
    tasks = [*squares(6), Task("tests.work.tasks:end_once", {"number": 6, "log": tmp_path}), *squares(3)]
    found = list(engines[name].run(tasks))
    assert [each if type(each) is int else each["square"] for each in found] == [0, 1, 4, 9, 16, 25, 6, 0, 1, 4]


def test_what_kills_everybody_is_named() -> None:
    pool = Pool(2)
    try:
        with pytest.raises(ToolFailed, match="the last: the process that did this ended, 3 times"):
            list(pool.run([*squares(4), Task("tests.work.tasks:end", {"number": 1}, what="the last")]))
        assert len(list(pool.run(squares(4)))) == 4
    finally:
        pool.close()


def test_nobody_is_left_behind(tmp_path: Path) -> None:
    pool = Pool(2)
    arriving = pool.arriving(squares(50, tmp_path, 0.1))
    next(arriving)
    arriving.close()
    pool.close()
    began = {path.name.split("-")[2] for path in tmp_path.glob("began-*")}
    assert began
    assert not [each for each in began if Path(f"/proc/{each}").exists()]
    assert len(list(tmp_path.glob("began-*"))) < 50


def test_two_ways_to_say_it() -> None:
    with pytest.raises(UsageError, match="two ways"):
        engine_of("tcp://127.0.0.1:8786", 2)
    assert isinstance(engine_of(None, 1), Here)


# -- clusters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:{}"])
def test_no_scheduler(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurocompile.work.cluster._PATIENCE_S", 1.0)
    begun = time.monotonic()
    with pytest.raises(ToolFailed, match="there is no Dask scheduler") as refused:
        engine_of(address.format(free_port()))
    assert "python -m neurocompile.work scheduler" in refused.value.problems[0].fix
    assert time.monotonic() - begun < 20


def test_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurocompile.work.cluster._PATIENCE_S", 1.0)
    with by_hand(0) as nobody, pytest.raises(ToolFailed, match="has no worker"):
        engine_of(nobody.address)


def test_another_version_is_named(cluster: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(cluster.address)
    mine = {**versions(), "neurocompile": "9.9.9"}
    for place in ("version", "remote"):
        monkeypatch.setattr(f"neurocompile.work.{place}.versions", lambda: mine)
    with pytest.raises(ToolFailed) as refused:
        engine_of(cluster.address)
    assert len(refused.value.problems) == 2, "both workers are told of"
    for problem in refused.value.problems:
        assert problem.where.startswith("tcp://127.0.0.1:")
        assert (problem.what, problem.limit) == ("a worker has another version of neurocompile", "9.9.9")
        assert problem.actual == neurocompile.__version__
    # A worker that comes later is asked with each task.
    with pytest.raises(ToolFailed, match=r"another version of neurocompile \(got .*; allowed: 9.9.9\)"):
        list(engine.run(squares(1)))
    engine.close()


def _later(seconds: float, does: Any, *given: Any) -> threading.Thread:
    thread = threading.Timer(seconds, does, given)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_worker_is_killed(tmp_path: Path) -> None:
    with by_hand() as cluster:
        engine = engine_of(cluster.address)
        thread = _later(0.6, ended, cluster.workers[0])
        found = list(engine.run(squares(12, tmp_path, 0.2)))
        thread.join()
        assert [each["square"] for each in found] == [n * n for n in range(12)]
        assert engine.workers == 1
        engine.close()


@pytest.mark.slow
def test_the_scheduler_is_killed_and_started_again(tmp_path: Path) -> None:
    with by_hand() as cluster:
        engine = engine_of(cluster.address)
        thread = _later(1.0, cluster.again)
        found = list(engine.run(squares(30, tmp_path, 0.2)))
        thread.join()
        assert [each["square"] for each in found] == [n * n for n in range(30)]
        times = [len((tmp_path / f"did-{n}").read_text().split()) for n in range(30)]
        assert sum(times) - 30 <= 4 * 2, "more was done again than was with the cluster"
        engine.close()


@pytest.mark.slow
def test_the_scheduler_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurocompile.work.cluster._AGAIN_S", 3.0)
    with by_hand() as cluster:
        engine = Cluster(cluster.address)
        thread = _later(0.5, ended, cluster.scheduler, signal.SIGKILL)
        with pytest.raises(ToolFailed, match="there is no Dask scheduler"):
            list(engine.run(squares(30, None, 0.2)))
        thread.join()


def test_a_task_is_done_by_others_than_its_client(engines: dict[str, Engine], tmp_path: Path) -> None:
    for name in ENGINES[1:]:
        (tmp_path / name).mkdir()
        list(engines[name].run(squares(8, tmp_path / name, 0.05)))
        who = {(tmp_path / name / f"did-{n}").read_text().strip() for n in range(8)}
        assert str(os.getpid()) not in who
        assert len(who) == 2
