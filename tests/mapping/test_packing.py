"""Blocks of several layers on one core: within its limits, on as few cores as there are."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neurocompile
from neurocompile.ir.ops import Input, Integrator, Neuron, Output
from neurocompile.ir.placed import Placed
from neurocompile.limits import Limits
from neurocompile.mapping import cut_boxes
from neurocompile.mapping.packing import Piece, Profiles, packed
from neurocompile.models.measurement import lowered
from neurocompile.models.zoo import ZOO
from neurocompile.passes import Synapses
from neurocompile.targets import load_target
from tests.mapping.core_by_core import check
from tests.random_networks.graphs import Build

LOIHI = load_target("loihi").limits
FIRE = Neuron(np.asarray(1))
NONE = Profiles(frozenset(), frozenset(), frozenset())
PARTS = st.lists(st.tuples(*[st.integers(0, 10)] * 3), min_size=1, max_size=9)


def _least(parts: list[tuple[int, ...]]) -> int:
    """The fewest cores of ten of each resource, by trying everything."""
    best = len(parts)

    def place(number: int, cores: list[list[int]]) -> None:
        nonlocal best
        if len(cores) >= best:
            return
        if number == len(parts):
            best = len(cores)
            return
        for core in cores:
            after = [a + b for a, b in zip(core, parts[number])]
            if max(after) <= 10:
                place(number + 1, [after if each is core else each for each in cores])
        place(number + 1, [*cores, list(parts[number])])

    place(0, [])
    return best


@settings(max_examples=60, deadline=None)
@given(PARTS)
def test_few_pieces_take_hardly_more_cores_than_the_fewest(parts: list[tuple[int, ...]]) -> None:
    found = packed([Piece(np.array(each) / 10, NONE) for each in parts], LOIHI)
    assert sorted(number for own in found for number in own) == list(range(len(parts)))
    for own in found:
        assert max(sum(parts[number][k] for number in own) for k in range(3)) <= 10
    assert _least(parts) <= len(found) <= _least(parts) + 1


@pytest.mark.parametrize(
    ("kept", "limits"),
    [
        ("compartments", Limits(compartment_profiles=3)),
        ("thresholds", Limits(threshold_profiles=3)),
        ("formats", Limits(synapse_formats=3)),
    ],
)
def test_what_a_core_has_once_does_for_all_of_its_blocks(kept: str, limits: Limits) -> None:
    """Pieces that take nothing else, of 2 profiles each of which they share 1 or none with another."""
    kinds = [{0, 1}, {1, 2}, {3, 4}, {4, 5}, {0, 1}]
    pieces = [Piece(np.zeros(1), replace(NONE, **{kept: frozenset(each)})) for each in kinds]
    found = packed(pieces, limits)
    assert [set().union(*(kinds[number] for number in own)) for own in found] == [{0, 1, 2}, {3, 4, 5}]


def _mapped(name: str) -> Placed:
    """A network of the zoo, compiled for Loihi; every core of it is built."""
    module, inputs = ZOO[name].synthetic(0, 1)
    program = neurocompile.compile(lowered(ZOO[name], module, inputs), "loihi")
    placed = load_target("loihi").place(program)
    assert placed is not None
    assert check(program.integer, placed).violations == []
    return placed


@pytest.mark.parametrize(
    ("name", "cores"),
    [
        ("mpbn-resnet18-digits", 2),
        pytest.param("mpbn-resnet34-digits", 4, marks=pytest.mark.slow),
        pytest.param("mpbn-vgg-digits", 3, marks=pytest.mark.slow),
    ],
)
def test_deep_small_networks_take_few_cores(name: str, cores: int) -> None:
    assert len(_mapped(name).cores) <= cores


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cores"),
    [
        ("mpbn-resnet20-digits", 10), ("mpbn-resnet19-digits", 6), ("dsr-preact-digits-if", 13), ("fsvae-small", 2),
        ("dsr-vgg11-digits-events-if", 8), ("sgad-small", 2), ("vq-svae-small", 4), ("sdid-small", 2),
    ],
)  # fmt: skip
def test_small_networks_of_the_zoo_are_built(name: str, cores: int) -> None:
    assert len(_mapped(name).cores) <= cores


def test_where_each_neuron_is_on_a_shared_core() -> None:
    b = Build(random.Random(1), np.random.default_rng(1))
    n0 = b.add("n0", FIRE, b.conv("conv0", b.add("x", Input((2, 5, 5), "spikes")), 3, 3, padding=1))
    n1 = b.add("n1", FIRE, b.linear("dense", n0, 12))
    b.add("out", Output(), b.add("read", Integrator(), b.linear("classes", n1, 3)))
    graph, _ = Synapses(event_sums=False).run(b.graph())
    placed = cut_boxes(graph, LOIHI, "loihi", weight_bits=8)
    assert [core.layers for core in placed.cores] == [("n0", "n1", "read")]
    first = 0
    for layer, size in (("n0", 75), ("n1", 12), ("read", 3)):
        core, slot = placed.of(layer)
        assert core.tolist() == [0] * size
        assert slot.tolist() == list(range(first, first + size))
        first += size
    apart = cut_boxes(graph, replace(LOIHI, packing=False), "loihi", weight_bits=8)
    assert [core.layers for core in apart.cores] == [("n0",), ("n1",), ("read",)]
    planted = replace(placed, limits=replace(LOIHI, threshold_profiles=1))
    assert check(graph, planted).violations == ["core 0: (n0, n1, read) 2 thresholds, a core has 1"]
