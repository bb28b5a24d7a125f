"""What Lava and the RTL fire, made into recordings as chips give them, is found to be what the program fires."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from neurocompile.ir.ops import Neuron
from neurocompile.models.digits import load_digits_split
from neurocompile.program import Program
from neurocompile.simulator.base import Executor, RunnerSettings
from neurocompile.verbs.given import data_of
from neurocompile.verbs.validate import opened_for
from tests.backends.lava.against import need_lava
from tests.backends.rtl.test_rtl import need
from tests.recordings import files
from tests.recordings.conftest import CHECKPOINTS
from tests.recordings.planting import List

SAMPLES = 4


def fired(program: Program, x: Any) -> Mapping[str, Any]:
    """Spikes of what runs the program besides the simulator."""
    (_, executor), *_ = opened_for(program, RunnerSettings(samples=SAMPLES))
    assert not isinstance(executor, str), executor
    run: Executor = executor
    spikes: Mapping[str, Any] = run.run(data_of(x, program.input_shapes, program.timesteps).inputs).spikes
    return spikes


@pytest.mark.parametrize("target", ["loihi", "nc1"])
def test_spikes_of_another_executor(target: str, tmp_path: Path) -> None:
    if target == "loihi":
        need_lava()
    else:
        need("iverilog")
    program = neurocompile.compile(CHECKPOINTS / "digits.pt", target)
    x = load_digits_split()[2][:SAMPLES]
    spikes = fired(program, x)
    rng = np.random.default_rng(0)
    recorded: list[str] = []
    for late, node in enumerate(program.integer.of(Neuron)):
        each = np.asarray(spikes[node.name])
        events = List.of(each)
        # Layer k answers k steps later; samples lie 12 steps apart; addresses count columns first.
        row = events.row // each.shape[1] * 12 + events.row % each.shape[1] + late
        order = np.arange(each[0, 0].size)
        if each.ndim == 5:
            order = order.reshape(each.shape[2:]).swapaxes(1, 2).ravel().argsort()
        time = row * 250 + rng.integers(0, 200, len(row))
        table = files.csv(tmp_path / f"{late}.csv", "t_us,neuron", time, order[events.neuron])
        recorded.append(f"{node.name}={table}")
    report = neurocompile.validate(
        program, x, recorded=recorded, step_length="250us", sample_length="3ms", backend_samples=0
    )
    stage = next(each for each in report.stages if each.name == "recorded")
    assert stage.passed, stage
    assert stage.alignment is not None
    assert [layer.offset_steps for layer in stage.alignment.layers.values()] == list(range(len(recorded)))
