"""Counts, membranes and integers of the simulator against a count in plain Python and SpikingJelly's op counters."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn

from neurocompile.compiler import Options, compile_graph
from neurocompile.errors import DoesNotFit
from neurocompile.frontends.pytorch.model import TorchModel
from neurocompile.ir import Graph, Node
from neurocompile.ir.form import form_of
from neurocompile.ir.ops import Concat, Delay, Input, Linear, Neuron, Output
from neurocompile.ir.trace import Trace
from neurocompile.program import Program
from neurocompile.quantization import Method
from neurocompile.quantization.bounds import Interval, current_ranges, event_ranges, membrane_bounds
from neurocompile.simulator.reference import simulate_integers
from tests.exactness import lowered
from tests.random_networks.graphs import arithmetic_of, whole_neuron
from tests.random_networks.modules import WANTED, random_network
from tests.simulator.brute_force import NAMES, Walk, walk

# Sums with plain Python loops take their time: layers up to this many neurons.
LARGEST = 150
SAMPLES = 2
# What may stop a network from being an integer program, or from being walked.
REFUSED = re.compile("MaxPool of currents|membrane readout|beyond what the target holds|too large for plain Python")


def compiled(source: random.Random, wanted: str) -> tuple[Program, dict[str, np.ndarray]] | str:
    """A random network as a program with weights of a few bits and its integer inputs; or why there is none."""
    network = random_network(source, wanted)
    model = lowered(network)
    if max(edge.size for edge in model.graph.edges.values()) > LARGEST:
        return "too large for plain Python"
    inputs = {name: x[:SAMPLES] for name, x in network.inputs.items()}
    calibration = inputs if source.random() < 0.8 else None
    options = Options(
        bits=source.randint(2, 8),
        per_channel=source.random() < 0.7,
        method=source.choice(("max", "percentile", "membrane")) if calibration else "max",
        input_bits=source.randint(2, 8),
    )
    try:
        program = compile_graph(model.graph, "generic", network.timesteps, options, calibration=calibration)
    except DoesNotFit as error:
        return "; ".join(problem.what for problem in error.problems)
    return program, program.integers(inputs)[0]


def run_case(source: random.Random, wanted: str) -> str:
    """Hold one random program against the walk; what became of it."""
    found = compiled(source, wanted)
    if isinstance(found, str):
        return found
    program, inputs = found
    run = simulate_integers(program.integer, program.arithmetic, inputs, membranes=True)
    assert run.overflows == 0
    check_bounds(program, run)
    for sample in range(len(next(iter(inputs.values())))):
        one = walk(program.integer, program.arithmetic, {name: x[sample] for name, x in inputs.items()})
        check_walk(program.integer, run, one, sample)
    return "compared"


def check_walk(graph: Graph, run: Trace, one: Walk, sample: int) -> None:
    """The same spikes, membranes and counts for one sample."""
    for name, steps in one.membranes.items():
        for t, values in enumerate(steps):
            ours = run.membranes[name][sample, t]
            assert {p: int(ours[p]) for p in values} == values, f"{name}, step {t}: membranes"
    for node in graph.of(Neuron):
        for t, values in enumerate(one.emitted[node.name]):
            ours = run.spikes[node.name][sample, t]
            assert {p: int(ours[p]) for p in values} == values, f"{node.name}, step {t}: spikes"
    assert set(one.counts) == set(run.counts.layers)
    for name, counts in one.counts.items():
        ours = {count: int(getattr(run.counts.layers[name], count)[sample]) for count in NAMES}
        assert ours == counts, name


def check_bounds(program: Program, run: Trace) -> None:
    """Every membrane lies within what the compiler has proved, and that within the register."""
    graph, arithmetic = program.integer, program.arithmetic
    events = event_ranges(graph)
    for layer in form_of(graph).layers.values():
        current = current_ranges(layer, events)[layer.current]
        bounds = membrane_bounds(layer.op, current, layer.shape, arithmetic, program.timesteps)
        seen = run.membranes[layer.name]
        assert (seen >= bounds.low).all(), layer.name
        assert (seen <= bounds.high).all(), layer.name
        assert bounds.magnitude <= arithmetic.state_max


@pytest.mark.parametrize("wanted", WANTED)
def test_simulator_agrees_with_a_walk_over_every_spike_and_weight(wanted: str) -> None:
    outcomes = [run_case(random.Random(f"{wanted} {seed}"), wanted) for seed in range(1)]
    assert all(outcome == "compared" or REFUSED.search(outcome) for outcome in outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", WANTED)
def test_simulator_agrees_with_a_walk_over_every_spike_and_weight_at_length(wanted: str) -> None:
    outcomes = [run_case(random.Random(f"{wanted} {seed}"), wanted) for seed in range(1, 21)]
    assert all(outcome == "compared" or REFUSED.search(outcome) for outcome in outcomes)
    assert outcomes.count("compared") >= (1 if wanted == "max-pool of currents" else 5)


def test_bounds_hold_where_only_negative_spikes_are_possible() -> None:
    """From -3 a negative spike resets the membrane to -3 + 8, though no positive one ever could."""
    arithmetic = arithmetic_of()
    op = whole_neuron(10, 2**arithmetic.decay_fraction, reset="by", amount=8, negative_threshold=np.asarray(-3))
    bounds = membrane_bounds(op, Interval(np.asarray([-3.0]), np.asarray([0.0])), (1,), arithmetic, 3)
    assert bounds.high[0] >= 5


class Joined(nn.Module):
    """Two currents side by side feed neurons with a decay of their own each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 1)
        self.fires = neuron.MPBNLIFNode(out_features=3, step_mode="m")
        self.fires.vbn.weight.data = torch.tensor([0.6, 0.9, 1.2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fires(torch.cat((self.a(x), self.b(x)), dim=2))


@pytest.mark.parametrize("method", ["max", "percentile", "membrane"])
def test_concatenated_currents_are_scaled_by_every_method(method: Method) -> None:
    model = TorchModel.from_module(Joined().eval(), (4,), 3, "TN")
    x = np.random.default_rng(0).random((5, 3, 4))
    program = compile_graph(model.graph, "generic", 3, Options(method=method), calibration={"x": x})
    inputs, _ = program.integers({"x": x})
    check_bounds(program, simulate_integers(program.integer, program.arithmetic, inputs, membranes=True))


def test_only_the_numbers_among_spikes_that_are_delayed_cost_multiplications() -> None:
    """Behind a delay an element is what it was: 2 synapses of the number multiply at every step, the spikes' add."""
    arithmetic = arithmetic_of()
    graph = Graph(
        [
            Node("x", Input((1,), "real", low=-3, high=3)),
            Node("s", Input((3,), "spikes", low=0, high=1)),
            Node("both", Concat(0), ("s", "x")),
            Node("later", Delay((4,), 1), ("both",)),
            Node("fc", Linear(np.arange(1, 9).reshape(2, 4)), ("later",)),
            Node("n", whole_neuron(5, 1 << arithmetic.decay_fraction), ("fc",)),
            Node("output", Output("sequence"), ("n",)),
        ]
    )
    inputs = {"x": np.ones((1, 4, 1), np.int64), "s": np.asarray([[[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]]])}
    counts = simulate_integers(graph, arithmetic, inputs).counts.layers["n"]
    assert counts.macs.tolist() == [4 * 2]
    assert counts.sops.tolist() == [3 * 2]
    walked = walk(graph, arithmetic, {name: x[0] for name, x in inputs.items()}).counts["n"]
    assert (walked["macs"], walked["sops"]) == (8, 6)
