"""What every test run says about itself."""

from __future__ import annotations

from typing import Any

from neurocompile.simulator.engine import Engine, engine_missing


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"functional engine: {engine_missing() or 'compiled, ' + ', '.join(Engine.isas())}")
