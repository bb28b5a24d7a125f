"""A sweep is the same whoever does it, whoever dies of it, and however often it is begun."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neurocompile.verbs.networks import DEMOS
from tests.cli.helpers import SHAPE, done, npz, saved, small_net
from tests.work.clusters import ROOT, by_hand, ended
from tests.work.test_store import files

CHECKPOINT = ROOT / "models" / "checkpoints" / "digits.pt"
SAMPLES = 160


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """A sweep of a small network that takes no time."""
    place = tmp_path_factory.mktemp("small")
    model = saved(small_net(), place / "m.pt", layout="TN")
    draw = np.random.default_rng(5)
    data = npz(place / "x.npz", x=draw.random((SAMPLES, *SHAPE)), y=draw.integers(0, 3, SAMPLES))
    return ["explore", model, "--data", data, "--bits", "2,3,4,6", "--targets", "anp-i,loihi"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """A sweep of the digits, whose points take about a second each."""
    x, y = DEMOS["digits"].data()
    place = tmp_path_factory.mktemp("digits")
    np.save(place / "x.npy", x[:300])
    np.save(place / "y.npy", y[:300])
    return ["explore", CHECKPOINT, "--data", place, "--bits", "2,3,4,8", "--targets", "anp-i,loihi"]


def printed(*arguments: object) -> str:
    """The JSON of a command, as it is printed."""
    return done(*arguments, "--json").out


def started(*arguments: object) -> subprocess.Popen[str]:
    """A command as a process of its own."""
    command = [sys.executable, "-m", "neurocompile", *map(str, arguments), "--json"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    """What is kept, and which file it is: one that is written anew is another."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files(folder)}


def once_kept(count: int, folder: Path, does: Callable[[], None]) -> threading.Thread:
    """Do something as soon as so many results are kept."""

    def wait() -> None:
        until = time.monotonic() + 120
        while len(files(folder)) < count and time.monotonic() < until:
            time.sleep(0.01)
        does()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_the_same_bytes_from_a_cluster(small: list[object], local: str, tmp_path: Path) -> None:
    whole = printed(*small, "--workers", 1)
    assert len(json.loads(whole)["points"]) == 8
    assert printed(*small, "--scheduler", local, "--cache", tmp_path / "kept") == whole
    before = stamps(tmp_path / "kept")
    assert len(before) == 2 * 4 * 2, "a compilation and a run of each width on each chip"
    assert printed(*small, "--workers", 1, "--cache", tmp_path / "kept") == whole
    assert stamps(tmp_path / "kept") == before


@pytest.fixture(scope="module")
def whole(digits: list[object], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """What the sweep of the digits says, and how many results of it are kept."""
    kept = tmp_path_factory.mktemp("whole")
    return printed(*digits, "--workers", 2, "--cache", kept), len(files(kept))


@pytest.mark.slow
@pytest.mark.parametrize("sweep", ["small", "digits"])
def test_the_same_bytes_whoever_works(
    sweep: str, small: list[object], digits: list[object], local: str, hand: str
) -> None:
    more = ["--mixed", "--halving", "--placement", "usual,balanced"] if sweep == "small" else []
    asked = [*(small if sweep == "small" else digits), *more]
    alone = printed(*asked, "--workers", 1)
    for said in (["--workers", 2], ["--scheduler", local], ["--scheduler", hand]):
        assert printed(*asked, *said) == alone, said


@pytest.mark.slow
def test_a_worker_is_killed(digits: list[object], whole: tuple[str, int], tmp_path: Path) -> None:
    text, count = whole
    with by_hand() as cluster:
        left = list[int]()

        def kill() -> None:
            left.append(count - len(files(tmp_path / "kept")))
            ended(cluster.workers[0])

        thread = once_kept(3, tmp_path / "kept", kill)
        assert printed(*digits, "--scheduler", cluster.address, "--cache", tmp_path / "kept") == text
        thread.join()
    assert left[0] > 2, "it was no more in the middle"
    assert len(files(tmp_path / "kept")) == count


@pytest.mark.slow
def test_the_scheduler_is_killed_and_started_again(
    digits: list[object], whole: tuple[str, int], tmp_path: Path
) -> None:
    text, count = whole
    with by_hand() as cluster:
        before = dict[Path, tuple[int, int]]()

        def kill() -> None:
            before.update(stamps(tmp_path / "kept"))
            cluster.again()

        thread = once_kept(5, tmp_path / "kept", kill)
        assert printed(*digits, "--scheduler", cluster.address, "--cache", tmp_path / "kept") == text
        thread.join()
    after = stamps(tmp_path / "kept")
    assert 5 <= len(before) < len(after) - 2, "it was no more in the middle"
    assert len(after) == count
    assert all(after[path] == stamp for path, stamp in before.items()), "something that was finished was done again"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["pool", "by hand"])
def test_all_of_it_is_killed_and_started_again(
    engine: str, digits: list[object], whole: tuple[str, int], hand: str, tmp_path: Path
) -> None:  # fmt: skip
    text, count = whole
    said = ["--workers", "2"] if engine == "pool" else ["--scheduler", hand]
    process = started(*digits, *said, "--cache", tmp_path / "kept")
    once_kept(6, tmp_path / "kept", lambda: process.send_signal(signal.SIGKILL)).join()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was done already"
    time.sleep(2)  # its workers see that nobody listens
    before = stamps(tmp_path / "kept")
    assert 6 <= len(before) < count - 2, "it was no more in the middle"
    assert printed(*digits, *said, "--cache", tmp_path / "kept") == text
    after = stamps(tmp_path / "kept")
    assert len(after) == count
    assert all(after[path] == stamp for path, stamp in before.items()), "something that was finished was done again"
