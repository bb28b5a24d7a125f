"""What is planted is found: offsets, drops and orders, beneath damage; and nothing is found where nothing is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurocompile.recordings import Aligned, Rows, align, damage_of
from neurocompile.recordings.orders import cycles, symmetric
from neurocompile.recordings.steps import best_offsets
from neurocompile.recordings.sure import sign_test
from tests.recordings.conftest import Digits
from tests.recordings.planting import List, dropped, reordered, shifted

SEEDS = range(3)


def rows_of(spikes: Any) -> Rows:
    """Dense spikes ``[N, T, ...]``, or counts, as they are read."""
    flat = spikes.reshape(spikes.shape[0] * spikes.shape[1], -1)
    row, neuron = np.nonzero(flat)
    return Rows(row, neuron, flat[row, neuron].astype(np.int64), spikes.shape[1])


def aligned(recorded: Mapping[str, Any], digits: Digits) -> Aligned:
    return align({name: rows_of(spikes) for name, spikes in recorded.items()}, digits.spikes)


def missing(found: Aligned, digits: Digits) -> float:
    """The largest share that is missing, or extra, in any layer."""
    all_of_it = [damage_of(spikes, digits.spikes[name]) for name, spikes in found.spikes.items()]
    return max(max(each.missing_share, each.extra_share) for each in all_of_it)


def test_the_same_is_left_alone_and_sure(digits: Digits) -> None:
    found = aligned(digits.spikes, digits)
    assert found.alignment.applied == ()
    assert found.alignment.decided
    for name, layer in found.alignment.layers.items():
        assert (layer.time.f1, layer.neurons.f1) == (1.0, 1.0)
        assert layer.time.margin > 0.2
        assert (found.spikes[name] == digits.spikes[name]).all()


@pytest.mark.parametrize("steps", [-7, -1, 1, 3, 40])
def test_an_offset(digits: Digits, steps: int) -> None:
    found = aligned({name: shifted(each, steps) for name, each in digits.spikes.items()}, digits)
    assert {layer.offset_steps for layer in found.alignment.layers.values()} == {steps}
    assert found.alignment.decided
    lost = abs(steps) / (len(digits.data) * digits.program.timesteps)
    assert missing(found, digits) < 3 * lost


def test_each_layer_has_an_offset_of_its_own(digits: Digits) -> None:
    """As in a pipeline, where layer k answers k steps later."""
    late = {name: shifted(each, k) for k, (name, each) in enumerate(sorted(digits.spikes.items()))}
    found = aligned(late, digits).alignment
    assert [found.layers[name].offset_steps for name in sorted(late)] == list(range(len(late)))


@pytest.mark.parametrize("seed", SEEDS)
def test_dropped_steps_beneath_damage(digits: Digits, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(np.arange(20, 220), 3, replace=False)).tolist()
    lossy = {name: List.of(each).thinned(0.1, rng).dense(each) for name, each in digits.spikes.items()}
    found = aligned({name: dropped(each, rows) for name, each in lossy.items()}, digits)
    assert (found.alignment.dropped_steps, found.alignment.repeated_steps) == (3, 0)
    steps = digits.program.timesteps
    places = [change.sample * steps + change.step for change in found.alignment.lag_changes]
    assert all(abs(place - row) <= 2 for place, row in zip(places, rows)), (places, rows)
    assert found.alignment.decided
    lost = 0.1 + 0.9 * 3 / (len(digits.data) * steps)
    for name, spikes in found.spikes.items():
        assert abs(damage_of(spikes, digits.spikes[name]).missing_share - lost) < 0.012


def test_a_slow_clock(digits: Digits) -> None:
    """Every fiftieth step comes twice as long: the lag grows, and it is told."""
    late = {}
    for name, each in digits.spikes.items():
        flat = each.reshape(-1, *each.shape[2:])
        at = np.arange(len(flat))
        whole = np.zeros_like(flat)
        target = at + at // 50
        inside = target < len(flat)
        whole[target[inside]] = flat[inside]
        late[name] = whole.reshape(each.shape)
    found = aligned(late, digits).alignment
    assert found.repeated_steps >= 3
    assert found.dropped_steps == 0
    assert found.drift_steps_per_1000 == pytest.approx(20, abs=6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["columns first", "channels last", "columns mirrored", "rows mirrored", "both"])
def test_maps_in_another_order(digits: Digits, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    recorded = {}
    for name, each in digits.spikes.items():
        if each.ndim != 5:
            continue
        lossy = List.of(each).thinned(0.15, rng).dense(each)
        changed = {"columns first": lambda x: x.swapaxes(3, 4), "channels last": lambda x: np.moveaxis(x, 2, 4),
                   "columns mirrored": lambda x: x[..., ::-1], "rows mirrored": lambda x: x[..., ::-1, :],
                   "both": lambda x: x[..., ::-1, ::-1]}[kind](lossy)  # fmt: skip
        recorded[name] = np.ascontiguousarray(changed).reshape(each.shape)
    found = aligned(recorded, digits)
    assert found.alignment.decided
    for name, layer in found.alignment.layers.items():
        words = {"columns first": "channel, column, row", "channels last": "row, column, channel"}.get(kind, "mirrored")
        assert words in layer.order
        assert abs(damage_of(found.spikes[name], digits.spikes[name]).missing_share - 0.15) < 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_channels_exchanged(digits: Digits, seed: int) -> None:
    rng = np.random.default_rng(seed)
    name = "neuron2"
    spikes = digits.spikes[name]
    order = rng.permutation(spikes.shape[2])
    recorded = List.of(np.ascontiguousarray(spikes[:, :, order])).thinned(0.1, rng).dense(spikes)
    found = aligned({name: recorded}, digits)
    assert "channels exchanged" in found.alignment.layers[name].order
    assert abs(damage_of(found.spikes[name], spikes).missing_share - 0.1) < 0.01
    assert damage_of(found.spikes[name], spikes).extra_share < 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_any_order_of_neurons(digits: Digits, seed: int) -> None:
    rng = np.random.default_rng(seed)
    name, spikes = digits.last, digits.spikes[digits.last]
    order = rng.permutation(int(np.prod(spikes.shape[2:])))
    recorded = shifted(List.of(reordered(spikes, order)).thinned(0.1, rng).dense(spikes), 2)
    found = aligned({name: recorded}, digits)
    layer = found.alignment.layers[name]
    assert (layer.offset_steps, layer.order) == (2, "neurons exchanged")
    damage = damage_of(found.spikes[name], spikes)
    assert abs(damage.missing_share - (1 - recorded.sum() / spikes.sum())) < 0.01
    assert damage.extra_share < 0.01


def test_two_wires_crossed(digits: Digits) -> None:
    spikes = digits.spikes["neuron1"]
    busy = np.argsort(-spikes.reshape(-1, spikes[0, 0].size).sum(0))[[3, 11]]
    order = np.arange(spikes[0, 0].size)
    order[busy] = order[busy[::-1]]
    found = aligned({"neuron1": reordered(spikes, order)}, digits)
    assert sorted(a for a, _ in found.alignment.layers["neuron1"].moved) == sorted(busy.tolist())
    assert missing(found, digits) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_damage_moves_nothing(digits: Digits, seed: int) -> None:
    """Spikes that are missing, too many, or a step off: no order and no offset is found that would hide it."""
    rng = np.random.default_rng(seed)
    recorded = {}
    for name, each in digits.spikes.items():
        recorded[name] = List.of(each).thinned(0.3, rng).with_noise(0.3, each, rng).jittered(0.2, rng).dense(each)
    found = aligned(recorded, digits).alignment
    assert found.applied == ()
    assert found.decided


def test_dead_neurons_stay_where_they_are(digits: Digits) -> None:
    spikes = digits.spikes["neuron1"].copy()
    spikes[:, :, 3] = 0
    found = aligned({"neuron1": spikes}, digits)
    assert found.alignment.layers["neuron1"].moved_neurons == 0
    assert missing(found, digits) > 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["noise", "rates", "complement", "nothing"])
def test_what_tells_nothing_is_undecided_and_left_alone(digits: Digits, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    recorded = {}
    for name in ("neuron1", digits.last):
        each = digits.spikes[name]
        rates = each.mean((0, 1))
        recorded[name] = {"noise": rng.random(each.shape) < each.mean(), "rates": rng.random(each.shape) < rates,
                          "complement": each == 0, "nothing": np.zeros(each.shape, bool)}[kind]  # fmt: skip
    found = aligned({name: each.astype(np.int8) for name, each in recorded.items()}, digits)
    assert found.alignment.applied == ()
    assert not found.alignment.decided
    for name, spikes in found.spikes.items():
        assert (spikes == recorded[name]).all()


def test_taken_as_it_is(digits: Digits) -> None:
    late = {name: rows_of(shifted(each, 2)) for name, each in digits.spikes.items()}
    found = align(late, digits.spikes, "none")
    assert found.alignment.applied == ()
    assert all(layer.offset_steps == 0 for layer in found.alignment.layers.values())


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_symmetric_orders_are_orders(shape: list[int]) -> None:
    size = int(np.prod(shape))
    found = symmetric(tuple(shape))
    assert len({order.tobytes() for order in found.values()}) == len(found)
    assert all(sorted(order) == list(range(size)) for order in found.values())


@given(st.permutations(range(12)), st.permutations(range(12)))
def test_cycles_part_what_moves(one: list[int], other: list[int]) -> None:
    before, order = np.array(one), np.array(other)
    groups = cycles(order, before)
    moved = np.concatenate(groups) if groups else np.zeros(0, int)
    assert sorted(moved) == np.flatnonzero(order != before).tolist()
    for group in groups:
        assert set(order[group]) == set(before[group])


@settings(max_examples=30)
@given(st.integers(-40, 40), st.integers(0, 2**31))
def test_offsets_of_profiles(offset: int, seed: int) -> None:
    wanted = np.random.default_rng(seed).integers(0, 50, 300).astype(float)
    counted = np.zeros(400)
    for row, value in enumerate(wanted):
        if 0 <= row + offset < 400:
            counted[row + offset] = value
    found, alike = best_offsets(counted, wanted, 1)
    assert found[0] == offset
    assert alike > 0.5


@given(st.integers(0, 600), st.integers(0, 600))
def test_sign_test(more: int, less: int) -> None:
    from scipy.stats import binomtest

    wanted = binomtest(more, more + less).pvalue if more + less else 1.0
    assert sign_test(more, less) == pytest.approx(wanted, rel=0.15, abs=1e-6)
