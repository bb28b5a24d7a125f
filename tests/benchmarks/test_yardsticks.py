"""The yardsticks: networks are those that others counted, our counts keep, and nengo-loihi's are what it says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.yardsticks.__main__ import ENVIRONMENT, main, nengo_loihi
from benchmarks.yardsticks.networks import LOIHI2, NXTF, SMALL, Network, neurons, shapes
from benchmarks.yardsticks.ours import counted

CHECKOUT = Path(__file__).resolve().parents[2]
NENGO = CHECKOUT / ENVIRONMENT
MOST = {
    "dense": 2,
    "dense-wide": 14,
    "recurrent": 4,
    "conv-digits": 3,
    "conv-mnist": 10,
    "conv-cifar": 47,
    "conv-wide": 18,
    "conv-deep": 12,
    "conv1d": 3,
    "depthwise": 8,
    "wide-readout": 9,
    "nxtf-cifar": 157,
}
"""Cores, as in docs/mapping.md."""


@pytest.mark.parametrize("network", NXTF, ids=lambda network: network.name)
def test_networks_have_the_neurons_that_others_count(network: Network) -> None:
    assert neurons(network) == network.neurons


@pytest.mark.parametrize("network", LOIHI2, ids=lambda network: network.name)
def test_layers_are_told_one_by_one(network: Network) -> None:
    assert len(network.by_layer) == len(network.parts)
    assert sum(network.by_layer) == network.theirs


def test_pilotnet_has_the_layers_of_the_log() -> None:
    assert shapes(LOIHI2[0])[:5] == [(24, 99, 32), (36, 49, 15), (48, 24, 7), (64, 22, 4), (64, 20, 2)]


@pytest.mark.parametrize("network", [each for each in (*SMALL, *NXTF) if each.name in MOST], ids=lambda each: each.name)
def test_our_counts_keep(network: Network) -> None:
    found = counted(network, "loihi")
    assert found["neurons"] == neurons(network)
    assert not found["too_large"]
    assert found["cores"] <= MOST[network.name]


def test_the_table_names_what_is_not_installed(tmp_path: Path) -> None:
    text = tmp_path / "page.md"
    text.write_text(
        "before\n<!-- table: python -m benchmarks.yardsticks -->\nold\n<!-- end of the yardsticks -->\nafter\n"
    )
    given = ["dense", "pilotnet-sdnn", "--json", "--environment", str(tmp_path / "none"), "--write", str(text)]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    pilotnet, dense = json.loads(done.stdout)["rows"]
    assert pilotnet["theirs"]["cores"] == 61
    assert dense["ours"]["cores"] == 2
    assert "make peers-mapping" in dense["theirs"]["refused"]
    page = text.read_text()
    assert page.startswith("before\n<!-- table: python -m benchmarks.yardsticks -->\n\n| network |")
    assert page.endswith("|\n\n<!-- end of the yardsticks -->\nafter\n")
    assert "make peers-mapping" in page
    assert CliRunner().invoke(main, ["nothing"]).exit_code == 2


@pytest.mark.skipif(not NENGO.exists(), reason=f"no nengo-loihi in {ENVIRONMENT} (make peers-mapping)")
def test_nengo_loihi_counts_what_it_builds() -> None:
    dense = next(network for network in SMALL if network.name == "dense")
    found = nengo_loihi(dense, NENGO)
    assert found["by_layer"] == [1, 1], found
    assert found["version"] == "1.1.0"


@pytest.mark.skipif(not NENGO.exists(), reason=f"no nengo-loihi in {ENVIRONMENT} (make peers-mapping)")
def test_nengo_loihi_says_why_it_refuses() -> None:
    """More blocks than one where one would do are accepted; a block of too many neurons is not."""
    script = (
        "from dataclasses import replace\n"
        "from benchmarks.yardsticks.nengo_side import *\n"
        "from benchmarks.yardsticks.nengo_side import _refusal\n"
        "net = replace(SMALL[0], given=(4,), parts=(Part(1100),))\n"
        "for cut in (Cut((550,), (1100,)), Cut((1100,), (1100,))): print(_refusal(net, WAYS[0], [cut]))\n"
    )
    command = [str(NENGO / "bin/python"), "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CHECKOUT)
    taken, refused = done.stdout.splitlines()
    assert taken == "None"
    assert "Number of compartments (1100) exceeded max" in refused
