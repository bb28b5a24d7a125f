"""Faults on purpose: that they are planted as they say, and that a validation finds them, and calls them by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.faults.cases import Case
from tests.faults.kinds import KINDS
from tests.faults.networks import DIGITS
from tests.faults.run import Found, Pool, run, without

SEED = 0


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool(SEED, with_digits=False)


@pytest.fixture(scope="module", params=[3, pytest.param(1, marks=pytest.mark.slow)])
def slice_(pool: Pool, request: pytest.FixtureRequest) -> Found:
    """One kind of three (or every kind) that needs no tool, once."""
    kinds = [replace(kind, cases=0) for kind in KINDS.values() if not kind.needs]
    return run(pool, kinds[:: request.param], networks=1, count_healthy=20 // request.param, skipped={})


# -- what is planted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["generic", "nc1", "loihi2"])
@pytest.mark.parametrize("number", [0, 1, DIGITS])
def test_cells_do_what_the_simulator_does(pool: Pool, number: int, target: str) -> None:
    base = pool.network(number).base(target)
    assert base.spikes.keys() == base.simulated.keys()
    assert all(np.array_equal(spikes, base.simulated[name]) for name, spikes in base.spikes.items())
    assert all(0.02 < spikes.mean() < 0.8 for spikes in base.spikes.values())


def test_there_are_enough_kinds() -> None:
    known = [kind for kind in KINDS.values() if kind.is_known]
    assert len(known) >= 30
    assert len([kind for kind in KINDS.values() if kind.name.startswith("outside/")]) >= 12
    assert sum(kind.cases for kind in KINDS.values()) == 20


def test_every_kind_can_be_planted(slice_: Found) -> None:
    assert not [failure for failure in slice_.failures if failure["what"] == "too few networks"]
    assert slice_.total("cases") == len(slice_.kinds)
    assert slice_.healthy in (6, 20)


def test_the_same_seed_plants_the_same() -> None:
    kinds = [KINDS["integers/events-lost"], KINDS["graph/weight-changed"]]
    first, second = (run(Pool(7, with_digits=False), kinds, 1, 2, {}).as_json() for _ in range(2))
    assert first == second


# -- what is made of answers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case(pool: Pool) -> Case:
    """A threshold that is another one."""
    r = np.random.default_rng(0)
    network = pool.network(0)
    return next(case for _ in range(50) if (case := KINDS["integers/threshold-scaled"].plant(network, r)))


def right(case: Case) -> dict[str, Any]:
    ((layer, spots),) = case.spots.items()
    (sample, step, neuron), (expected, actual) = next(iter(spots.items()))
    where = {"layer": layer, "sample": sample, "step": step, "neuron": list(neuron)}
    return {**where, "expected": expected, "actual": actual, "names": ["threshold-scaled"], "detail": "", "verdict": ""}


def judged(case: Case, *causes: dict[str, Any]) -> tuple[bool, str]:
    verdict = case.judged(list(causes))
    return verdict.located, verdict.name


def test_a_right_answer_is_right(case: Case) -> None:
    assert judged(case, right(case)) == (True, "named")
    assert judged(case, {**right(case), "names": ["events-lost", "threshold-scaled"]}) == (True, "named")
    assert case.judged([{**right(case), "names": ["events-lost", "threshold-scaled"]}]).extra == 1


@pytest.mark.parametrize("names", [[], ["unknown"]])
def test_nobody_has_to_know(case: Case, names: list[str]) -> None:
    assert judged(case, {**right(case), "names": names}) == (True, "unknown")


@pytest.mark.parametrize(
    "change",
    [
        lambda cause: [],
        lambda cause: [cause, {**cause, "layer": "another"}],
        lambda cause: [{**cause, "step": cause["step"] + 1}],
        lambda cause: [{**cause, "neuron": [0] * (len(cause["neuron"]) + 1)}],
        lambda cause: [{**cause, "expected": cause["actual"]}],
    ],
)
def test_another_place_is_wrong(case: Case, change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
    located, _ = judged(case, *change(right(case)))
    assert not located


def test_another_name_is_wrong_unless_it_explains_all(case: Case) -> None:
    assert judged(case, {**right(case), "names": ["state-kept"]}) == (True, "misnamed")
    (layer,) = case.names
    assert case.explains(layer, "threshold-scaled")
    assert not case.explains(layer, "kernel-flipped")


# -- what validations say ----------------------------------------------------------------------------------------------


def test_a_validation_finds_them(slice_: Found) -> None:
    assert [failure for failure in slice_.failures if failure["what"] != "unknown"] == []
    assert slice_.false_alarms == 0


@pytest.mark.slow
def test_a_validation_finds_all_of_them() -> None:
    skipped = without(skip_lava=False, skip_rtl=False)
    assert not (skipped and os.environ.get("CI") == "true"), skipped
    found = run(Pool(SEED), list(KINDS.values()), networks=5, count_healthy=300, skipped=skipped)
    assert [failure for failure in found.failures if failure["what"] != "unknown"] == []
    assert found.false_alarms == 0
