"""Small networks of the zoo, made to fire and measured as `make zoo` measures all."""

from __future__ import annotations

import pytest
import torch

from benchmarks.zoo import COLUMNS, markdown, row
from neurocompile.models.calibration import firing_rates
from neurocompile.models.zoo import ZOO

SMALL = [name for name, network in ZOO.items() if network.size == "small"]


@pytest.mark.parametrize("name", SMALL)
def test_synthetic_networks_fire(name: str) -> None:
    network = ZOO[name]
    module, inputs = network.synthetic(seed=1)
    rates = firing_rates(module, inputs)
    low, high = network.fires or (0.01, 0.9)
    within = [low - 0.01 <= rate <= high + 0.01 for rate in rates.values()]
    # What a part that hears itself fires depends on itself.
    assert all(within) or (name.startswith("fsvae") and sum(within) >= 0.7 * len(within)), rates
    again, same = network.synthetic(seed=1)
    assert all(torch.equal(a, b) for a, b in zip(inputs, same))
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), again.state_dict().values()))


@pytest.mark.parametrize("name", ["mpbn-vgg-digits", "dsr-vgg-digits-lif", "sgad-small", "spiking-gan-small"])
def test_rows(name: str) -> None:
    found = row(name, seed=2, samples=2)
    assert found["spikes_differing"] == 0
    assert found["integers_differing"] == 0
    assert found["spikes_compared"] > 0
    assert found["sops"] > 0
    assert 0 < found["on_chip_fraction"] <= 1
    assert found["loihi_cores"] or found["loihi_reason"]
    page = markdown([found, {"name": "other", "error": "went wrong"}], 2, 2)
    assert found["name"] in page
    assert "failed: went wrong" in page
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
    assert line.count("|") == len(COLUMNS) + 1
