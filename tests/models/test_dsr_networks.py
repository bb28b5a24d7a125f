"""The DSR networks against their equations, written out step by step; and their graphs against torch.

SpikingJelly's DSR nodes give float32 whatever they are given, so the module runs in float64 with the transcribed nodes
of tests/exactness.py, which tests/frontends/test_dsr.py holds against the originals.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based.neuron import DSRIFNode, DSRLIFNode
from torch import Tensor, nn

import neurocompile
from neurocompile.errors import UnsupportedModel
from neurocompile.frontends import load_model
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.ir import interpret
from neurocompile.ir.ops import Integrator, Output
from neurocompile.models.dsr import CONFIGURATIONS, IF, LIF, VGG11, MeanRate, PreActResNet18, WeightedRate
from tests.exactness import Recorded, TranscribedDsr, compare

T, N = 6, 5
MODELS: dict[str, IF | LIF] = {
    "IF": IF(T),
    "LIF": LIF(T, v_threshold=0.6, delta_t=0.1, alpha=0.5, lower_bound=0.001),
    "LIF, slow": LIF(T),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small tensors: threads would only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -- random networks that fire -----------------------------------------------------------------------------------------


def calibrated(net: nn.Module, x_seq: Tensor, seed: int = 0) -> nn.Module:
    """Random weights in float64; norms with the statistics of what reaches them, thresholds for some 30 % of spikes."""
    torch.manual_seed(seed)
    net = net.double().eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 1.0 / module.weight[0].numel() ** 0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0.0, 0.2)

    def norm(bn: Any, args: Any) -> None:
        (x,) = args
        over = tuple(i for i in range(x.ndim) if i != 2)
        bn.running_mean.copy_(x.mean(over))
        bn.running_var.copy_(x.var(over, correction=0) + 0.01)
        nn.init.uniform_(bn.weight, 0.5, 1.5)
        nn.init.normal_(bn.bias, 0.2, 0.2)

    def fire(node: Any, args: Any) -> None:
        charge = args[0].sum(0) / len(args[0])
        gain = 1 - math.exp(-node.delta_t / node.tau) if isinstance(node, DSRLIFNode) else 1.0
        node.v_threshold.fill_(float(gain * charge.clamp(min=0).mean()) / 0.3)
        node.v_threshold_lower_bound = min(node.v_threshold_lower_bound, float(node.v_threshold) / 2)

    handles = []
    for module in net.modules():
        if isinstance(module, DSRIFNode | DSRLIFNode):
            handles.append(module.register_forward_pre_hook(fire))
            handles.append(module.register_forward_hook(lambda module, args, out: out.double()))
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(norm))
    net(x_seq)
    for handle in handles:
        handle.remove()
    return net


def images(shape: tuple[int, ...], count: int = N, timesteps: int = T, constant: bool = True) -> Tensor:
    """[T, N, *shape] in 0..1, the same at every step or not."""
    x = torch.rand(1 if constant else timesteps, count, *shape, generator=torch.Generator().manual_seed(3))
    return x.double().expand(timesteps, *x.shape[1:])


# -- the equations -----------------------------------------------------------------------------------------------------


class Transcription:
    """One network, one step at a time; weights by their names in the module."""

    def __init__(self, weights: Mapping[str, Tensor], model: IF | LIF) -> None:
        self.w, self.model = weights, model
        self.v: dict[str, Tensor] = {}
        self.fired: dict[str, list[Tensor]] = {}
        self.margin: dict[str, list[Tensor]] = {}
        self.sent: list[Tensor] = []

    def normalized(self, x: Tensor, name: str) -> Tensor:
        mean, var, scale, shift = (
            self.w[f"{name}.{part}"].view(1, -1, *(1,) * (x.ndim - 2))
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return scale * (x - mean) / torch.sqrt(var + 1e-5) + shift

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.w[f"{name}.weight"]
        return F.conv2d(x, weight, self.w.get(f"{name}.bias"), stride, weight.shape[-1] // 2)

    def neuron(self, current: Tensor, name: str) -> Tensor:
        """Eqs. 4, 5 and 20, 3c; what is sent is that of Eqs. 7 and 8."""
        model, v_th = self.model, self.w[f"{name}.v_threshold"]
        v = self.v.get(name, torch.zeros_like(current))
        if isinstance(model, LIF):
            keep = math.exp(-model.delta_t / model.tau)
            u = keep * v + (1 - keep) * current
        else:
            u = v + current
        s = (u >= model.alpha * v_th).double()
        self.v[name] = u - v_th * s
        self.fired.setdefault(name, []).append(s)
        self.margin.setdefault(name, []).append((u - model.alpha * v_th).abs())
        return s * v_th / model.delta_t if isinstance(model, LIF) else s * v_th

    def linear(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w["fc.weight"].T + self.w["fc.bias"]

    def recorded(self) -> Recorded:
        """The representation of the last layer's spikes (section 3.4), and every spike ``[N, T, ...]``."""
        steps = len(self.sent)
        if isinstance(self.model, LIF):
            rates = [
                math.exp(-self.model.delta_t / self.model.tau * (steps - number)) for number in range(1, steps + 1)
            ]
        else:
            rates = [1.0] * steps
        score = torch.zeros_like(self.sent[0])
        for rate, sent in zip(rates, self.sent):
            score = score + rate * sent
        spikes = {name: torch.stack(s, 1).to(torch.int8).numpy() for name, s in self.fired.items()}
        margins = {name: torch.stack(m, 1).numpy() for name, m in self.margin.items()}
        thresholds = {name: float(self.w[f"{name}.v_threshold"]) for name in spikes}
        return Recorded([(score / sum(rates)).numpy()], spikes, margins, thresholds)


def preact_resnet(weights: Mapping[str, Tensor], x_seq: Tensor, model: IF | LIF, stages: int) -> Recorded:
    written = Transcription(weights, model)
    for x in x_seq:
        x = written.conv(x, "conv")
        for number in range(2 * stages):
            name, stride = f"blocks.{number}", 2 if number and number % 2 == 0 else 1
            spikes = written.neuron(written.normalized(x, f"{name}.bn1"), f"{name}.neuron1")
            y = written.conv(spikes, f"{name}.conv1", stride)
            y = written.neuron(written.normalized(y, f"{name}.bn2"), f"{name}.neuron2")
            skip = written.conv(spikes, f"{name}.skip", stride) if f"{name}.skip.weight" in weights else spikes
            x = written.conv(y, f"{name}.conv2") + skip
        x = written.neuron(written.normalized(x, "bn"), "neuron")
        x = written.neuron(x.mean((2, 3), keepdim=True), "pooled_neuron")
        written.sent.append(written.neuron(written.normalized(written.linear(x), "fc_bn"), "last_neuron"))
    return written.recorded()


def vgg11(weights: Mapping[str, Tensor], x_seq: Tensor, model: IF | LIF, counts: tuple[int, ...]) -> Recorded:
    written = Transcription(weights, model)
    head = int((weights["fc.weight"].shape[1] // weights[f"features.{_last(weights)}.weight"].shape[0]) ** 0.5)
    for x in x_seq:
        place = 0
        for count in counts:
            for _ in range(count):
                c = written.normalized(written.conv(x, f"features.{place}"), f"features.{place + 1}")
                x = written.neuron(c, f"features.{place + 2}")
                place += 4
            x = F.avg_pool2d(x, 2)
            place += 1
        x = F.adaptive_avg_pool2d(x, head)
        written.sent.append(written.neuron(written.normalized(written.linear(x), "fc_bn"), "last_neuron"))
    return written.recorded()


def _last(weights: Mapping[str, Tensor]) -> int:
    """The place of the last convolution of VGG-11."""
    return max(int(name.split(".")[1]) for name, w in weights.items() if name.startswith("features") and w.ndim == 4)


Make = Callable[[IF | LIF], nn.Module]
Written = Callable[[Mapping[str, Tensor], Tensor, IF | LIF], Recorded]
CASES: dict[str, tuple[tuple[int, int, int], int, Make, Written]] = {
    "preact-resnet18": (
        (3, 16, 16),
        19,
        lambda model: PreActResNet18(model, (4, 4, 6, 8)),
        lambda w, x, model: preact_resnet(w, x, model, 4),
    ),
    "preact-resnet18, two stages": (
        (1, 8, 8),
        11,
        lambda model: PreActResNet18(model, (6, 8), channels=1, classes=4),
        lambda w, x, model: preact_resnet(w, x, model, 2),
    ),
    "vgg11, 7x7 from 1x1": (
        (2, 48, 48),
        9,
        lambda model: VGG11(model, ((4,), (4,), (4, 6), (6, 6), (6, 8))),
        lambda w, x, model: vgg11(w, x, model, (1, 1, 2, 2, 2)),
    ),
    "vgg11, small": (
        (2, 8, 8),
        4,
        lambda model: VGG11(model, ((4,), (6, 6)), head=(2, 2), classes=5),
        lambda w, x, model: vgg11(w, x, model, (1, 2)),
    ),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", CASES)
def test_a_network_is_the_papers(name: str, kind: str) -> None:
    """The module, its graph as lowered and its reference run fire as the equations do; outputs agree to 1e-9."""
    shape, layers, make, written = CASES[name]
    x_seq = images(shape, constant=shape[0] != 2)
    if shape[0] == 2:
        x_seq = (x_seq > 0.8).double()
    net = calibrated(make(MODELS[kind]), x_seq)
    expected = written(net.state_dict(), x_seq, MODELS[kind])
    assert len(expected.spikes) == layers
    rates = {path: float(spikes.mean()) for path, spikes in expected.spikes.items()}
    assert all(0.05 < rate < 0.6 for rate in rates.values()), rates

    model = TorchModel.from_module(net, shape, T)
    inputs = {"x_seq": x_seq.transpose(0, 1).numpy()}
    run, reference = interpret(model.graph, inputs, T), model.run(inputs)
    _agree(expected, run.spikes, run.outputs["output"])
    _agree(expected, reference.spikes, reference.outputs["output"])

    heard: dict[str, Any] = {}
    transcribed = copy.deepcopy(net)
    for path, module in net.named_modules():
        if isinstance(module, DSRIFNode | DSRLIFNode):
            node = TranscribedDsr(module)
            node.register_forward_hook(
                lambda module, args, out, path=path: heard.update({path: (out != 0).transpose(0, 1).numpy()})
            )
            transcribed.set_submodule(path, node)
    scores = transcribed(x_seq).numpy()
    _agree(expected, {path: spikes.astype(np.int8) for path, spikes in heard.items()}, scores)


def _agree(expected: Recorded, spikes: Mapping[str, np.ndarray], scores: np.ndarray) -> None:
    assert set(spikes) == set(expected.spikes)
    tied, mismatches, where = compare(expected, spikes)
    assert mismatches == 0, where
    assert tied.sum() == 0
    np.testing.assert_allclose(scores, expected.outputs[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if "digits" in name])
def test_a_small_network_compiles_exactly(name: str, tmp_path: Any) -> None:
    """From the module, and from its file, to a program, folded: every spike on images of the size of the digits."""
    configuration = CONFIGURATIONS[name]
    x_seq = images(configuration.image, 8, configuration.timesteps)
    net = calibrated(configuration.make(), x_seq)
    neurocompile.save(net, tmp_path / "model.pt", x_seq)
    program = neurocompile.compile(tmp_path / "model.pt")
    for reference in (net, tmp_path / "model.pt"):
        lowering = neurocompile.validate(program, x_seq[0].numpy(), reference=reference).stages[0]
        assert lowering.passed
        assert (lowering.mismatches, lowering.ties) == (0, 0)
        assert all(0.05 < rate < 0.6 for rate in lowering.firing_rates.values())
        assert lowering.compared > 10_000


# -- the readouts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timesteps", [1, 2, 20])
def test_the_weighted_rate_is_the_papers(timesteps: int) -> None:
    """Against the sums of section 3.4; and read from the graph as the last value of a leaky membrane."""
    decay = math.exp(-0.05 / 1.0)
    x = torch.randn(timesteps, 3, 4, dtype=torch.float64)
    weights = [decay ** (timesteps - n) for n in range(1, timesteps + 1)]
    expected = sum(w * step for w, step in zip(weights, x)) / sum(weights)
    readout = WeightedRate(decay)
    torch.testing.assert_close(readout(x), expected, rtol=1e-12, atol=1e-12)  # type: ignore[arg-type]
    model = TorchModel.from_module(nn.Sequential(readout).eval(), (4,), timesteps, "TN")
    (name,) = model.input_shapes
    found = interpret(model.graph, {name: x.transpose(0, 1).numpy()}, timesteps)
    np.testing.assert_allclose(found.outputs["output"], expected.numpy(), rtol=1e-12, atol=1e-12)  # type: ignore[union-attr]
    (output,) = model.graph.of(Output)
    assert output.op.read == "last"  # type: ignore[union-attr]
    assert isinstance(model.graph[output.inputs[0]].op, Integrator)


def test_a_rate_without_decay_is_the_mean() -> None:
    x = torch.rand(7, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(WeightedRate(1.0)(x), MeanRate()(x))
    torch.testing.assert_close(MeanRate()(x), x.mean(0))


def test_the_weighted_rate_reads_time_first() -> None:
    with pytest.raises(UnsupportedModel, match="keep time and batch apart"):
        TorchModel.from_module(nn.Sequential(WeightedRate(0.9)).eval(), (4,), T, "NT")


def test_a_file_keeps_the_weighted_rate(tmp_path: Any) -> None:
    net = nn.Sequential(nn.Linear(4, 3), WeightedRate(0.9)).eval()
    neurocompile.save(net, tmp_path / "model.pt", torch.rand(T, N, 4), layout="TN")
    x = torch.rand(T, N, 4, dtype=torch.float64)
    model = load_model(tmp_path / "model.pt")
    found = model.run({name: x.transpose(0, 1).numpy() for name in model.input_shapes})
    np.testing.assert_allclose(found.outputs["output"], net.double()(x).detach().numpy(), rtol=1e-12)


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_named_network_reads_its_images(name: str) -> None:
    """Shapes alone, without memory."""
    configuration = CONFIGURATIONS[name]
    with torch.device("meta"):
        net = configuration.make().eval()
        scores = net(torch.zeros(configuration.timesteps, 2, *configuration.image))
    assert scores.shape == (2, 10)
    nodes = [module for module in net.modules() if isinstance(module, DSRIFNode | DSRLIFNode)]
    assert {node.T for node in nodes} == {configuration.timesteps}
    assert all(isinstance(node.v_threshold, nn.Parameter) for node in nodes)


def test_the_sizes_are_the_published_ones() -> None:
    """The parameters of the authors' networks, counted by hand: convolutions, norms, thresholds, linear layer."""

    def convolutions(*pairs: tuple[int, int]) -> int:
        return sum(9 * a * b + b for a, b in pairs)

    with torch.device("meta"):
        resnet, vgg = PreActResNet18(IF()), VGG11(LIF())
    widths = [64, 64, 64, 64, 64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512]
    expected = 9 * 3 * 64 + convolutions(*pairwise(widths))
    expected += sum(a * b + b for a, b in ((64, 128), (128, 256), (256, 512)))
    expected += 2 * sum(widths) + 19 + 512 * 10 + 10 + 20
    assert sum(p.numel() for p in resnet.parameters()) == expected
    widths = [2, 64, 128, 256, 256, 512, 512, 512, 512]
    expected = convolutions(*pairwise(widths)) + 2 * sum(widths[1:]) + 9 + 512 * 49 * 10 + 10 + 20
    assert sum(p.numel() for p in vgg.parameters()) == expected


def test_the_settings_are_the_published_ones() -> None:
    node, leaky = (model.neuron().requires_grad_(False) for model in (IF(), LIF()))
    assert isinstance(node, DSRIFNode)
    assert (node.T, float(node.v_threshold), node.alpha, node.v_threshold_lower_bound) == (20, 6.0, 0.5, 0.01)
    assert isinstance(leaky, DSRLIFNode)
    assert (leaky.T, leaky.tau, leaky.delta_t, leaky.alpha) == (20, 1.0, 0.05, 0.3)
    assert (round(float(leaky.v_threshold), 6), leaky.v_threshold_lower_bound) == (0.3, 0.0005)
