"""What every test run says about itself."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

from neurocompile.simulator.engine import Engine, engine_missing

# There is a worker for each core: more threads would only wait for one another, also in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("unhurried", deadline=None)  # no test depends on speed
settings.load_profile("unhurried")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"functional engine: {engine_missing() or 'compiled, ' + ', '.join(Engine.isas())}")
