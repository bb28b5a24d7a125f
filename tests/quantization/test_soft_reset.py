"""Soft resets of Loihi 1: the program's integers against two compartments a neuron, and what is refused."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurocompile.arithmetic import Arithmetic
from neurocompile.backends.lava import plan_of
from neurocompile.compiler import Options, compile_graph
from neurocompile.ir import Graph
from neurocompile.ir.form import form_of
from neurocompile.ir.ops import Array, Input, Integrator, Neuron, Output
from neurocompile.mapping.resets import soft_resets
from neurocompile.program import Program
from neurocompile.quantization.silicon import amount_grid, registers_of, shortfalls, soft_reset_of
from neurocompile.simulator.reference import simulate_integers
from neurocompile.targets import load_target
from tests.quantization.two_compartments import Pair
from tests.random_networks.choices import Shape
from tests.random_networks.graphs import Build

quickly = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def _loihi() -> Arithmetic:
    arithmetic = load_target("loihi").arithmetic
    assert arithmetic is not None
    return arithmetic


LOIHI = _loihi()


class _Draw(Build):
    """One to three layers with soft resets: leaks in eighths or none, any bias, thresholds of channels, loops."""

    leaks = True

    def weights(self, shape: Shape, fan_in: int, scale: float | None = None) -> Array:
        return np.asarray(self.numbers.normal(size=shape) / np.sqrt(fan_in))

    def network(self) -> Graph:
        shape: Shape = self.pick(((self.whole(2, 8),), (self.whole(1, 2), 4, 4)))
        event = self.add("x", Input(shape, "spikes"))
        for number in range(self.whole(1, 3)):
            here = self.shapes[event]
            conv = len(here) > 1 and self.chance(70)
            current = self.conv("w", event, self.whole(1, 3), 3, padding=1) if conv else self.linear("w", event, 6)
            if len(self.shapes[current]) == 1 and self.chance(30):
                back = self.delay("back", f"n{number}", self.whole(1, 2), self.shapes[current])
                current = self.sum("sum", current, self.linear("again", back, 6))
            event = self.add(f"n{number}", self.neuron(self.shapes[current]), current)
        self.add("out", Output(), self.add("read", Integrator(), self.linear("readout", event, 2)))
        return self.graph()

    def neuron(self, shape: Shape) -> Neuron:
        channels = (shape[0], *(1,) * (len(shape) - 1))
        threshold = self.numbers.uniform(0.3, 2.0, channels if self.chance(40) else ())
        decay = self.pick((1.0, 1.0, 0.5, 0.75, 0.125)) if self.leaks else 1.0
        # Amounts above the threshold leave negative membranes; a leak would round these up.
        ratio = self.pick((1.0, 1.0, 2.0, 0.3)) if decay == 1.0 else self.pick((1.0, 0.7))
        return Neuron(
            np.asarray(threshold),
            decay=np.asarray(decay),
            bias=np.asarray(0.2 * self.numbers.normal(size=self.pick(((), channels, shape)))),
            reset="by",
            amount=np.asarray(ratio * threshold),
            strict=self.chance(50),
        )


def drawn(seed: int, **options: Any) -> tuple[Program, dict[str, Array]]:
    """A network compiled for Loihi, and spikes for it, ``[N, T, *shape]``."""
    r = random.Random(seed)
    build = _Draw(r, np.random.default_rng(seed))
    graph = build.network()
    size = (2, r.randint(3, 12), *build.shapes["x"])
    x = (np.random.default_rng(seed).random(size) < r.choice((0.2, 0.6, 1.0))).astype(np.int64)
    return compile_graph(graph, "loihi", size[1], Options(bits=r.choice((8, 8, 5, 3)))), {"x": x}


def different(program: Program, inputs: dict[str, Array]) -> tuple[int, int, int]:
    """Of how many spikes and membranes the two compartments differ; how many were compared, and how many fired."""
    run = simulate_integers(program.integer, program.arithmetic, inputs, membranes=True)
    made = soft_resets(program.integer, program.arithmetic)
    wrong = compared = fired = 0
    for name, soft in made.items():
        layer: Any = form_of(program.integer).layers[name]
        registers = registers_of(layer.op, program.arithmetic)
        assert registers is not None
        x = _currents(program, name, {**inputs, **run.spikes}) << layer.op.shift
        bias = np.broadcast_to(registers.bias_mantissa << registers.bias_exponent, layer.shape).ravel()
        for sample, neuron in np.ndindex(len(x), x.shape[2]):
            pair = Pair(registers.vth, soft.weights, int(bias[neuron]), int(registers.decay))
            spikes, h = (each[name].reshape(*x.shape)[sample, :, neuron] for each in (run.spikes, run.membranes))
            for t, found in enumerate(pair.step(int(each)) for each in x[sample, :, neuron]):
                wrong += found != (bool(spikes[t]), int(h[t]))
                compared, fired = compared + 1, fired + found[0]
    return wrong, compared, fired


def _currents(program: Program, name: str, events: dict[str, Array]) -> Array:
    """The synaptic sum of each neuron, synapse by synapse, ``[N, T, neurons]``."""
    layer = form_of(program.integer).layers[name]
    batch, steps = next(iter(events.values())).shape[:2]
    total = np.zeros((batch, steps, int(np.prod(layer.shape))), np.int64)
    for synapse in layer.synapses:
        event = events[synapse.source].reshape(batch, steps, -1).astype(np.int64)
        late = np.concatenate([np.zeros_like(event[:, : synapse.delay]), event[:, : steps - synapse.delay]], 1)
        for neuron, element, weight in zip(*(each.tolist() for each in synapse.listed())):
            total[:, :, neuron] += int(weight) * late[:, :, element]
    return total


@quickly
@given(st.integers(0, 10**6))
def test_two_compartments_fire_as_the_program_does(seed: int) -> None:
    program, inputs = drawn(seed)
    layers = list(program.integer.of(Neuron))
    assert len(soft_resets(program.integer, program.arithmetic)) == len(layers)
    wrong, compared, _ = different(program, inputs)
    assert wrong == 0
    assert compared == sum(program.integer.edges[node.name].size for node in layers) * inputs["x"].shape[1] * 2


def test_the_networks_fire_and_have_membranes_below_0() -> None:
    total, below = np.zeros(3, np.int64), 0
    for seed in range(25):
        program, inputs = drawn(seed)
        total += different(program, inputs)
        run = simulate_integers(program.integer, program.arithmetic, inputs, membranes=True)
        below += sum(int((run.potentials[node.name] < 0).sum()) for node in program.integer.of(Neuron))
    wrong, compared, fired = total.tolist()
    assert wrong == 0
    assert 0.1 < fired / compared < 0.7
    assert below > compared / 10


def test_at_the_lower_end_of_the_register_both_rest() -> None:
    build = _Draw(random.Random(0), np.random.default_rng(0))
    x = build.add("x", Input((40,), "spikes"))
    soft = Neuron(np.asarray(1.0), reset="by", amount=np.asarray(1.5), bias=np.asarray(0.3))
    current = build.linear("w", x, 2)
    weights = np.full((2, 40), -1.0)
    weights[:, :2] = 0.9
    build.change(current, weight=weights)
    event = build.add("n", soft, current)
    build.add("out", Output(), build.add("read", Integrator(), build.linear("readout", event, 2)))
    program = compile_graph(build.graph(), "loihi", 400, Options())
    heard = np.ones((1, 400, 40), np.int64)
    heard[:, 300:, 2:] = 0  # comes back from there
    heard[:, :3, 2:] = 0  # fires first
    run = simulate_integers(program.integer, program.arithmetic, {"x": heard}, membranes=True)
    assert run.potentials["n"].min() == 1 - 2**23
    wrong, compared, fired = different(program, {"x": heard})
    assert (wrong, compared) == (0, 800)
    assert fired > 0


# -- what is refused, and why ------------------------------------------------------------------------------------------


def toward_zero(value: Array, decay: int) -> Array:
    """A membrane after its decay, in 1/4096."""
    return np.asarray(np.sign(value) * (np.abs(value) * decay // 4096))


def moved(decay: int, amount: int, h: Array) -> Array:
    """By how much a membrane is another, if what is subtracted from ``h`` comes back when it has decayed."""
    return toward_zero(h - amount, decay) - (toward_zero(h, decay) - amount * decay // 4096)


@pytest.mark.parametrize("decay", [4096, 2048, 3072, 512, 3584])
def test_leaks_in_eighths_round_what_is_left_as_they_round_both(decay: int) -> None:
    op = Neuron(np.asarray(6401), decay=np.asarray(decay), reset="by", amount=np.asarray(0))
    grid = amount_grid(op, LOIHI, 4096.0)
    assert grid <= 512
    for amount in (grid, 5 * grid, 12 * grid):
        h = np.arange(amount, 60_000)
        assert not moved(decay, amount, h).any()
        below = moved(decay, amount, np.arange(0, amount))
        assert below.any() == (decay < 4096)  # why no more than the threshold may be subtracted


@pytest.mark.parametrize("decay", [1229, 3896, 4095])
def test_other_leaks_do_not(decay: int) -> None:
    amount = 64 * 100
    assert moved(decay, amount, np.arange(amount, 60_000)).any()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, ""),
        ({"decay": 0.5}, ""),
        ({"decay": 0.3}, "its decay would round what is subtracted"),
        ({"decay": 0.5, "amount": 1.5}, "below 0 where it fires, and its decay would round that to the other side"),
        ({"amount": 1.5}, ""),
        ({"current_decay": 0.5}, "its synaptic current would bring back what is subtracted"),
        ({"keep": 0.5}, "keeps a part of it"),
        ({"amount": [1.0, 0.5]}, "not one amount above 0"),
        ({"amount": -1.0}, "not one amount above 0"),
        ({"threshold": -0.5}, "its threshold is not above its reset value"),
        ({"v_init": 0.2}, "its membrane does not start where it is reset to"),
        ({"refractory": 2}, "it stays silent after a spike"),
        ({"decay": [1.0, 0.5]}, "its decay would round what is subtracted"),
    ],
)
def test_what_two_compartments_cannot_do_is_refused_and_stays_as_it_was(changes: dict[str, Any], what: str) -> None:
    arrays = {name: value if name == "refractory" else np.asarray(value) for name, value in changes.items()}
    op = Neuron(**{"threshold": np.asarray(1.0), "reset": "by", "amount": np.asarray(1.0), **arrays})
    build = _Draw(random.Random(0), np.random.default_rng(0))
    event = build.add("n", op, build.linear("w", build.add("x", Input((4,), "spikes")), 2))
    build.add("out", Output(), build.add("read", Integrator(), build.linear("readout", event, 2)))
    program = compile_graph(build.graph(), "loihi", 4, Options())
    placed = load_target("loihi").place(program)
    assert placed is not None
    (population,) = [each for each in plan_of(program).populations if each.name == "n"]
    assert population.kind == "own"  # Lava joins no compartments
    if what:
        assert any(what in each.what for each in shortfalls(op, LOIHI))
        assert any(what in note for note in program.notes)
        assert (placed.soft_resets, placed.layers[0].compartments) == ({}, 2)
        return
    assert shortfalls(op, LOIHI) == []
    assert "two compartments" in population.missing[0].what
    assert any("n: a soft reset by two compartments a neuron" in note for note in program.notes)
    assert placed.layers[0].compartments == 4


def test_amounts_are_sums_of_weights() -> None:
    for mantissa, weights in (
        (1, ((1, 0),)), (255, ((255, 0),)), (256, ((128, 1),)), (257, ((128, 1), (1, 0))), (255 << 7, ((255, 7),)),
        ((255 << 7) + 127, ((255, 7), (127, 0))), (400 << 7, ((255, 7), (145, 7))),
    ):  # fmt: skip
        op = Neuron(np.asarray(64001), decay=np.asarray(4096), reset="by", amount=np.asarray(mantissa << 6))
        soft = soft_reset_of(op, LOIHI)
        assert soft is not None
        assert soft.weights == weights


def test_a_threshold_or_two_are_subtracted_by_one_weight() -> None:
    for seed in range(20):
        program, _ = drawn(seed)
        for name, soft in soft_resets(program.integer, program.arithmetic).items():
            real: Any = program.real[name].op
            if np.all(real.decay == 1) and np.all(np.isin(np.round(real.amount / real.threshold, 9), (1.0, 2.0))):
                assert len(soft.weights) == 1
                assert not any(f"{name}: " in note and "off by" in note for note in program.notes if "grid" in note)


def test_programs_of_before_have_none() -> None:
    old = Arithmetic.of({**LOIHI.plain(), "lif": {k: v for k, v in LOIHI.plain()["lif"].items() if k != "joins"}})
    program, _ = drawn(1)
    assert soft_resets(program.integer, program.arithmetic)
    assert soft_resets(program.integer, old) == {}
