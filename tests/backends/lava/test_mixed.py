"""Layers that hear a real-valued input beside spikes: the host writes its part as biases, integer for integer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

import neurocompile
from neurocompile.backends.lava import plan_of
from neurocompile.compiler import Options, compile_graph
from neurocompile.errors import DoesNotFit
from neurocompile.frontends.base import Model
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Add, Array, Concat, Gain, Input, Integrator, Linear, Neuron, Output
from neurocompile.models.measurement import lowered
from neurocompile.models.zoo import ZOO
from neurocompile.program import Program
from neurocompile.simulator.execution import IntegerExecutor
from tests.backends.lava.against import Compared, Worker, compare, need_lava
from tests.random_networks.graphs import Drawn
from tests.random_networks.loihi import deep_network

STEPS = 4


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(300.0) as running:
        yield running


def mixed_networks(count: int, seed: int) -> Iterator[tuple[Drawn, Program]]:
    """So many networks in which the host writes to a layer of the chip."""
    while count:
        source = random.Random(seed)
        seed += 1
        drawn = deep_network(source, mixed=True)
        target, bits = source.choice(("loihi", "loihi2")), source.choice((8, 8, 6, 4))
        options = Options(bits=bits, encode="host")
        try:
            program = compile_graph(drawn.graph, target, drawn.timesteps, options, calibration=drawn.inputs)
        except DoesNotFit:  # neurons beside neurons
            continue
        if any(population.written for population in plan_of(program).populations):
            count -= 1
            yield drawn, program


def in_the_engine(count: int, seed: int) -> tuple[int, Counter[str]]:
    """How many membranes after their reset were compared, of the engine and the reference; and what was among it."""
    compared, kinds = 0, Counter[str]()
    for drawn, program in mixed_networks(count, seed):
        fast, known = (
            IntegerExecutor(program, reference=which).run(drawn.inputs, membranes=True) for which in (False, True)
        )
        for name, left in known.potentials.items():
            assert np.array_equal(fast.potentials[name], left)
            compared += left.size
        for name, fired in known.spikes.items():
            assert np.array_equal(fast.spikes[name], fired)
        assert fast.overflows == known.overflows
        assert fast.counts.layers.keys() == known.counts.layers.keys()
        for name, counts in known.counts.layers.items():
            for which, values in vars(counts).items():
                assert np.array_equal(getattr(fast.counts.layers[name], which), values), (name, which)
        kinds.update(case for case in drawn.cases if "mixed" in case)
        kinds.update(population.kind for population in plan_of(program).populations if population.written)
    return compared, kinds


def test_engine_and_reference_agree() -> None:
    compared, kinds = in_the_engine(12, seed=0)
    assert compared > 10_000
    assert min(kinds[kind] for kind in ("stock", "own", "mixed: late", "mixed: gains", "mixed: readout")) >= 1


def test_lava_agrees(worker: Worker) -> None:
    _check_in_lava(worker, 4, seed=100)


@pytest.mark.slow
def test_engine_reference_and_lava_agree_on_many(worker: Worker) -> None:
    compared, kinds = in_the_engine(100, seed=1000)
    print(compared, kinds)
    assert kinds["mixed: max-pool"] >= 1
    _check_in_lava(worker, 40, seed=2000)


def _check_in_lava(worker: Worker, count: int, seed: int) -> None:
    into = Compared()
    for drawn, program in mixed_networks(count, seed):
        compare(worker, program, drawn.inputs, into)
    print(into)
    assert into.wrong == []
    assert into.spikes_differing == into.membranes_differing == into.outputs_differing == 0
    assert into.spikes > 500 * count
    assert into.programs == count


class Stream(nn.Module):
    """A residual stream that a convolution of the input feeds, and two blocks of spiking ones; ``[T, N, 2, 6, 6]``."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        conv = layer.Conv2d
        self.stem, self.conv1, self.conv2 = (conv(c, 4, 3, padding=1, step_mode="m") for c in (2, 4, 4))
        nodes = (neuron.LIFNode, neuron.IFNode)[seed % 2]
        self.node1, self.node2, self.node3 = (nodes(step_mode="m", v_threshold=0.4) for _ in range(3))
        self.head = layer.Linear(4 * 36, 3, step_mode="m")

    def forward(self, x_seq: Tensor) -> Tensor:
        stream = self.stem(x_seq)
        stream = stream + self.conv1(self.node1(stream))
        stream = stream + self.conv2(self.node2(stream))
        out: Tensor = self.head(self.node3(stream).flatten(2))
        return out


def test_residual_streams_from_torch(worker: Worker) -> None:
    """PyTorch in float64 against the lowered graph, engine against reference, and Lava against both."""
    into = Compared()
    for seed in range(2):
        x = np.random.default_rng(seed).normal(size=(3, STEPS, 2, 6, 6))
        model = TorchModel.from_module(Stream(seed).eval(), (2, 6, 6), STEPS, "TN", example={"x_seq": x})
        program = neurocompile.compile(model, target="loihi")
        kinds = {population.name: (population.kind, population.written) for population in plan_of(program).populations}
        assert [kinds[f"node{k}"] for k in (1, 2, 3)] == [("host", False), ("stock", True), ("stock", True)]
        (stage, *_) = neurocompile.validate(program, x, reference=model).stages
        assert (stage.name, stage.mismatches, stage.passed) == ("lowering", 0, True)
        assert stage.compared == 3 * 3 * STEPS * 4 * 36
        compare(worker, program, {"x_seq": x}, into)
    assert into.wrong == []
    assert into.spikes == 2 * 3 * 3 * STEPS * 4 * 36
    assert min(into.fired) > 0.02


def two_ways(weight: float, join: Add | Concat | None = None) -> Graph:
    """A layer of two neurons that hears an input with this weight, and a spike with a weight of 0.01."""
    join = join or Add()
    each = 2 if isinstance(join, Add) else 1
    return Graph(
        [
            Node("x", Input((2,))),
            Node("in", Linear(np.eye(2)), ("x",)),
            Node("first", Neuron(np.asarray(0.5)), ("in",)),
            Node("fc", Linear(np.full((each, 2), 0.01)), ("first",)),
            Node("given", Linear(np.full((each, 2), weight)), ("x",)),
            Node("both", join, ("fc", "given")),
            Node("second", Neuron(np.asarray(0.05), np.asarray(0.5)), ("both",)),
            Node("out", Linear(np.ones((1, 2))), ("second",)),
            Node("read", Integrator(), ("out",)),
            Node("output", Output(), ("read",)),
        ]
    )


def compiled(graph: Graph, x: Array) -> Program:
    return compile_graph(graph, "loihi", STEPS, Options(), calibration={"x": x})


def test_biases_that_do_not_fit_are_refused() -> None:
    x = np.linspace(0, 1, 8).reshape(4, 2)
    assert compiled(two_ways(0.3), x).integer.of(Gain)
    with pytest.raises(DoesNotFit) as refused:
        compiled(two_ways(300.0), x)
    (problem,) = refused.value.problems
    assert problem.where == "second"
    assert problem.what.startswith("what the host would write for its real-valued input is too large")
    limit = (2**12 - 1) << int(problem.limit.split("<< ")[1].rstrip(")"))
    assert problem.limit.startswith(str(limit))
    assert int(problem.actual.split()[0]) > limit
    assert "smaller weights on that input" in problem.fix


def test_halves_of_a_layer_are_refused() -> None:
    with pytest.raises(DoesNotFit, match="neurons beside neurons") as refused:
        compiled(two_ways(0.3, Concat(0)), np.linspace(0, 1, 8).reshape(4, 2))
    assert refused.value.problems[0].where == "second"


def test_gains_are_the_hosts_where_they_act_on_inputs_alone() -> None:
    graph = two_ways(0.3)
    gain = Node("gain", Gain(np.array([0.5, 2.0, 1.0, -1.0])), ("given",))
    both = Node("both", Add(), ("fc", "gain"))
    x = np.linspace(0, 1, 8).reshape(4, 2)
    assert compiled(graph.rewritten({"both": both}, [gain]), x).integer["gain"].op is not None
    gains = [Node(f"gain.{name}", gain.op, (name,)) for name in ("fc", "given")]
    on_spikes = graph.rewritten({"both": Node("both", Add(), ("gain.fc", "gain.given"))}, gains)
    with pytest.raises(DoesNotFit) as refused:
        compiled(on_spikes, x)
    (problem,) = refused.value.problems
    assert problem.where == "second"
    assert problem.what.startswith("it hears spikes (first) with another gain at each step")
    assert problem.actual == "-1 to 2 over 4 steps"


def test_biases_are_written_where_they_change() -> None:
    x = np.linspace(0.1, 1, 8).reshape(4, 2)
    program = compiled(two_ways(0.3), x)
    still = neurocompile.simulate(program, x)
    assert still.counts.layers["second"].bias_writes.tolist() == [2] * 4  # both neurons, in the first step
    assert still.totals.bias_writes == 8
    assert still.host is not None
    assert (still.host.bias_writes, still.host.macs) == (8, still.totals.macs)
    assert still.bill.unpriced["bias_write"].count == 8
    moving = np.broadcast_to(x[:, None], (4, STEPS, 2)) * np.array([1.0, 1.0, 0.5, 0.5])[:, None]
    assert neurocompile.simulate(program, moving).totals.bias_writes == 16
    assert all(not layer.totals.bias_writes for layer in still.layers if layer.name != "second")


@pytest.fixture(scope="module")
def diffusion() -> tuple[Model, Program]:
    """The small spiking diffusion network of the zoo, whose time embedding reaches eight layers beside spikes."""
    network = ZOO["sddpm-small"]
    model = lowered(network, *network.synthetic(samples=2))
    return model, neurocompile.compile(model, target="loihi")


DIFFUSION_NEURONS = 17_408


def test_a_diffusion_network_is_the_chips(diffusion: tuple[Model, Program]) -> None:
    _, program = diffusion
    populations = plan_of(program).populations
    assert sum(population.written for population in populations) == 8
    assert [population.name for population in populations if population.kind != "stock"] == ["neuron"]
    data = program.example_data()
    assert data is not None
    given = data.part(0, 1).inputs
    fast, known = (IntegerExecutor(program, reference=which).run(given, membranes=True) for which in (False, True))
    assert sum(fired.size for fired in known.spikes.values()) == STEPS * DIFFUSION_NEURONS
    for name, left in known.potentials.items():
        assert np.array_equal(fast.potentials[name], left)
    # The embedding is the same at all steps: the host writes each bias once.
    written = {p.name: int(np.prod(p.shape)) for p in populations if p.written}
    assert {n: int(c.bias_writes.sum()) for n, c in fast.counts.layers.items() if c.bias_writes.any()} == written


@pytest.mark.slow
def test_a_diffusion_network_in_lava(diffusion: tuple[Model, Program]) -> None:
    need_lava()
    model, program = diffusion
    assert program.example
    found = neurocompile.validate(program, program.example, reference=model, backend_samples=1)
    stages = {stage.name: stage for stage in found.stages}
    assert stages["lowering"].mismatches == stages["backend"].mismatches == 0
    assert stages["lowering"].passed
    assert stages["backend"].passed
    assert stages["backend"].compared == STEPS * DIFFUSION_NEURONS
