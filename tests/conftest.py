"""What every test run says about itself."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

from neurocompile.simulator.engine import Engine, engine_missing

settings.register_profile("unhurried", deadline=None)  # no test depends on speed
settings.load_profile("unhurried")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"functional engine: {engine_missing() or 'compiled, ' + ', '.join(Engine.isas())}")
