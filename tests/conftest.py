"""What every test run says about itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from neurocompile.simulator.engine import Engine, engine_missing

TESTS = Path(__file__).parent
# There is a worker for each core: more threads would only wait for one another, also in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("unhurried", deadline=None)  # no test depends on speed
settings.load_profile("unhurried")


# What takes longest, begun first: else a worker is left with one of them while the other has nothing to do.
_LONG = (
    "test_wheel.py",
    "backends/rtl/test_rtl.py",
    "test_readme.py",
    "models/test_trained.py",
    "backends/lava/test_random.py",
    "backends/lava/test_bundle.py",
    "backends/netx/test_netx.py",
    "models/test_nir_digits.py",
    "models/test_sddpm_compiled.py",
    "cli/test_kill.py",
    "benchmarks/test_generators_benchmark.py",
    "test_hosted_edges.py",
    "recorded/test_recorded.py",
    "cli/test_extras.py",
    "cli/test_loihi.py",
    "test_given.py",
    "quantization/test_quantize.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {TESTS / name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"functional engine: {engine_missing() or 'compiled, ' + ', '.join(Engine.isas())}")
