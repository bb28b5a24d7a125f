"""Stopped in the middle: nothing half-written is left, and what there was stays."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.helpers import Ran, command, exported, refused, result, start

HANGS_S = 3600.0
"""What has not ended after so long never will; no test waits for anything that is merely slow."""


def _stopped(signal_: int, after: float, *arguments: object) -> Ran:
    """Start an export and send it a signal a while later."""
    process = start(*arguments)
    time.sleep(after)
    process.send_signal(signal_)
    try:
        out, err = process.communicate(timeout=HANGS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Ran(process.returncode, out, err)


@pytest.fixture(scope="module")
def takes(model: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long an export takes that nobody stops, in seconds."""
    started = time.perf_counter()
    process = start("export", model, "-o", tmp_path_factory.mktemp("whole") / "out")
    process.communicate(timeout=HANGS_S)
    assert process.returncode == 0
    return time.perf_counter() - started


def _whole_or_not_there(folder: Path) -> None:
    if folder.exists():
        assert result("inspect", folder)["ok"]


def _try(signal_: int, moments: list[float], takes: float, model: Path, folder: Path) -> None:
    for number, moment in enumerate(moments):
        out = folder / str(number)
        ran = _stopped(signal_, moment * takes, "export", model, "-o", out, "--json")
        _whole_or_not_there(out)
        if out.exists() and ran.out and json.loads(ran.out)["ok"]:
            continue  # it was done before the signal came
        assert "Traceback" not in ran.err, f"at {moment:.3f} of an export: {ran.err}"
        if signal_ == signal.SIGKILL:
            assert ran.code == -signal.SIGKILL
            # What is left of it has a hidden name, and is in nobody's way.
            assert result("export", model, "-o", out, "--overwrite")["ok"]
            assert not [name for name in os.listdir(folder) if name.startswith(".")]
            continue
        if ran.code == 130:
            body = json.loads(ran.out)
            assert body["ok"] is False
            assert body["errors"][0]["what"] == "interrupted"
        else:
            # On a busy machine it may come before the program has begun, or when Python is already leaving.
            assert ran.code == -signal_, f"at {moment:.3f} of an export: {ran}"
        assert not [name for name in os.listdir(folder) if name.startswith(".")]


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["INT", "TERM", "KILL"])
def test_at_some_moments(signal_: int, takes: float, model: Path, tmp_path: Path) -> None:
    _try(signal_, [0.4, 0.85], takes, model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["INT", "TERM", "KILL"])
def test_at_many_moments(signal_: int, takes: float, model: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    late, any_time = ([draw.uniform(low, 1.0) for _ in range(10)] for low in (0.8, 0.1))
    _try(signal_, [*late, *any_time], takes, model, tmp_path)


@pytest.mark.parametrize("call", [0, 2, 3, 4])
def test_killed_at_each_write(call: int, model: Path, tmp_path: Path) -> None:
    """The process kills itself at the n-th of the calls that change the disk."""
    script = f"""
import os, signal, sys
from neurocompile.cli import main
calls = 0
def watch(event, arguments):
    global calls
    writes = event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
    if event in ("os.mkdir", "os.rename") or writes:
        if {str(tmp_path)!r} in str(arguments[0]):
            calls += 1
            if calls > {call}:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
main(["export", {str(model)!r}, "-o", {str(tmp_path / "out")!r}])
"""
    ended = subprocess.run([*command()[:2], script], capture_output=True, text=True, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended
    _whole_or_not_there(tmp_path / "out")
    exported(model, tmp_path / "out", "--overwrite")
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_a_signal_in_the_middle_of_the_work(
    signal_: int, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(signal_)

    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell starts what it runs in the background so
        signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("neurocompile.verbs.export.validate_program", interrupted)
    error = refused(130, "export", model, "-o", tmp_path / "out")[0]
    assert error["what"] == "interrupted"
    assert os.listdir(tmp_path) == []


def test_a_closed_pipe_is_no_error(model: Path) -> None:
    """As in `neurocompile inspect model.pt | head -1`."""
    process = start("inspect", model)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait() == 0
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
