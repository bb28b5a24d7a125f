"""Which samples come first, and how seldom equals are told apart by them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neurocompile.verbs.exploring.halving import lost, rounds_of
from tests.exploring.points import point


@given(st.integers(1, 700))
def test_rounds_are_spread_over_the_data(samples: int) -> None:
    order, stops = rounds_of(samples)
    assert sorted(order) == list(range(samples))
    assert len(stops) == (samples >= 64) + (samples >= 128)
    for stop in stops:
        share = round(samples / stop)
        assert sorted(order[:stop]) == list(range(0, samples, share))


def test_equals_are_hardly_ever_dropped() -> None:
    """Of sweeps of points that are equally good, few lose any: 5 % is what they are promised at most."""
    draw, level, sweeps = np.random.default_rng(0), 0.05 / (2 * 5 * 4), 200
    unlucky = 0
    for _ in range(sweeps):
        right = draw.random((5, 400)) < 0.8
        unlucky += any(
            lost([point(f"p{n}", each[:stop], n, n) for n, each in enumerate(right)], level, stop) for stop in (50, 100)
        )
    assert unlucky <= 0.05 * sweeps
