"""Our figures by NeuroBench's names against a slow count of what hooks see as torch runs the network."""

from __future__ import annotations

import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import neurocompile
from neurocompile.compiler import Options, compile_graph
from neurocompile.frontends.pytorch.model import TorchModel
from neurocompile.ir import Graph, Node
from neurocompile.ir.form import form_of
from neurocompile.ir.ops import Input, Integrator, Linear, Neuron, Output
from neurocompile.models.zoo import ZOO
from neurocompile.reports.neurobench import NeuroBench
from neurocompile.reports.plain import plain
from neurocompile.simulator.counts import fanouts, stored_in
from tests.random_networks.engine import random_graph
from tests.simulator.test_op_counters import SAMPLES, STEPS, Skip, conv, fires, on_grid, reals, spikes

CHECKPOINTS = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints"


class Hooked:
    """What a network is and did, counted element by element."""

    def __init__(self, module: nn.Module, x: np.ndarray) -> None:
        self.macs = self.acs = self.dense = self.silent = self.places = self.updates = 0
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.register_forward_hook(self.connection)
            elif isinstance(part, neuron.IFNode):
                part.register_forward_hook(self.neuron)
        functional.reset_net(module)
        with torch.no_grad():
            module(torch.from_numpy(x).transpose(0, 1))
        functional.reset_net(module)
        parts = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
        self.weights = sum(part.weight.numel() for part in parts)
        self.zeros = sum(int((part.weight == 0).sum()) for part in parts)

    def connection(self, part: Any, given: tuple[Tensor, ...], current: Tensor) -> None:
        (x_seq,) = given
        spiking = bool(((x_seq == 0) | (x_seq == 1)).all())
        for x in x_seq.flatten(0, 1):
            met = there = 0
            for inside, weight in linear(part, x) if isinstance(part, nn.Linear) else taps(part, x, current):
                there += inside.numel()
                met += int(((inside != 0) & (weight != 0)).sum())
            self.dense += there
            self.acs += met if spiking else 0
            self.macs += 0 if spiking else met

    def neuron(self, part: neuron.IFNode, given: tuple[Tensor, ...], fired: Tensor) -> None:
        self.silent += int((fired == 0).sum())
        self.places += fired.numel()
        v = torch.zeros_like(fired[0])
        for x, s in zip(given[0], fired):
            self.updates += int(((x != 0) | (v != 0)).sum())
            v = torch.where(s != 0, torch.zeros_like(v), v + x)


def linear(part: nn.Linear, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each output the inputs that it reads and their weights."""
    return [(x, row) for row in part.weight]


def taps(part: nn.Conv2d, x: Tensor, current: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The same, tap by tap, for what lies within the image."""
    found = []
    for out, row, column in product(*map(range, current.shape[-3:])):
        first = out // (part.out_channels // part.groups) * (part.in_channels // part.groups)
        for k, m in product(*map(range, part.weight.shape[2:])):
            i = row * part.stride[0] + k * part.dilation[0] - part.padding[0]
            j = column * part.stride[1] + m * part.dilation[1] - part.padding[1]
            if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]:
                found.append((x[first : first + part.in_channels // part.groups, i, j], part.weight[out, :, k, m]))
    return found


def ours(module: nn.Module, x: np.ndarray, carries: Any) -> NeuroBench:
    """Of the int8 program, which fires as the module does."""
    model = TorchModel.from_module(module, x.shape[2:], STEPS, "TN", None, carries)
    (name,) = model.input_shapes
    options = Options(bits=8, per_channel=False)
    program = compile_graph(model.graph, "generic", STEPS, options, calibration={name: x})
    report = neurocompile.simulate(program, x)
    for path, fired in model.run({name: x}).spikes.items():
        assert (report.spikes[path] == fired).all()
    return report.neurobench


def random_module(draw: random.Random, pools: bool) -> tuple[nn.Module, tuple[int, ...]]:
    """Convolutions and neurons, perhaps with average pools, and a readout; without biases."""
    shape: tuple[int, ...] = (draw.randint(1, 2), draw.randint(4, 6), draw.randint(4, 6))
    first, channels, modules = shape, shape[0], []
    for _ in range(draw.randint(1, 2)):
        groups = draw.choice((1, channels))
        outputs, kernel = groups * draw.randint(1, 2), draw.randint(1, 3)
        stride, padding, dilation = draw.choice(((1, kernel // 2, 1), (2, 1, 1), (1, 2, 2)))
        modules += [conv(channels, outputs, kernel, stride, padding, dilation, groups, bias=False), fires()]
        channels = outputs
    if pools:
        modules.append(layer.AvgPool2d(2, step_mode="m"))
    whole = nn.Sequential(*modules)
    size = whole(torch.zeros(1, 1, *first)).numel()
    functional.reset_net(whole)
    modules += [layer.Flatten(step_mode="m"), nn.Linear(size, 4, bias=False), fires(), nn.Linear(4, 3, bias=False)]
    return nn.Sequential(*modules), first


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(seed: int) -> None:
    draw = random.Random(seed)
    module, shape = random_module(draw, pools=seed % 3 == 2)
    module, carries = on_grid(module, seed), draw.choice(("spikes", "real"))
    # Reals with some zeros among them: no product, to either.
    x = spikes(shape, seed) * (reals(shape) if carries == "real" else 1)
    found, counted = ours(module, x, carries), Hooked(module, x)
    assert found.connection_sparsity == pytest.approx(counted.zeros / counted.weights)
    assert found.parameter_count == found.footprint == counted.weights  # one scale a layer: nothing differs by neuron
    assert found.activation_sparsity == pytest.approx(counted.silent / counted.places)
    assert found.membrane_updates == counted.updates / SAMPLES
    done = found.synaptic_operations
    assert done is not None
    assert (done.macs, done.acs, done.dense) == tuple(
        each / SAMPLES for each in (counted.macs, counted.acs, counted.dense)
    )


def test_a_skip_is_no_connection() -> None:
    module, x = on_grid(Skip(of_spikes=False), 6), spikes((6,))
    found, counted = ours(module, x, "spikes").synaptic_operations, Hooked(module, x)
    assert found is not None
    # Spikes of the input pass the skip, and are not told from those that meet weights.
    assert (found.acs - x.sum() / SAMPLES, found.dense) == (counted.acs / SAMPLES, counted.dense / SAMPLES)


def test_a_skip_of_a_layers_spikes_is_no_connection() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.main, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
            self.before, self.behind = fires(), fires()

        def forward(self, x: Tensor) -> Tensor:
            y = self.before(self.first(x))
            scores: Tensor = self.last(self.behind(self.main(y) + y))
            return scores

    module, x = on_grid(Block(), 3), spikes((6,))
    found, counted = ours(module, x, "spikes").synaptic_operations, Hooked(module, x)
    assert found is not None
    assert (found.acs, found.dense) == (counted.acs / SAMPLES, counted.dense / SAMPLES)


def test_what_neurons_differ_by_is_a_parameter() -> None:
    """Of the digits' network by hand: thresholds, biases and flips of 144 channels, biases of 10 outputs."""
    program = neurocompile.compile(CHECKPOINTS / "digits.pt")
    data = program.example_data()
    assert data is not None
    found = neurocompile.simulate(program, data.part(0, 1).inputs).neurobench
    weights = 16 * 9 + 32 * 16 * 9 + 32 * 32 * 9 + 64 * 128 + 10 * 64
    assert found.parameter_count == weights + 3 * 144 + 10
    assert found.footprint == weights + (2 * 144 + 10) * 3 + 144 // 8


def test_of_several_spikes_a_step_counts_tell_no_share() -> None:
    """Spikes are more than places there: a neuron that fires twice in a step is no two neurons that fire."""
    threshold = np.asarray(1.0)
    several = Neuron(threshold, reset="by", amount=threshold, max_spikes=8)
    nodes = [
        Node("x", Input((3,), "spikes"), ()),
        Node("wide", Linear(np.full((2, 3), 2.5)), ("x",)),
        Node("several", several, ("wide",)),
        Node("last", Linear(np.ones((1, 2))), ("several",)),
        Node("sum", Integrator(), ("last",)),
        Node("output", Output("sum"), ("sum",)),
    ]
    x = np.ones((2, STEPS, 3))
    program = compile_graph(Graph(nodes), "generic", STEPS, Options(bits=8), calibration={"x": x})
    report = neurocompile.simulate(program, x)
    assert report.firing_rate > 1
    found = report.neurobench
    assert found.activation_sparsity is None
    assert found.synaptic_operations is not None
    assert found.synaptic_operations.macs > 0  # sums of spikes are numbers to NeuroBench


@pytest.mark.parametrize("seed", range(40))
def test_synapses_by_their_shapes_are_those_that_are_listed(seed: int) -> None:
    graph = random_graph(random.Random(seed))
    listed = {(found.node, found.layer): int(found.stored.sum()) for found in fanouts(graph)}
    compared = [
        (stored_in(synapse.op, synapse.reads.shape, synapse.gives), listed[synapse.name, name])
        for name, each in form_of(graph).layers.items()
        for synapse in each.synapses
    ]
    assert compared
    assert all(mine == theirs for mine, theirs in compared)


def test_of_what_a_host_computes_every_step_is_a_mac(tmp_path: Path) -> None:
    network = ZOO["sdid-small"]
    module, inputs = network.synthetic(0, 2)
    neurocompile.save(module, tmp_path / "m.pt", inputs, layout=network.layout, timesteps=network.timesteps)
    program = neurocompile.compile(tmp_path / "m.pt")
    data = program.example_data()
    assert data is not None
    assert not program.inputs.keys() & data.inputs.keys()
    report = neurocompile.simulate(program, data.inputs)
    done = report.neurobench.synaptic_operations
    assert done is not None
    zeros = sum(int((found.stored - found.nonzero)[found.real].sum()) for found in fanouts(program.integer))
    assert report.totals.macs is not None
    assert done.macs == report.totals.macs / report.samples - zeros * program.timesteps > 0


def test_simulate_says_it_in_json_and_in_float64_what_was_counted() -> None:
    program = neurocompile.compile(CHECKPOINTS / "digits.pt")
    data = program.example_data()
    assert data is not None
    said = plain(neurocompile.simulate(program, data.part(0, 2).inputs))["neurobench"]
    assert list(said) == [
        "Footprint", "ConnectionSparsity", "ParameterCount", "ActivationSparsity", "SynapticOperations",
        "MembraneUpdates",
    ]  # fmt: skip
    assert list(said["SynapticOperations"]) == ["Effective_MACs", "Effective_ACs", "Dense"]
    assert json.loads(json.dumps(said)) == said
    real = plain(neurocompile.simulate(program, data.part(0, 2).inputs, real=True))["neurobench"]
    assert real["SynapticOperations"] is real["MembraneUpdates"] is None
    assert real["Footprint"] == said["Footprint"]
    assert 0 < real["ActivationSparsity"] < 1
