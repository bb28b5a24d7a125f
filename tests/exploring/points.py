"""Points with the figures that a test wants, without a network behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

import neurocompile
from neurocompile.recordings.outputs import wilson
from neurocompile.reports.explore import Placing, Point
from neurocompile.reports.simulate import SimulateReport
from neurocompile.simulator.energy import Bill, Unpriced
from tests.cli.helpers import small_net

SAMPLES = 8


@cache
def _run() -> SimulateReport:
    program = neurocompile.compile(small_net(), input_shape=(4,), timesteps=2)
    return neurocompile.simulate(program, np.zeros((1, 4)), spikes=False)


def point(
    name: str, right: Sequence[bool] | int, energy_pj: float | None = None, latency_ns: float | None = None,
    cycles: float | None = None, unpriced: Sequence[str] = (), target: str = "chip",
) -> Point:  # fmt: skip
    """A point; ``right`` samples of eight, or which."""
    hits: Any = np.arange(SAMPLES) < right if isinstance(right, int) else np.asarray(right, bool)
    count, run = len(hits), _run()
    share = wilson(int(hits.sum()), count)
    bounds = None if energy_pj is None else (energy_pj * count, energy_pj * count)
    bill = Bill(
        None if energy_pj is None else energy_pj * count, bounds, bool(unpriced),
        unpriced={term: Unpriced(1, None) for term in unpriced},
    )  # fmt: skip
    each = replace(run.per_sample, energy_pj=energy_pj, latency_ns=latency_ns, cycles=cycles)
    made = replace(run, target=target, samples=count, accuracy=share.share, bill=bill, per_sample=each)
    return Point(name, 4, Placing("max", "channel", "usual"), (share.low, share.high), None, None, 100, made, hits)
