"""Random networks, spike for spike and integer for integer: Lava against the simulator."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from neurocompile.backends.lava import plan_of
from neurocompile.errors import DoesNotFit
from tests.backends.lava.against import Compared, Worker, compare
from tests.backends.lava.sweep import compiled, sweep
from tests.random_networks.choices import HIGH, LOW
from tests.random_networks.loihi import deep_network


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as running:
        yield running


# Not shrunk: each try is a run of Lava.
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(st.randoms(use_true_random=False))
def test_deep_networks(worker: Worker, source: random.Random) -> None:
    drawn = deep_network(source)
    try:
        program = compiled(drawn, source)
        plan_of(program)
    except DoesNotFit:
        assume(False)
    into = Compared()
    compare(worker, program, drawn.inputs, into)
    assert into.wrong == []
    assert into.spikes_differing == into.membranes_differing == into.outputs_differing == 0


def test_a_slice_of_the_sweep() -> None:
    _check(sweep(5, seed=7).as_json())


@pytest.mark.slow
def test_the_whole_sweep() -> None:
    body = sweep(200, seed=0).as_json()
    _check(body)
    assert body["kinds"]["stock"] > 200
    assert body["kinds"]["own"] > 50
    assert max(map(int, body["depths"])) >= 6
    assert body["netx_networks"] >= 5
    assert body["networks_with_every_layer_calibrated"] >= 0.8 * body["networks"]


def _check(body: dict[str, object]) -> None:
    print(body)
    assert body["wrong"] == []
    assert body["spikes_compared"]
    assert body["membranes_compared"]
    assert body["netx_mismatches"] == 0
    assert body["spike_mismatches"] == body["membrane_mismatches"] == body["output_mismatches"] == 0
    rate = body["firing_rate"]
    assert isinstance(rate, float)
    assert LOW < rate < HIGH
