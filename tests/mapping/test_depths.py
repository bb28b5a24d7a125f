"""Delays that balance, and loops that are too short."""

from __future__ import annotations

import pytest

from neurocompile.errors import DoesNotFit
from neurocompile.mapping.depths import Hop, layer_depths


def test_a_chain_lags_by_one_step_a_synapse() -> None:
    hops = [Hop("x", "a"), Hop("a", "b"), Hop("b", "c")]
    assert layer_depths(["a", "b", "c"], hops, {"x": 0}) == {"x": 0, "a": 1, "b": 2, "c": 3}


def test_a_skip_waits_for_the_longer_way() -> None:
    hops = [Hop("x", "a"), Hop("a", "b"), Hop("b", "c"), Hop("a", "c")]
    assert layer_depths(["a", "b", "c"], hops, {"x": 0})["c"] == 3


def test_a_pool_takes_no_step() -> None:
    hops = [Hop("x", "a"), Hop("a", "p", 0), Hop("p", "b")]
    assert layer_depths(["a", "p", "b"], hops, {"x": 0}) == {"x": 0, "a": 1, "p": 1, "b": 2}


def test_a_loop_of_one_synapse_with_a_delay_of_one_fits() -> None:
    hops = [Hop("x", "a"), Hop("a", "a", 1, 1), Hop("a", "b")]
    assert layer_depths(["a", "b"], hops, {"x": 0}) == {"x": 0, "a": 1, "b": 2}


def test_a_delay_is_used_for_the_synapses_on_its_way() -> None:
    hops = [Hop("x", "a"), Hop("a", "b"), Hop("b", "a", 1, 2)]
    assert layer_depths(["a", "b"], hops, {"x": 0}) == {"x": 0, "a": 1, "b": 2}


def test_loops_that_are_too_short_are_all_named() -> None:
    hops = [Hop("x", "a"), Hop("a", "b"), Hop("b", "a", 1, 1), Hop("b", "c"), Hop("c", "d"), Hop("d", "c", 1, 1)]
    with pytest.raises(DoesNotFit) as caught:
        layer_depths(["a", "b", "c", "d"], hops, {"x": 0})
    places = [problem.where for problem in caught.value.problems]
    assert any(set(place.split(" -> ")) == {"a", "b"} for place in places)
    assert all(problem.actual == "a delay of 1" and "at least 2" in problem.limit for problem in caught.value.problems)
