"""The simulator of asynchronous chips against plain Python, and against what must hold whatever happens."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import timing as benchmark
from neurocompile.errors import DoesNotFit, UsageError
from neurocompile.ir.ops import Array
from neurocompile.simulator.timing.asynchronous import (
    EVENTS,
    KINDS,
    PARTS,
    AsyncChip,
    AsyncEvents,
    AsyncMesh,
    AsyncTimer,
    AsyncTiming,
    IntegrateAndFire,
    Routing,
    critical_path,
    load_events,
    map_synapses,
)
from neurocompile.targets import Constant
from tests.simulator import async_reference as reference

STEPS = 3


@dataclass(frozen=True)
class Drawn:
    """A small chip with spikes, most of whose FIFOs are too small for them."""

    chip: AsyncChip
    events: AsyncEvents
    fired: tuple[Array, Array]
    active: tuple[Array, Array]
    synapses: tuple[Array, Array]


def constant(nominal: float, unit: str = "ns") -> Constant:
    return Constant(nominal, nominal, nominal, unit, "derived", "per event", "doi: none, a test's")


def drawn(seed: int, busy: float = 0.5) -> Drawn:
    rng = np.random.default_rng(seed)
    mesh = AsyncMesh(*rng.integers(1, 4, 2).tolist(), int(rng.integers(1, 4)), *rng.choice([1, 1, 2, 5], 2).tolist())
    cores = int(rng.integers(1, min(mesh.cores, 9) + 1))
    # Times of few values, so that many things happen at one moment.
    names = [name for name in EVENTS if name != "tile"]
    latency = {name: constant(int(rng.integers(0, 5)) * 0.5) for name in names}
    latency |= {"tile": constant(int(rng.integers(0, 3)) * 0.5), "link_cycle": constant(int(rng.integers(1, 8)) * 0.5)}
    energy = {name: constant(float(rng.integers(0, 9)), "pJ") for name in EVENTS}
    neurons = int(rng.integers(cores, 70 if seed % 4 else 200))
    core = np.concatenate([np.arange(cores), rng.integers(0, cores, neurons - cores)])
    count = int(rng.integers(0, 4 * neurons))
    pre, post = rng.integers(0, neurons, (2, count))
    chip = map_synapses(mesh, core, pre, post, rng.integers(0, 3, count), rng.permutation(mesh.cores)[:cores])
    fired = np.nonzero(rng.random((STEPS, neurons)) < busy)
    active = np.nonzero(rng.random((STEPS, neurons)) < 0.5)
    return Drawn(chip, AsyncEvents(mesh, energy, latency, {1: 3.0, 4: 5.0}), fired, active, (pre, post))


def timed(case: Drawn, routing: Routing, threads: int = 1, keep: bool = True) -> AsyncTiming:
    return AsyncTimer(case.chip, case.events, routing, threads).replay(STEPS, case.fired, case.active, keep=keep)


def sets(case: Drawn, pairs: tuple[Array, Array], step: int) -> set[int]:
    return set(case.chip.number[pairs[1][pairs[0] == step]].tolist())


@pytest.mark.parametrize("routing", ["links", "density"])
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), busy=st.sampled_from([0.05, 0.5, 1.0]))
def test_every_message_is_where_plain_python_has_it(routing: Routing, seed: int, busy: float) -> None:
    case = drawn(seed, busy)
    found = timed(case, routing)
    start = 0
    for step in range(STEPS):
        plans = reference.plan(case.chip, case.events, sets(case, case.fired, step), sets(case, case.active, step))
        done = (reference.by_links if routing == "links" else reference.by_density)(case.chip, case.events, plans)
        expected = sorted(
            (m.neuron, m.axon, *(start + each for each in (m.ready, m.entered, m.arrived, m.taken, m.done)))
            for m in done.messages
        )
        mine = sorted(map(tuple, found.events[found.events[:, 0] == step, 1:].tolist()))
        if routing == "density":
            # Floating point rounds where the reference is exact.
            assert [row[:2] for row in mine] == [row[:2] for row in expected]
            assert np.abs(np.array(mine or [[0]]) - np.array(expected or [[0]])).max() <= 100
            assert abs(found.quiet[step] - (int(found.start[step]) + done.quiet)) <= 100
            start = int(found.start[step]) + int(found.latency[step])
            continue
        assert mine == expected
        assert found.start[step] == start
        assert found.quiet[step] == start + done.quiet
        assert found.idle[step].tolist() == [start + each for each in done.idle]
        start += done.quiet + found.barrier


@pytest.mark.parametrize("routing", ["links", "density", "sanafe"])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_nothing_is_lost_and_nothing_is_busier_than_time_allows(routing: Routing, seed: int) -> None:
    case = drawn(seed)
    chip, found = case.chip, timed(case, routing)
    elapsed = int((found.quiet - found.start).sum())
    fires = np.bincount(chip.number[case.fired[1]], minlength=chip.neurons)
    assert (found.fires == fires).all()
    assert found.fired.tolist() == np.bincount(case.fired[0], minlength=STEPS).tolist()
    # Every spike becomes one message for each of its axons, and every message is taken once.
    each = np.repeat(fires, np.diff(chip.axon_first))
    assert (np.bincount(found.events[:, 2], minlength=len(each)) == each).all()
    assert int(found.counts["message_out"].sum()) == int(each.sum())
    assert [int(found.counts[kind].sum()) for kind in KINDS] == (each @ chip.axon_synapses).tolist()
    hops = {name: int(found.counts[f"hop_{name}"].sum()) for name in ("north", "east", "south", "west")}
    assert list(hops.values()) == (each @ chip.hops()).tolist()
    assert found.messages[:, :4].sum(0).tolist() == list(hops.values())
    # What enters a core through its router is what is sent to it.
    into = np.bincount(chip.axon_core, each, chip.cores)
    assert (found.messages[:, 4:].ravel()[chip.place] == into).all()
    times = found.events[:, 3:]
    assert (np.diff(times, axis=1) >= 0).all()
    assert (found.working <= elapsed).all()
    # Floating point is rounded to picoseconds message by message.
    rounding = len(found.events) if routing == "sanafe" else 0
    assert (found.computing + found.blocked <= elapsed + rounding).all()
    assert (found.busy <= elapsed + STEPS * case.events.picoseconds("link_cycle")).all()
    assert abs(int(found.blocked.sum()) - int((times[:, 1] - times[:, 0]).sum())) <= rounding
    # A core works on one message after the other.
    for core in range(chip.cores):
        own = times[chip.axon_core[found.events[:, 2]] == core]
        own = own[np.lexsort((own[:, 4], own[:, 3]))]
        assert (own[1:, 3] >= own[:-1, 4]).all()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), routing=st.sampled_from(["links", "density", "sanafe"]))
def test_threads_and_repetition_change_nothing(seed: int, routing: Routing) -> None:
    case = drawn(seed)
    first, again, threaded = timed(case, routing), timed(case, routing), timed(case, routing, 3)
    for name, value in vars(first).items():
        if isinstance(value, np.ndarray):
            assert (value == getattr(again, name)).all()
            assert (value == getattr(threaded, name)).all(), name
    kept = timed(case, routing, keep=False)
    assert (kept.quiet == first.quiet).all()
    assert not len(kept.events)


def test_sanafes_arithmetic_changes_only_the_order_of_what_happens_at_one_moment() -> None:
    compared = 0
    for seed in range(40):
        case = drawn(seed)
        rng = np.random.default_rng(seed)
        latency = {name: constant(int(rng.integers(100, 50_000)) / 1000) for name in case.events.latency}
        case = replace(case, events=replace(case.events, latency=latency))
        density, floating = timed(case, "density"), timed(case, "sanafe")
        for step in range(STEPS):
            mine = density.events[density.events[:, 0] == step]
            # Not where cores of equally many neurons send at one moment, or one sends as another takes.
            sent, taken = mine[:, None, 3], mine[None, :, 6]
            other = ~np.eye(len(mine), dtype=bool)
            apart = np.minimum(np.abs(sent - sent.T), np.abs(sent - taken))[other]
            if (apart <= len(mine)).any():
                continue
            assert abs(int(density.latency[step]) - int(floating.latency[step])) <= len(mine)
            compared += len(mine)
    assert compared > 300


def test_the_smallest_fifos_do_not_deadlock() -> None:
    mesh = AsyncMesh(4, 4, 2, 1, 1)
    rng = np.random.default_rng(0)
    core = np.repeat(np.arange(32), 20)
    pre, post = np.repeat(np.arange(640), 20), rng.integers(0, 640, 640 * 20)
    chip = map_synapses(mesh, core, pre, post)
    every = (np.repeat(np.arange(2), 640), np.tile(np.arange(640), 2))
    found = AsyncTimer(chip, load_events("loihi-sanafe"), "links").replay(2, every)
    assert int(found.counts["message_out"].sum()) == 2 * len(chip.axon_core)
    assert found.waiting.any()
    assert found.blocked.any()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_neurons_are_those_of_plain_python(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = drawn(seed)
    n, steps = case.chip.neurons, int(rng.integers(1, 80))
    pre, post = case.synapses
    given_ = {
        "threshold": rng.integers(0, 40, n), "pre": pre, "post": post, "weight": rng.integers(-30, 30, len(pre)),
        "bias": np.where(rng.random(n) < 0.3, rng.integers(0, 9, n), 0), "reset": rng.integers(-2, 2, n),
        "subtracts": rng.random(n) < 0.5,
    }  # fmt: skip
    fired, active = reference.integrate_and_fire(steps, **given_)
    timer = AsyncTimer(case.chip, case.events)
    timer.simulate(IntegrateAndFire(**given_, order=rng.permutation(n)))
    half = timer.run(steps // 2, keep=True)
    rest = timer.run(steps - steps // 2, keep=True)
    spikes = np.concatenate([half.spikes, rest.spikes])
    number = case.chip.number
    for step in range(steps):
        assert set(spikes[spikes[:, 0] == step, 1].tolist()) == set(number[sorted(fired[step])].tolist())
    updates = np.concatenate([each.counts["neuron_update"] for each in (half, rest)])
    assert updates.tolist() == [len(a | f) for a, f in zip(active, fired)]
    # The same spikes from elsewhere take the same time.
    pairs = [
        tuple(np.array([(step, k) for step, each in enumerate(sets_) for k in sorted(each)], int).reshape(-1, 2).T)
        for sets_ in (fired, active)
    ]
    replayed = AsyncTimer(case.chip, case.events).replay(steps, *pairs)
    assert replayed.latency.tolist() == [*half.latency.tolist(), *rest.latency.tolist()]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), routing=st.sampled_from(["links", "density"]))
def test_a_critical_path_has_no_gap(seed: int, routing: Routing) -> None:
    case = drawn(seed, 1.0)
    found = timed(case, routing)
    for step in range(STEPS):
        legs = critical_path(case.chip, found, step)
        at = int(found.start[step])
        for leg in legs:
            assert leg.start == at
            assert leg.stop > leg.start
            at = leg.stop
        assert at == found.quiet[step]


def test_energy_is_what_happened_times_what_it_costs() -> None:
    # Two cores, one hop to the east: neuron 0 reaches neurons 1 and 2, and fires in the first of two steps.
    events = load_events("loihi-sanafe")
    mesh = AsyncMesh(2, 1, 1)
    chip = map_synapses(mesh, np.array([0, 1, 1]), np.array([0, 0]), np.array([1, 2]))
    one = (np.array([0]), np.array([0]))
    found = AsyncTimer(chip, events).replay(2, one, one)
    energy = found.energy(events)
    assert energy.parts["synapse"] == pytest.approx((2 * 23.6, 2 * 35.5, 2 * 35.5))
    assert energy.parts["soma"][1] == pytest.approx(6 * 51.2 + 21.6 + 69.3)
    assert energy.parts["network"][1] == pytest.approx(111.0 + 3.0)
    assert energy.total[1] == pytest.approx(sum(part[1] for part in energy.parts.values()))
    assert energy.total[0] < energy.total[1] == energy.total[2]
    # In ps: the neuron, the message, the hop, then the message's two synapses; the second step only accesses neurons.
    sent = 6000 + 3700 + 30000 + 5100
    assert found.quiet[0] == sent + 4100 + 16000 + 2 * 3800
    assert found.latency.tolist() == [found.quiet[0] + 1_000_000, 12000 + 1_000_000]
    assert sum(found.energy(events, slice(k, k + 1)).total[1] for k in range(2)) == pytest.approx(energy.total[1])


def test_every_event_says_where_it_comes_from() -> None:
    events = load_events("loihi-sanafe")
    assert set(events.energy) == {name for names in PARTS.values() for name in names}
    for unit, constants in (("pJ", events.energy), ("ns", events.latency)):
        for each in constants.values():
            assert each.min <= each.nominal <= each.max
            assert each.unit == unit
            assert each.basis in ("measured", "simulated", "derived")
            assert "doi:" in each.source
    assert [events.barrier_picoseconds(n) for n in (1, 3, 11, 32)] == [600_000, 1_000_000, 1_400_000, 1_800_000]


def test_what_does_not_fit_is_refused() -> None:
    events = load_events("loihi-sanafe")
    with pytest.raises(DoesNotFit, match="more cores"):
        map_synapses(AsyncMesh(1, 1, 1), np.array([0, 1]), np.array([0]), np.array([1]))
    with pytest.raises(UsageError, match="single events"):
        load_events("generic")
    chip = map_synapses(AsyncMesh(1, 1, 1), np.array([0, 0]), np.array([0]), np.array([1]))
    timer = AsyncTimer(chip, events)
    timer.simulate(
        IntegrateAndFire(np.array([0, 9]), np.array([0]), np.array([1]), np.array([10**9]), np.array([1, 0]))
    )
    with pytest.raises(DoesNotFit, match="32 bits"):
        timer.run(5)


@pytest.mark.slow
def test_sanafe_agrees_on_its_own_network() -> None:
    python = benchmark.sanafe_python(None)
    if python is None:
        pytest.skip("SANA-FE is not installed (python -m benchmarks.timing --install)")
    sides = benchmark.measure(python, 60, 1, 1)["sides"]
    for name in benchmark.ROUTINGS:
        against = sides[name]["against_sanafe"]
        assert against["steps_with_other_firings"] == 0
        assert against["steps_with_other_updates"] == 0
        assert against["steps_with_other_synaptic_events"] == 0
        assert all(abs(ratio - 1) < 1e-6 for ratio in against["energy_ratio"].values())
    assert sides["density"]["against_sanafe"]["latency_error"]["max"] < 0.05
    assert sides["exact"]["against_sanafe"]["latency_error"]["max"] < 1e-6
