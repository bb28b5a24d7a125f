"""Placements use every place once, and refining saves hops."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurocompile.mapping.placement import PLACEMENTS, along_hilbert_curve, hops, in_order, refined


@given(columns=st.integers(1, 9), rows=st.integers(1, 9), part=st.floats(0, 1))
def test_every_core_gets_a_place_of_its_own(columns: int, rows: int, part: float) -> None:
    cores = max(1, round(part * columns * rows))
    for placement in PLACEMENTS.values():
        place = placement(cores, (columns, rows))
        assert len(set(place.tolist())) == len(place) == cores
        assert place.min() >= 0
        assert place.max() < columns * rows


@pytest.mark.parametrize("side", [1, 2, 4, 8, 16])
def test_neighbours_on_the_curve_are_neighbours_on_the_mesh(side: int) -> None:
    place = along_hilbert_curve(side * side, (side, side))
    apart = np.abs(np.diff(place % side)) + np.abs(np.diff(place // side))
    assert (apart == 1).all()


def test_too_many_cores_are_refused() -> None:
    with pytest.raises(ValueError, match="5 cores do not fit into 2 x 2 places"):
        in_order(5, (2, 2))


def brute_hops(traffic: np.ndarray, place: np.ndarray, mesh: tuple[int, int]) -> int:
    at = [(int(p) % mesh[0], int(p) // mesh[0]) for p in place] + [(-1, 0)]
    cores = range(len(at))
    return sum(int(traffic[a, b]) * (abs(at[a][0] - at[b][0]) + abs(at[a][1] - at[b][1])) for a in cores for b in cores)


@given(seed=st.integers(0, 10**6), cores=st.integers(1, 12))
def test_refining_never_costs_hops(seed: int, cores: int) -> None:
    numbers, mesh = np.random.default_rng(seed), (4, 3)
    traffic = numbers.integers(0, 50, (cores + 1, cores + 1)) * (numbers.random((cores + 1, cores + 1)) < 0.4)
    start = numbers.permutation(12)[:cores]
    better = refined(traffic, start, mesh)
    assert len(set(better.tolist())) == cores
    assert hops(traffic, start, mesh) == brute_hops(traffic, start, mesh)
    assert hops(traffic, better, mesh) <= hops(traffic, start, mesh)


def test_refining_comes_near_the_best_of_all_placements() -> None:
    total, best = 0, 0
    for seed in range(5):
        numbers, mesh = np.random.default_rng(seed), (3, 2)
        traffic = numbers.integers(0, 50, (6, 6)) * (numbers.random((6, 6)) < 0.5)
        total += hops(traffic, refined(traffic, np.arange(5), mesh), mesh)
        best += min(hops(traffic, np.array(each), mesh) for each in permutations(range(6), 5))
    assert total <= 1.1 * best
