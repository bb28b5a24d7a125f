"""Programs: the same bytes every time, and those of earlier versions still load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from spikingjelly.activation_based import layer, neuron
from torch import nn

import neurocompile
from neurocompile.program import FORMAT_VERSION

SAMPLES = Path(__file__).parent / "data"


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_programs_of_every_version_still_load(version: int) -> None:
    program = neurocompile.load(SAMPLES / f"program-v{version}")
    result = neurocompile.simulate(program, program.example)
    expected = np.load(SAMPLES / f"program-v{version}-expected.npz")
    layer_of = {1: "1", 2: "loop.inner.lif", 3: "2", 4: "1", 5: "1"}[version]
    np.testing.assert_array_equal(result.spikes[layer_of], expected["spikes"])
    np.testing.assert_allclose(result.outputs["output"], expected["output"])
    assert int(result.counts.total("sops").sum()) == int(expected["sops"])


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    net = nn.Sequential(layer.Linear(4, 3, step_mode="m"), neuron.LIFNode(step_mode="m")).eval()
    program = neurocompile.compile(net, input_shape=(4,), timesteps=3)
    program.save(tmp_path / "out")
    again = neurocompile.load(tmp_path / "out")
    assert again.files() == program.files()
    again.save(tmp_path / "again")
    for name in program.files():
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
