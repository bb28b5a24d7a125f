"""What is kept is found, once, by whoever wants the same; what is damaged is done anew; a full disk ends nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from neurocompile.errors import UsageError
from neurocompile.work import CACHE, Here, Kept, Store, Task, key_of, usual_folder
from tests.work.clusters import ROOT


def tasks(log: Path, count: int = 6, pause: float = 0.0) -> list[Task]:
    """Some that write down that they are done."""
    return [
        Task("tests.work.tasks:square", {"number": n, "log": log, "pause": pause}, key_of("square", n), f"{n}")
        for n in range(count)
    ]


def done(log: Path) -> dict[int, int]:
    """How often each was done."""
    return {int(path.name.split("-")[1]): len(path.read_text().split()) for path in log.glob("did-*")}


def files(folder: Path) -> list[Path]:
    """Those that are complete."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def test_it_is_done_once(tmp_path: Path) -> None:
    first, again = (Kept(Here(), Store(tmp_path / "kept")) for _ in range(2))
    found = list(first.run(tasks(tmp_path)))
    assert (first.found, first.done) == (0, 6)
    assert [each["square"] for each in found] == [0, 1, 4, 9, 16, 25]
    for one, other in zip(found, again.run(tasks(tmp_path))):
        assert one.pop("row").tolist() == other.pop("row").tolist()
        assert one == other
    assert (again.found, again.done) == (6, 0)
    assert set(done(tmp_path).values()) == {1}


def test_another_version_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list(Kept(Here(), Store(tmp_path / "kept")).run(tasks(tmp_path)))
    monkeypatch.setattr("neurocompile.work.store.versions", lambda: {"neurocompile": "0.0.9"})
    later = Kept(Here(), Store(tmp_path / "kept"))
    list(later.run(tasks(tmp_path)))
    assert (later.found, later.done) == (0, 6)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_damage_is_noticed(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    right = [each["square"] for each in Kept(Here(), Store(tmp_path / "kept")).run(tasks(tmp_path))]
    whole = files(tmp_path / "kept")
    content = whole[2].read_bytes()
    middle = len(content) * 3 // 4
    wrong = {
        "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "cut": content[:-1],
        "empty": b"",
        "other": whole[3].read_bytes(),  # whole, of another key
    }
    whole[2].write_bytes(wrong[damage])
    again = Kept(Here(), Store(tmp_path / "kept"))
    assert [each["square"] for each in again.run(tasks(tmp_path))] == right
    assert (again.found, again.done) == (5, 1)
    assert str(whole[2]) in caplog.text
    last = Kept(Here(), Store(tmp_path / "kept"))
    list(last.run(tasks(tmp_path)))
    assert (last.found, last.done) == (6, 0), "it was not mended"


def test_a_full_disk_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("neurocompile.files.writing.os.fsync", full)
    kept = Kept(Here(), Store(tmp_path / "kept"))
    assert [each["square"] for each in kept.run(tasks(tmp_path))] == [0, 1, 4, 9, 16, 25]
    assert [record.message.count("No space left on device") for record in caplog.records] == [1], "told once"
    assert kept.store.refused is not None
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.is_file()], "something is left half-written"


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(UsageError, match="no folder"):
        Store(tmp_path / "kept")


def test_two_share_it(tmp_path: Path) -> None:
    """At the same moment, and without a word to each other: both are right, and what is kept is whole."""

    def sweep(_: int) -> list[int]:
        return [each["square"] for each in Kept(Here(), Store(tmp_path / "kept")).run(tasks(tmp_path, 30))]

    with ThreadPoolExecutor(4) as crew:
        assert all(found == [n * n for n in range(30)] for found in crew.map(sweep, range(4)))
    last = Kept(Here(), Store(tmp_path / "kept"))
    list(last.run(tasks(tmp_path, 30)))
    assert (last.found, last.done) == (30, 0)
    assert len(files(tmp_path / "kept")) == 30


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert usual_folder() == tmp_path / "neurocompile"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification says to ignore
    assert usual_folder() == Path.home() / ".cache" / "neurocompile"
    monkeypatch.setenv(CACHE, str(tmp_path / "mine"))
    assert usual_folder() == tmp_path / "mine"


SWEEP = """
import sys
from pathlib import Path
from neurocompile.work import Kept, Pool, Store
from tests.work.test_store import tasks
folder = Path(sys.argv[1])
kept = Kept(Pool(2), Store(folder / "kept"))
found = [each["square"] for each in kept.run(tasks(folder, 16, 0.15))]
kept.close()
print(kept.found, kept.done, found == [n * n for n in range(16)])
"""


def sweep(folder: Path, **options: Any) -> subprocess.Popen[str]:
    """A whole sweep in processes of its own."""
    command = [sys.executable, "-c", SWEEP, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)


def test_all_is_killed_and_started_again(tmp_path: Path) -> None:
    process = sweep(tmp_path)
    while len(files(tmp_path / "kept")) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(1)  # its workers see that nobody listens
    before = done(tmp_path)
    kept = files(tmp_path / "kept")
    again = sweep(tmp_path)
    said, _ = again.communicate()
    assert said.split() == [str(len(kept)), str(16 - len(kept)), "True"]
    after = done(tmp_path)
    assert set(after) == set(range(16))
    # What was kept is not done again; at most what the two workers had in their hands is.
    assert sum(after[n] - before.get(n, 0) for n in after) == 16 - len(kept)
    assert 5 <= len(kept) < 16
