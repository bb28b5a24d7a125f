"""Streams that are closed or full, interrupts at odd moments, code that ends the process: told as what they are."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.helpers import Data, done, one, refused, says

FULL = Path("/dev/full")


def _shell(line: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("NC", f"'{sys.executable}' -m neurocompile")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("more", ["", "--json"])
def test_a_full_standard_output(more: str) -> None:
    ended = _shell(f"NC targets {more} > /dev/full")
    assert ended.returncode == 1
    assert "could not be printed: No space left" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.parametrize("more", ["", "--json"])
def test_a_closed_standard_output(more: str) -> None:
    ended = _shell(f"NC targets {more} >&-")
    assert ended.returncode == 1
    assert "standard output is closed" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_closed_standard_error() -> None:
    ended = _shell("NC targets nowhere 2>&-")
    assert ended.returncode == 2
    ended = _shell("NC targets --json 2>&-")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["ok"]


def test_a_reader_that_has_seen_enough() -> None:
    ended = _shell("NC targets anp-i | head -n 1; exit ${PIPESTATUS[0]}")
    assert ended.returncode == 0
    assert ended.stderr == ""


def test_an_interrupt_while_something_is_imported_is_one() -> None:
    """Whatever an import makes of it."""
    script = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
class Early:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("something that numpy needs is broken")
sys.meta_path.insert(0, Early())
from neurocompile.cli import main
main(["inspect", "nothing"])
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 130, ended
    assert "interrupted" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_code_of_the_user_that_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    (tmp_path / "quits.py").write_text("import sys\n\ndef make():\n    sys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "m.pt")
    error = one(refused(1, "export", "m.pt", "--arch", "quits:make", "--input-shape", "4", "--timesteps", "2"))
    says(error, what="ended the process", actual="exit(0)")


def test_handlers_are_as_before(program: Path, data: Data) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    done("simulate", program, "--data", data.path)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
