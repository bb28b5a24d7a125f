"""Networks of which the host computes parts: exact, in stages, in loops, from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import neurocompile
from neurocompile.errors import BadInput, UnsupportedModel, UsageError
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.hosted import Hosted, run_graph
from neurocompile.ir.graph import Graph, InvalidGraph
from neurocompile.ir.ops import Input, Neuron, Output
from neurocompile.program import load_program
from neurocompile.simulator.execution import IntegerExecutor
from neurocompile.simulator.reference import simulate_integers
from neurocompile.verbs.program import host_regions
from neurocompile.vocabulary.feedback import Feedback

STEPS = 5


@neurocompile.host
class Mix(nn.Module):
    """Something of whole sequences that no chip computes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6))

    def forward(self, x_seq: Tensor) -> Tensor:
        return torch.tanh(x_seq.mean(0) @ self.weight)


@neurocompile.host(carries="spikes")
class Generate(nn.Module):
    """Numbers to spike trains."""

    def forward(self, x: Tensor) -> Tensor:
        levels = torch.linspace(-0.9, 0.9, STEPS, dtype=x.dtype)
        return (x.unsqueeze(0) > levels[:, None, None]).to(x.dtype)


@neurocompile.host(carries="spikes")
class Pick(nn.Module):
    """One of every two spikes, as an index says."""

    def forward(self, spikes: Tensor, index: Tensor) -> Tensor:
        return spikes.reshape(-1, 4, 2).gather(2, index.long()[:, :, None])[:, :, 0]


class Again(nn.Module):
    """A step of something that hears what was picked the step before."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = layer.Linear(10, 8)
        self.lif = neuron.LIFNode(tau=1.5, v_threshold=0.5)
        self.pick = Pick()

    def forward(self, x: Tensor, index: Tensor, last: Tensor) -> Tensor:
        picked: Tensor = self.pick(self.lif(self.fc(torch.cat([x, last], 1))), index)
        return picked


class Mixed(nn.Module):
    """Chip, host, chip, a loop of both, chip, host; and a skip over all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = layer.Linear(5, 6, step_mode="m")
        self.if1 = neuron.IFNode(step_mode="m", v_threshold=0.4)
        self.mix = Mix()
        self.generate = Generate()
        self.fc2 = layer.Linear(6, 6, step_mode="m")
        self.lif2 = neuron.LIFNode(tau=1.3, step_mode="m", v_threshold=0.3)
        self.loop = Feedback(Again(), (4,))
        self.fc3 = layer.Linear(10, 3, step_mode="m")

    def forward(self, x_seq: Tensor, index: Tensor) -> Tensor:
        first = self.if1(self.fc1(x_seq))
        second = self.lif2(self.fc2(self.generate(self.mix(first))))
        looped = self.loop(second, index)
        return torch.sigmoid(self.fc3(torch.cat([looped, first], 2)).mean(0))


def mixed(seed: int = 0) -> Mixed:
    torch.manual_seed(seed)
    net = Mixed().eval().requires_grad_(False)
    for part in (net.fc1, net.fc2, net.loop.inner.fc):
        part.weight.mul_(3.0)
        part.bias.add_(0.3)
    return net


def given(count: int = 30, seed: int = 1) -> dict[str, Any]:
    numbers = np.random.default_rng(seed)
    return {"x_seq": numbers.random((count, STEPS, 5)), "index": numbers.integers(0, 2, (count, STEPS, 4)) * 1.0}


def in_torch_layout(inputs: dict[str, Any]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(x).transpose(0, 1) for x in inputs.values())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host") / "mixed.pt"
    neurocompile.save(mixed(), path, in_torch_layout(given()), layout="TN")
    return path


@pytest.mark.parametrize("seed", range(3))
def test_exact_and_in_integers(seed: int) -> None:
    net, inputs = mixed(seed), given(seed=seed)
    model = TorchModel.from_module(net, {name: x.shape[2:] for name, x in inputs.items()}, STEPS, "TN")
    program = neurocompile.compile(model, calibrate=inputs)
    found = neurocompile.validate(program, inputs, reference=model)
    lowering, quantization = found.stages[:2]
    assert lowering.passed
    assert lowering.mismatches == 0
    assert lowering.compared == 30 * STEPS * (6 + 6 + 8)
    assert all(0.02 < rate < 0.9 for rate in lowering.firing_rates.values()), lowering
    assert quantization.mismatches < 0.05 * quantization.compared


def test_spikes_are_those_of_straight_lines() -> None:
    """The whole network written out step by step, without blocks, containers or hooks."""
    net, inputs = mixed().double(), given()
    model = TorchModel.from_module(net, {name: x.shape[2:] for name, x in inputs.items()}, STEPS, "TN")
    run = run_graph(model.graph, inputs, STEPS)
    x, index = (torch.from_numpy(value) for value in inputs.values())
    v = torch.zeros(30, 6, dtype=torch.float64)
    first = []
    for t in range(STEPS):
        v = v + x[:, t] @ net.fc1.weight.T + net.fc1.bias
        first.append((v >= 0.4).double())
        v = torch.where(v >= 0.4, 0.0, v)
    mean = torch.tanh(torch.stack(first).mean(0) @ net.mix.weight)
    v, w, last = torch.zeros(30, 6).double(), torch.zeros(30, 8).double(), torch.zeros(30, 4).double()
    total = torch.zeros(30, 3).double()
    for t in range(STEPS):
        spikes = (mean > -0.9 + 1.8 * t / (STEPS - 1)).double()
        v = v + (spikes @ net.fc2.weight.T + net.fc2.bias - v) / 1.3
        second = (v >= 0.3).double()
        v = v * (1 - second)
        w = w + (torch.cat([second, last], 1) @ net.loop.inner.fc.weight.T + net.loop.inner.fc.bias - w) / 1.5
        fired = (w >= 0.5).double()
        w = w * (1 - fired)
        last = torch.stack([fired[:, 2 * k] * (1 - index[:, t, k]) + fired[:, 2 * k + 1] * index[:, t, k]
                            for k in range(4)], 1)  # fmt: skip
        assert np.array_equal(run.spikes["if1"][:, t], first[t].numpy())
        assert np.array_equal(run.spikes["lif2"][:, t], second.numpy())
        assert np.array_equal(run.spikes["loop.inner.lif"][:, t], fired.numpy())
        total += torch.cat([last, first[t]], 1) @ net.fc3.weight.T + net.fc3.bias
    assert np.allclose(run.outputs["output"], torch.sigmoid(total / STEPS).numpy(), atol=1e-12)


def test_a_file_needs_no_class_and_is_run_as_reference(saved: Path, tmp_path: Path) -> None:
    program = neurocompile.compile(saved)
    inputs = given(20, seed=9)
    assert neurocompile.validate(program, inputs, reference=saved).stages[0].mismatches == 0
    live = neurocompile.validate(program, inputs, reference=mixed(), layout="TN")
    assert live.stages[0].passed
    program.save(tmp_path / "out")
    again = load_program(tmp_path / "out")
    assert again.files() == program.files()
    a, b = (neurocompile.simulate(p, inputs).outputs["output"] for p in (program, again))
    assert np.array_equal(a, b)
    with torch.no_grad():
        expected = mixed().double()(*in_torch_layout(inputs)).numpy()
    assert np.abs(a - expected).max() < 0.05


def test_the_same_model_gives_the_same_bytes(saved: Path) -> None:
    assert neurocompile.compile(saved).files() == neurocompile.compile(saved).files()


def test_an_altered_host_region_is_refused(saved: Path, tmp_path: Path) -> None:
    neurocompile.compile(saved).save(tmp_path / "out")
    file = tmp_path / "out" / "host" / "0.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match=r"altered[\s\S]*export") as caught:
        load_program(tmp_path / "out")
    assert "0.onnx" in str(caught.value)


@pytest.mark.parametrize("reference", [False, True])
def test_stages_count_as_one_network_would(saved: Path, reference: bool) -> None:
    """Given what the hosts feed, the same graph in one piece does and counts the same."""
    program, inputs = neurocompile.compile(saved), given(8, seed=3)
    executor = IntegerExecutor(program, reference=reference)
    done = executor.run(inputs, membranes=True)
    whole = {name: program.integers_of(name, {**inputs, **done.values}[name])[0] for name in program.inputs}
    plain = Graph(iter(program.integer))
    known = simulate_integers(plain, program.arithmetic, whole, membranes=True)
    for name in known.spikes:
        assert np.array_equal(done.spikes[name], known.spikes[name])
        assert np.array_equal(done.membranes[name], known.membranes[name])
    for name, counts in known.counts.layers.items():
        for kind, expected in vars(counts).items():
            assert np.array_equal(getattr(done.counts.layers[name], kind), expected), (name, kind)
    assert done.fired == {name: int(x.sum()) for name, x in known.spikes.items()}


def test_threads_and_batches_change_nothing(saved: Path) -> None:
    program, inputs = neurocompile.compile(saved), given(150, seed=4)
    together = neurocompile.simulate(program, inputs)
    for k in (0, 77, 149):
        alone = neurocompile.simulate(program, {name: x[k : k + 1] for name, x in inputs.items()})
        assert np.array_equal(alone.outputs["output"][0], together.outputs["output"][k])
        assert all(np.array_equal(s[0], together.spikes[name][k]) for name, s in alone.spikes.items())


def test_stages(saved: Path) -> None:
    program = neurocompile.compile(saved)
    stages = Hosted(program.integer, STEPS).stages
    assert [(stage.loop, [region.kind for region in stage.regions]) for stage in stages] == [
        (False, ["Mix", "Generate"]),
        (False, []),
        (True, ["Pick"]),
        (False, ["sigmoid"]),
    ]
    fired = [{n.name for n in stage.graph.of(Neuron)} for stage in stages if stage.graph]
    assert fired == [{"if1"}, {"lif2"}, {"loop.inner.lif"}, set()]
    last = stages[-1].graph
    assert last is not None
    assert {n.name for n in last.of(Input)} == {"loop.inner.pick", "if1"}


def test_what_crosses_is_reported(saved: Path) -> None:
    mix, generate, pick, sigmoid = host_regions(neurocompile.compile(saved))
    assert (mix.macs, mix.from_chip, mix.to_chip) == (36, STEPS * 6, 0)
    assert (generate.reads, generate.to_chip) == (("mix",), STEPS * 6)
    assert (pick.per_step, pick.from_chip, pick.to_chip) == (True, STEPS * 8, STEPS * 4)
    assert (sigmoid.output, sigmoid.to_chip, sigmoid.numbers_out) == ("output", 0, 3)


# -- layouts -----------------------------------------------------------------------------------------------------------


@neurocompile.host
class Squash(nn.Module):
    """Of each number alone: any layout will do."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.sigmoid(3 * x) - 0.7


class Steps(nn.Module):
    """The same network in the layout that it is made for."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layout = layout
        mode = "s" if layout == "loop" else "m"
        self.conv = layer.Conv2d(2, 4, 3, padding=1, step_mode=mode)
        self.lif = neuron.LIFNode(v_threshold=0.15, step_mode=mode)
        self.squash = Squash()
        self.conv2 = layer.Conv2d(4, 3, 3, step_mode=mode)
        self.lif2 = neuron.LIFNode(v_threshold=0.1, step_mode=mode)

    def forward(self, x: Tensor) -> Tensor:
        match self.layout:
            case "NT":
                x = x.transpose(0, 1)
            case "N..T":
                x = x.permute(4, 0, 1, 2, 3)
            case "fold":
                x = x.unflatten(0, (STEPS, -1))
            case "N":
                x = x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)
        y = self.lif(self.conv(x))
        if self.layout == "fold":
            y = self.squash(y.flatten(0, 1)).unflatten(0, (STEPS, -1))
        elif self.layout == "N..T":
            y = self.squash(y.permute(1, 2, 3, 4, 0)).permute(4, 0, 1, 2, 3)
        elif self.layout == "NT":
            y = self.squash(y.transpose(0, 1)).transpose(0, 1)
        else:
            y = self.squash(y)
        y = self.lif2(self.conv2(y))
        return y if self.layout == "loop" else y.mean(0)


@pytest.mark.parametrize("layout", ["TN", "NT", "N..T", "fold", "loop", "N"])
def test_every_layout(layout: Any) -> None:
    net = Steps(layout).eval().requires_grad_(False)
    numbers = np.random.default_rng(5)
    x = numbers.random((6, 2, 4, 5) if layout == "N" else (6, STEPS, 2, 4, 5))
    model = TorchModel.from_module(net, (2, 4, 5), STEPS, layout)
    program = neurocompile.compile(model, calibrate=x)
    stage = neurocompile.validate(program, x, reference=model).stages[0]
    assert stage.passed
    assert stage.compared == 6 * STEPS * (4 * 20 + 3 * 2 * 3)
    assert all(0.05 < rate < 0.95 for rate in stage.firing_rates.values())
    (region,) = program.integer.hosts.values()
    assert region.per_step == (layout == "loop")
    functional.reset_net(net)


# -- what is refused ---------------------------------------------------------------------------------------------------


@neurocompile.host
class OverTheBatch(nn.Module):
    """It takes all samples together."""

    def forward(self, x_seq: Tensor) -> Tensor:
        return x_seq.mean(1)


@neurocompile.host
class Unexportable(nn.Module):
    """Something that ONNX does not have."""

    def forward(self, x_seq: Tensor) -> Tensor:
        return torch.linalg.svd(x_seq.mean(0)[:, None].expand(-1, 2, -1))[2][:, 0]


class Around(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.fc = layer.Linear(5, 6, step_mode="m")
        self.spike = neuron.IFNode(step_mode="m")
        self.part = part

    def forward(self, x_seq: Tensor) -> Tensor:
        made: Tensor = self.part(self.spike(self.fc(x_seq)))
        return made


@pytest.mark.parametrize(("part", "says"), [(OverTheBatch(), "batch"), (Unexportable(), "host region")])
def test_what_is_no_host_region(part: nn.Module, says: str) -> None:
    with pytest.raises(UnsupportedModel, match=says) as caught:
        TorchModel.from_module(Around(part).eval(), (5,), STEPS, "TN")
    assert "part" in str(caught.value)


def test_ranges_need_data() -> None:
    model = TorchModel.from_module(Steps("TN").eval(), (2, 4, 5), STEPS, "TN")
    with pytest.raises(UsageError, match="calibrate"):
        neurocompile.compile(model)


def test_no_stream_through_a_host(saved: Path) -> None:
    with pytest.raises(UsageError, match="stream"):
        neurocompile.simulate(neurocompile.compile(saved), given(2), stream=True)


def test_a_region_reads_what_there_is(saved: Path) -> None:
    graph = neurocompile.compile(saved).integer
    without = [node for node in graph if not (isinstance(node.op, Output) and node.name == "mix.reads")]
    with pytest.raises(InvalidGraph, match=r"mix\.reads"):
        Graph(without, graph.hosts.values())
