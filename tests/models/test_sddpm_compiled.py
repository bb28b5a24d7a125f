"""The spiking U-Net with its temporal gains, compiled: lowered exactly, and in integers as good as without gains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import neurocompile
from neurocompile.data import arrange_inputs
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.hosted import run_graph
from neurocompile.ir.ops import Array, Gain, Linear, Neuron
from neurocompile.models.sddpm import CONFIGURATIONS
from neurocompile.program import Program
from neurocompile.simulator.execution import IntegerExecutor
from tests.models.test_sddpm import batch, calibrated

SIZES = CONFIGURATIONS["small"]
SAMPLES = 4


def compiled(gains: bool) -> tuple[TorchModel, Program, dict[str, Array]]:
    sizes = replace(SIZES, temporal_gains=gains)
    model = calibrated(sizes, 1)
    x, t = batch(sizes, SAMPLES)
    example = {"x": x.numpy(), "t": t.numpy()}
    shapes = {"x": (1, 8, 8), "t": ()}
    lowered = TorchModel.from_module(model, shapes, sizes.timesteps, "N", example=example)
    return lowered, neurocompile.compile(lowered), example


def agreement(program: Program, example: dict[str, Array]) -> dict[str, float]:
    """The share of spikes of each layer that agree between the folded graph in float64 and the integers."""
    given = arrange_inputs(example, program.input_shapes, program.timesteps, "x").inputs
    real = run_graph(program.real, given, program.timesteps).spikes
    done = neurocompile.simulate(program, example)
    return {name: float((fired == done.spikes[name]).mean()) for name, fired in real.items()}


@pytest.fixture(scope="module")
def with_gains() -> tuple[TorchModel, Program, dict[str, Array]]:
    return compiled(True)


def test_lowering_is_exact(with_gains: tuple[TorchModel, Program, dict[str, Array]]) -> None:
    lowered, program, example = with_gains
    assert len(lowered.graph.of(Gain)) == 25  # all of the 26 but the host's
    result = neurocompile.validate(program, example, reference=lowered)
    stage = next(stage for stage in result.stages if stage.name == "lowering")
    neurons = sum(program.real.edges[node.name].size for node in program.real.of(Neuron))
    assert stage.compared == SAMPLES * SIZES.timesteps * neurons
    assert stage.mismatches == 0
    assert stage.passed


def test_integers_follow(with_gains: tuple[TorchModel, Program, dict[str, Array]]) -> None:
    """Weights are random: what differs early differs more and more from layer to layer."""
    _, program, example = with_gains
    found = agreement(program, example)
    assert found["neuron"] > 0.99
    assert found["down.0.neuron1"] > 0.96
    assert not program.integer.of(Linear)  # no gain turns a convolution into a matrix


@pytest.mark.slow
def test_integers_follow_as_well_as_without_gains(with_gains: tuple[TorchModel, Program, dict[str, Array]]) -> None:
    _, program, example = with_gains
    _, other, _ = compiled(False)
    found, without = agreement(program, example), agreement(other, example)
    assert np.mean(list(found.values())) > np.mean(list(without.values())) - 0.03


def test_the_engine_runs_it_as_the_reference(with_gains: tuple[TorchModel, Program, dict[str, Array]]) -> None:
    """Every spike, membrane and count."""
    _, program, example = with_gains
    given = arrange_inputs(example, program.input_shapes, program.timesteps, "x").inputs
    done, known = (
        IntegerExecutor(program, reference=slow).run(given, membranes=True, spikes=True) for slow in (False, True)
    )
    assert done.overflows == known.overflows == 0
    assert done.spikes.keys() == known.spikes.keys()
    for name, spikes in known.spikes.items():
        np.testing.assert_array_equal(done.spikes[name], spikes, err_msg=name)
    for name, membranes in known.membranes.items():
        np.testing.assert_array_equal(done.membranes[name], membranes, err_msg=name)
    for name, counts in known.counts.layers.items():
        for kind, expected in vars(counts).items():
            np.testing.assert_array_equal(getattr(done.counts.layers[name], kind), expected, err_msg=f"{name} {kind}")
