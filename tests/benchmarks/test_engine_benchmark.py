"""The engine's benchmark measures what it says: the keys that scripts rely on, and the engine's own counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from benchmarks.engine import Setup, calls, frames, interleaved, measure_layers, measure_network, prepare
from benchmarks.engine_growth import conv_layer, rates, size_of
from benchmarks.networks import TIMESTEPS
from benchmarks.roof import input_channels, measure_roof, silenced, summary
from neurocompile.simulator import simulate_integers
from neurocompile.simulator.engine import Engine, engine_missing

pytestmark = pytest.mark.skipif(bool(engine_missing()), reason=engine_missing() or "-")


@pytest.fixture(scope="module")
def setup() -> Iterator[Setup]:
    before = torch.get_num_threads()
    yield prepare("resnet20", 0)
    torch.set_num_threads(before)


def test_a_row_has_what_scripts_rely_on_and_the_engines_counts(setup: Setup) -> None:
    repeats, seed = 2, 3
    (row,) = measure_network(setup, ("spikingjelly", "eager"), (1,), (1,), repeats, seed, 100.0, 5.0)
    assert {
        *("network", "batch", "threads", "firing_rate", "engine_ms", "spikingjelly_ms", "best_torch_ms"),
        *("ratio_to_best_torch", "gsop_per_s", "roof_fraction", "engine_ms_range", "spikingjelly_ms_range"),
        *("best_torch", "torch_ms", "ratio_to_eager", "ratio_to_spikingjelly", "sops"),
    } <= set(row)
    assert 0.10 <= row["firing_rate"] <= 0.15
    assert row["engine_ms_range"][0] <= row["engine_ms"] <= row["engine_ms_range"][1]
    assert row["ratio_to_best_torch"] == pytest.approx(row["best_torch_ms"] / row["engine_ms"])
    assert row["roof_fraction"] == pytest.approx(row["gsop_per_s"] / 100)
    _, whole = frames(setup, 1, calls(repeats), seed + 100)
    timed = [whole[3], whole[5]]
    runs = [setup.engine.run(x, steps=TIMESTEPS) for x in timed]
    assert row["sops"] == np.mean([run.counts.total("sops").sum() for run in runs])
    fired = [np.concatenate([s.ravel() for s in run.spikes.values()]).mean() for run in runs]
    assert row["firing_rate"] == pytest.approx(np.mean(fired))


def test_layers_add_up_to_the_network(setup: Setup) -> None:
    rows = measure_layers(setup, 0, 100.0, batch=2, batches=2)
    assert {"network", "layer", "channels", "sops", "gsop_per_s", "roof_fraction"} <= set(rows[0])
    assert [row["channels"] for row in rows] == [16] * 7 + [32] * 6 + [64] * 5
    _, whole = frames(setup, 2, 2, 200)
    counts = [setup.engine.run(x, steps=TIMESTEPS).counts for x in whole]
    for row in rows:
        assert row["sops"] == np.mean([each.layers[row["layer"]].sops.sum() for each in counts])
        assert row["ms"] > 0
    groups = summary(rows)
    assert {label: group["layers"] for label, group in groups.items()} == {">= 64": 5, "< 64": 13}


def test_a_profile_is_about_the_time_of_a_run(setup: Setup) -> None:
    _, (x, *_) = frames(setup, 16, 2, 1)
    for _ in range(50):  # each may meet a busy machine, all of them do not
        seconds = setup.engine.profile(x, steps=TIMESTEPS, repeats=3)
        contest = interleaved({"run": lambda k: setup.engine.run(x, steps=TIMESTEPS, spikes=False)}, 5)
        ratio = sum(seconds.values()) / min(contest.seconds["run"])
        if 0.2 < ratio < 5:
            break
    assert set(seconds) >= {node.name for node in setup.program.integer if node.name in setup.engine.ways(TIMESTEPS)}
    assert all(value >= 0 for value in seconds.values())
    assert 0.2 < ratio < 5


def test_a_silenced_network_fires_nothing_in_the_same_way(setup: Setup) -> None:
    quiet = Engine(silenced(setup.program.integer, setup.program.arithmetic), setup.program.arithmetic)
    _, (x, *_) = frames(setup, 1, 2, 1)
    run = quiet.run(x, steps=TIMESTEPS)
    assert run.counts.total("spikes").sum() == 0
    assert quiet.ways(TIMESTEPS) == setup.engine.ways(TIMESTEPS)


def test_the_layer_of_random_spikes_is_a_program_that_the_reference_runs_alike() -> None:
    graph, arithmetic = conv_layer(0, channels=8, size=4)
    x = (np.random.default_rng(0).random((3, 5, 8, 4, 4)) < 0.3).astype(np.int64)
    known, run = simulate_integers(graph, arithmetic, {"x": x}), Engine(graph, arithmetic).run({"x": x})
    assert 0 < known.spikes["neuron"].mean() < 1
    assert np.array_equal(run.spikes["neuron"], known.spikes["neuron"])
    assert np.array_equal(run.outputs["output"], known.outputs["output"])
    assert np.array_equal(run.counts.layers["neuron"].sops, known.counts.layers["neuron"].sops)
    assert input_channels(graph, "neuron") == 8


def test_sops_grow_with_the_rate_of_the_input() -> None:
    none, few, many = rates((0.01, 0.1), 0, 2)
    assert none["sops"] == none["output_rate"] == 0
    assert many["sops"] / few["sops"] == pytest.approx(10, rel=0.1)


def test_a_process_of_its_own_counts_the_same(setup: Setup) -> None:
    row = size_of(setup, 0, 1)
    _, whole = frames(setup, 1, 3, 400)
    assert row["sops"] == setup.engine.run(whole[-1], steps=TIMESTEPS).counts.total("sops").sum()
    assert row["loaded_mb"] <= row["peak_mb"]
    assert row["within_memory"]


@pytest.mark.parametrize("isa", Engine.isas())
def test_every_instruction_set_has_a_roof(isa: str) -> None:
    assert 0.5 < measure_roof(isa, 0.01) < 2000


def test_no_roof_without_the_instruction_set() -> None:
    with pytest.raises(ValueError, match="has no"):
        measure_roof("none", 0.01)
