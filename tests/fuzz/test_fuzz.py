"""A slice of the fuzzers; the whole of them is run by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fuzz import files, writers
from tests.fuzz.bases import Base


def test_altered_files() -> None:
    found = files.fuzz(60, 0)
    assert found["faults"] == [], json.dumps(found["faults"], indent=1)
    assert sum(count for code, count in found["exit_codes"].items() if code.endswith(" 6")) > 20


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzzer sees what a reader without limits does."""
    whole = files.bases

    def careless(*_: object) -> object:
        raise IndexError("planted")

    def planted(folder: Path) -> list[Base]:
        made = whole(folder)
        monkeypatch.setattr("neurocompile.data.stored.read_arrays", careless)
        return made

    monkeypatch.setattr(files, "bases", planted)
    assert files.fuzz(3, 0, "data")["faults"]


def test_killed_writers_and_races() -> None:
    found = writers.fuzz(6, 8, 0)
    assert found["faults"] == []


@pytest.mark.slow
def test_many() -> None:
    assert files.fuzz(3000, 10_000)["faults"] == []
    assert writers.fuzz(300, 200, 1000)["faults"] == []
