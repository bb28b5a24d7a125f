"""Every case comes out exact, or is refused with the line to change; its module stays as it was."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.idioms.outcomes import CASES, TOPICS, changes, outcome

# All of them take minutes: `python -m tests.idioms` prints a line a case.
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _quiet() -> None:
    warnings.simplefilter("ignore")


def test_every_topic_has_its_cases() -> None:
    assert {Path(topic.__file__ or "").name for topic in TOPICS} == {case.file for case in CASES.values()}


@pytest.mark.parametrize("name", CASES)
def test_exact_or_refused(name: str, tmp_path: Path) -> None:
    became, why, allowed = outcome(CASES[name], tmp_path)
    assert allowed, f"{became}: {why}"


@pytest.mark.parametrize("name", CASES)
def test_the_module_stays_as_it_was(name: str, tmp_path: Path) -> None:
    assert changes(CASES[name], tmp_path) == []
