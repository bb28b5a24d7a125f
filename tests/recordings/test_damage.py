"""Damage is measured to within a percent of what was planted, on several seeds and all layers."""

from __future__ import annotations

import numpy as np
import pytest

from neurocompile.recordings import damage_of, distance_of
from tests.recordings.conftest import Digits
from tests.recordings.planting import List

SEEDS = range(5)


def held(found: float, planted: float) -> None:
    assert abs(found - planted) < 0.01, (found, planted)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_kind_alone(digits: Digits, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for spikes in digits.spikes.values():
        events, due = List.of(spikes), int(spikes.sum())
        if due < 2000:
            continue
        thin = events.thinned(0.12, rng)
        found = damage_of(thin.dense(spikes), spikes)
        held(found.missing_share, 1 - len(thin.row) / due)
        held(found.rate_difference, len(thin.row) / due - 1)
        assert found.extra_share == found.doubled_share == found.displaced_share == 0
        twice = events.doubled(0.08, rng)
        found = damage_of(twice.dense(spikes), spikes)
        held(found.doubled_share, len(twice.row) / due - 1)
        assert found.missing_share == found.extra_share == found.displaced_share == 0
        noisy = events.with_noise(0.1, spikes, rng)
        found = damage_of(noisy.dense(spikes), spikes)
        held(found.extra_share, 0.1)
        assert found.missing_share == found.doubled_share == found.displaced_share == 0
        off = events.jittered(0.06, rng)  # of more, some change places with one another, and nobody can tell
        found = damage_of(off.dense(spikes), spikes)
        held(found.displaced_share + found.missing_share, (off.row != events.row).mean())
        held(found.missing_share, 0)
        held(found.extra_share + found.doubled_share, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_kinds_at_once(digits: Digits, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for spikes in digits.spikes.values():
        due = int(spikes.sum())
        if due < 2000:
            continue
        thin = List.of(spikes).thinned(0.05, rng)
        off = thin.jittered(0.03, rng)
        moved = int((off.row != thin.row).sum())
        twice = off.doubled(0.04, rng)
        found = damage_of(twice.with_noise(0.02, spikes, rng).dense(spikes), spikes)
        held(found.missing_share, 1 - len(thin.row) / due)
        held(found.displaced_share, moved / due)
        held(found.doubled_share, (len(twice.row) - len(off.row)) / due)
        held(found.extra_share, 0.02 * len(twice.row) / due)


def test_nothing_is_wrong_with_the_same(digits: Digits) -> None:
    for spikes in digits.spikes.values():
        found = damage_of(spikes, spikes)
        assert found.expected_spikes == found.recorded_spikes == int(spikes.sum())
        assert (found.missing_share, found.extra_share, found.doubled_share, found.displaced_share) == (0, 0, 0, 0)


def test_a_layer_that_is_silent() -> None:
    silent = np.zeros((2, 3, 4), np.int8)
    found = damage_of(silent, silent)
    assert (found.expected_spikes, found.missing_share, found.rate_difference) == (0, 0.0, 0.0)


def test_distances_grow_with_damage(digits: Digits) -> None:
    pytest.importorskip("elephant")
    rng = np.random.default_rng(0)
    spikes = digits.spikes[digits.last][:6]
    for kind in ("victor-purpura", "van-rossum"):
        far = [
            distance_of(List.of(spikes).thinned(share, rng).dense(spikes), spikes, kind)[0] for share in (0.0, 0.1, 0.4)
        ]
        assert far[0] == 0
        assert far[0] < far[1] < far[2]


def test_distances_of_one_spike() -> None:
    """One spike too few costs 1 (Victor and Purpura), one a step late costs 1, two steps or more 2."""
    pytest.importorskip("elephant")
    spikes = np.zeros((1, 6, 1), np.int8)
    spikes[0, 2] = 1
    for steps, cost in ((0, 0.0), (1, 1.0), (2, 2.0), (3, 2.0)):
        assert distance_of(np.roll(spikes, steps, 1), spikes, "victor-purpura") == (pytest.approx(cost), 1)
    assert distance_of(np.zeros_like(spikes), spikes, "victor-purpura") == (pytest.approx(1.0), 1)
    assert distance_of(np.zeros_like(spikes), np.zeros_like(spikes), "van-rossum") == (None, 0)
