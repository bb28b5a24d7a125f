"""What is heavy is imported only where it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.helpers import Data

_SCRIPT = """
import contextlib, io, sys
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    try:
        {}
    except SystemExit:
        pass
print(*sorted({{name.split(".")[0] for name in sys.modules}}))
"""


def _imported(statement: str) -> set[str]:
    """The packages that are loaded after a statement, in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(statement)], capture_output=True, text=True, check=True
    )
    return set(ended.stdout.split())


def _command(*arguments: object) -> set[str]:
    return _imported(f"from neurocompile.cli import main; main({[str(a) for a in arguments]!r})")


HEAVY = {"torch", "spikingjelly", "sklearn", "scipy", "networkx"}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], [], ["no-such-verb"]], ids=str)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert not _command(*arguments) & (HEAVY | {"numpy", "rich"})


@pytest.mark.parametrize("verb", ["export", "simulate", "validate", "inspect", "targets", "demo"])
def test_help_of_a_verb(verb: str) -> None:
    assert not _command(verb, "--help") & (HEAVY | {"numpy", "rich"})


def test_importing_the_package() -> None:
    assert not _imported("import neurocompile") & (HEAVY | {"numpy", "rich", "click"})


def test_targets_imports_no_numpy() -> None:
    assert not _command("targets", "--json") & (HEAVY | {"numpy"})


def test_simulate_imports_no_torch(program: Path, data: Data) -> None:
    assert not _command("simulate", program, "--data", data.path) & {"torch", "spikingjelly", "sklearn"}
    assert not _command("simulate", program, "--data", data.path, "--real", "--json") & {"torch", "spikingjelly"}


def test_inspect_of_a_program_imports_no_torch(program: Path) -> None:
    assert not _command("inspect", program) & {"torch", "spikingjelly"}


def test_comparing_with_a_recording_imports_no_torch(program: Path, data: Data, tmp_path: Path) -> None:
    spikes = tmp_path / "spikes.npz"
    _command("simulate", program, "--data", data.path, "--spikes", spikes)
    imported = _command("validate", program, "--recorded", spikes, "--data", data.path)
    assert not imported & {"torch", "spikingjelly"}


def test_loading_a_program_in_python_imports_no_torch(program: Path) -> None:
    assert not _imported(f"import neurocompile; neurocompile.load({str(program)!r})") & {"torch", "spikingjelly"}
