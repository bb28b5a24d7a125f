"""Random files of every primitive, against an interpreter written from NIR's equations."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nir
import numpy as np
import pytest

from neurocompile.frontends import load_model
from neurocompile.hosted import run_graph
from tests.frontends.nir import slow

STEPS, SAMPLES = 8, 2
PRIMITIVES = {
    "Input", "Output", "Affine", "Linear", "Scale", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Delay", "Threshold",
    "I", "LI", "IF", "LIF", "CubaLI", "CubaLIF",
}  # fmt: skip


def _held(seeds: range, folder: Path) -> tuple[int, int, Counter[str]]:
    """Positions compared, spikes fired, and the primitives that were met; the file and its graph fire as they must."""
    places = fired = 0
    met: Counter[str] = Counter()
    for seed in seeds:
        drawn = slow.draw(seed)
        nir.write(folder / "net.nir", drawn.graph())
        model = load_model(folder / "net.nir", timesteps=STEPS, dialect="text", dt=slow.DT, readout="sequence")
        x = np.random.default_rng(seed).normal(0.4, 1.0, (SAMPLES, STEPS, *drawn.shapes["input"]))
        near: list[float] = []
        ran = [slow.spikes_of(drawn, slow.run(drawn, sample, near)) for sample in x]
        if min(near) < 1e-9:
            continue  # a tie: two right sums may differ there
        wanted = {name: np.stack([each[name] for each in ran]) for name in ran[0]}
        told, graph = model.run({"input": x}).spikes, run_graph(model.graph, {"input": x}, STEPS).spikes
        assert set(told) == set(wanted)
        for name, spikes in wanted.items():
            assert np.array_equal(told[name], spikes), (seed, name)
            assert np.array_equal(graph[name], spikes), (seed, name)
            places, fired = places + spikes.size, fired + int(spikes.sum())
        met.update(drawn.kinds)
    return places, fired, met


def test_a_few(tmp_path: Path) -> None:
    places, fired, met = _held(range(40), tmp_path)
    assert 0.02 < fired / places < 0.8
    assert set(met) == PRIMITIVES


@pytest.mark.slow
def test_three_hundred(tmp_path: Path) -> None:
    places, fired, met = _held(range(1000, 1300), tmp_path)
    assert 0.02 < fired / places < 0.8
    assert set(met) == PRIMITIVES
