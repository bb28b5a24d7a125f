"""Lowering and folding are exact on random networks: every spike as torch fires it, ties counted, outputs to 1e-9."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.exactness import OUTPUT, Tally, check, sweep
from tests.random_networks.modules import WANTED, random_network

SLICE, ALL = 20, 440
EXHAUSTIVE = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def _hold(source: random.Random, wanted: str, states: bool) -> None:
    tally = Tally()
    check(random_network(source, wanted), tally, states)
    assert not tally.failures, "\n".join(tally.failures)


def _report(tally: Tally) -> None:
    print(
        f"{tally.networks} networks ({tally.edge_cases} silent or saturated on purpose), {tally.samples} samples, "
        f"{tally.spikes_compared} spikes compared, {tally.mismatches} differ, {tally.ties} ties, "
        f"{tally.share_calibrated:.0%} with every layer between 2 and 80 %"
    )
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.mismatches == 0
    assert tally.ties <= 0.01 * tally.samples
    assert tally.spikes_compared > 500 * tally.networks
    assert tally.largest_output_error <= OUTPUT
    assert tally.share_calibrated >= 0.8


def test_a_slice_of_random_networks() -> None:
    _report(sweep(SLICE))


@pytest.mark.slow
def test_random_networks() -> None:
    tally = sweep(ALL, seed=SLICE)
    _report(tally)
    missed = [wanted for wanted in WANTED if wanted.startswith(("own:", "MPBN", "DSR")) and not tally.by_case[wanted]]
    assert not missed


@settings(max_examples=8, **EXHAUSTIVE)  # type: ignore[arg-type]
@given(st.randoms(use_true_random=False), st.sampled_from(WANTED), st.booleans())
def test_networks_that_hypothesis_draws(source: random.Random, wanted: str, states: bool) -> None:
    _hold(source, wanted, states)


@pytest.mark.slow
@settings(max_examples=300, **EXHAUSTIVE)  # type: ignore[arg-type]
@given(st.randoms(use_true_random=False), st.sampled_from(WANTED), st.booleans())
def test_many_networks_that_hypothesis_draws(source: random.Random, wanted: str, states: bool) -> None:
    _hold(source, wanted, states)
