"""What every test run says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from neurocompile.simulator.engine import Engine, engine_missing

settings.register_profile("unhurried", deadline=None)  # no test depends on speed
settings.load_profile("unhurried")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"functional engine: {engine_missing() or 'compiled, ' + ', '.join(Engine.isas())}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is known not to hold yet, by name; the summary counts it."""
    lines = (Path(__file__).parent / "unsettled.txt").read_text().splitlines()
    starts = tuple(line for line in lines if line and not line.startswith("#"))
    for item in items:
        if item.nodeid.startswith(starts):
            item.add_marker(pytest.mark.xfail(strict=False, reason="tests/unsettled.txt"))
