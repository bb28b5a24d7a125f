"""Widths by layer: the search against all that it could have found, and that nothing is reported on what it saw."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neurocompile
from neurocompile.reports.explore import ExploreReport
from neurocompile.verbs.exploring.mixed import given_up
from neurocompile.verbs.networks import DEMOS

CHECKPOINT = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints" / "digits.pt"
WIDTHS = (8, 4, 2)

errors = st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4)


@given(errors, st.floats(0, 1))
def test_the_memory_is_kept_to_and_no_layer_could_be_wider(drawn: list[tuple[int, float, float]], share: float) -> None:
    counts = {f"l{n}": count for n, (count, _, _) in enumerate(drawn)}
    harm = {f"l{n}": {4: min(a, b), 2: max(a, b)} for n, (_, a, b) in enumerate(drawn)}
    least, most = (sum(counts.values()) * width for width in (2, 8))
    budget = int(least + share * (most - least))
    bits = given_up(counts, WIDTHS, harm, budget)
    assert bits is not None
    used = sum(counts[name] * width for name, width in bits.items())
    assert used <= budget

    def total(chosen: dict[str, int]) -> float:
        return sum(harm[name].get(width, 0.0) for name, width in chosen.items())

    for name, width in product(bits, WIDTHS):  # no single layer can be widened for the better
        other = {**bits, name: width}
        if width > bits[name] and used + counts[name] * (width - bits[name]) <= budget:
            assert total(other) >= total(bits)


def test_what_cannot_be_had_is_not_chosen() -> None:
    assert given_up({"a": 10, "b": 10}, WIDTHS, {"a": {4: 0.1}, "b": {}}, 120) == {"a": 4, "b": 8}
    assert given_up({"a": 10, "b": 10}, WIDTHS, {"a": {4: 0.1}, "b": {}}, 100) is None


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    x, y = DEMOS["digits"].data()
    return x[:160], y[:160]


@pytest.fixture(scope="module")
def mixed(digits: tuple[np.ndarray, np.ndarray]) -> ExploreReport:  # type: ignore[type-arg]
    return neurocompile.explore(CHECKPOINT, *digits, bits=(2, 3, 6), targets=("anp-i",), scale=("max",), mixed=True)


def test_a_mixed_point_is_what_it_compiles_to(mixed: ExploreReport, digits: tuple[np.ndarray, np.ndarray]) -> None:  # type: ignore[type-arg]
    (each,) = mixed.mixed
    assert each.uniform == "anp-i 3-bit"
    assert each.weight_bytes[0] <= each.weight_bytes[1]
    assert len(set(each.bits.values())) > 1
    x, y = digits
    program = neurocompile.compile(CHECKPOINT, "anp-i", bits=each.bits, scale="max")
    odd = neurocompile.simulate(program, x[1::2], y[1::2])
    assert mixed[each.point].accuracy == odd.accuracy
    assert mixed[each.point].run.totals == odd.totals
    both = mixed[each.point].right, mixed[each.uniform].right
    assert each.only_mixed_right == int((both[0] & ~both[1]).sum())
    assert each.chosen_on + mixed.samples == len(x)


def test_what_it_is_reported_on_chooses_nothing(mixed: ExploreReport, digits: tuple[np.ndarray, np.ndarray]) -> None:  # type: ignore[type-arg]
    """Other labels where it chooses, and other samples where it reports, choose the same widths."""
    x, y = (each.copy() for each in digits)
    y[::2] = 0
    x[1::2] = np.random.default_rng(0).random(x[1::2].shape)
    other = neurocompile.explore(CHECKPOINT, x, y, bits=(2, 3, 6), targets=("anp-i",), scale=("max",), mixed=True)
    (mine,), (its,) = mixed.mixed, other.mixed
    assert mine.bits == its.bits
    assert mine.sensitivity == its.sensitivity
    assert mine.error == its.error
    assert mine.accuracy != its.accuracy


def test_the_sensitivity_is_what_one_layer_does_alone(
    mixed: ExploreReport,
    digits: tuple[np.ndarray, np.ndarray],  # type: ignore[type-arg]
) -> None:
    (each,) = mixed.mixed
    chosen_on = digits[0][::2]

    def output(bits: dict[str, int]) -> np.ndarray:  # type: ignore[type-arg]
        program = neurocompile.compile(CHECKPOINT, "anp-i", bits=bits, scale="max")
        return np.asarray(neurocompile.simulate(program, chosen_on).outputs["output"])

    widest = dict.fromkeys(each.sensitivity, 6)
    best = output(widest)
    for name, width in (("neuron1", 2), ("neuron4", 3)):
        off = output({**widest, name: width}) - best
        assert each.sensitivity[name][width] == pytest.approx((off**2).sum() / (best**2).sum())
