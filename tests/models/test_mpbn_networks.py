"""The MPBN networks against their equations, written out step by step; and their graphs against torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import neurocompile
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.ir import interpret
from neurocompile.models import resnet, vgg
from neurocompile.models.mpbn import MPBNLIF, LayerNeuron, channel_wise, element_wise
from neurocompile.models.resnet import CifarResNet, ImageNetResNet, ResNet18, ResNet19, ResNet20, ResNet34
from neurocompile.models.vgg import VGG, VGG16
from tests.exactness import Recorded, compare

T, N = 4, 6
CONFIGURATIONS = {**resnet.CONFIGURATIONS, **vgg.CONFIGURATIONS}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small tensors: threads would only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -- random networks that fire -----------------------------------------------------------------------------------------


def calibrated(net: nn.Module, x_seq: Tensor, seed: int = 0) -> nn.Module:
    """Random weights in float64; norms with the statistics of what reaches them, some gammas of MPBN below 0."""
    torch.manual_seed(seed)
    net = net.double().eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 1.0 / module.weight[0].numel() ** 0.5)

    def norm(bn: Any, args: Any) -> None:
        (x,) = args
        bn.running_var.copy_(x.var((0, 1, 3, 4), correction=0) + 0.01)
        bn.running_mean.copy_(x.mean((0, 1, 3, 4)))
        nn.init.uniform_(bn.weight, 0.5, 1.5)
        nn.init.normal_(bn.bias, 0.0, 0.2)

    def fire(node: MPBNLIF, args: Any) -> None:
        u, seq = torch.zeros_like(args[0][0]), []
        for c in args[0]:
            u = node.tau * u + c
            seq.append(u)
        found = torch.stack(seq)
        over: tuple[int, ...] = (0, 1) if node.element_wise_shape else (0, 1, 3, 4)
        node.vbn.running_mean.copy_(found.mean(over).flatten())  # type: ignore[union-attr]
        node.vbn.running_var.copy_(found.var(over, correction=0).flatten() + 0.01)  # type: ignore[union-attr]
        nn.init.uniform_(node.vbn.weight, 0.5, 1.5)
        node.vbn.weight[::4] *= -1
        nn.init.uniform_(node.vbn.bias, -0.4, 0.2)

    handles = []
    for module in net.modules():
        if isinstance(module, MPBNLIF):
            handles.append(module.register_forward_pre_hook(fire))
        elif isinstance(module, nn.BatchNorm2d) and hasattr(module, "step_mode"):
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

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.w = weights
        self.u: dict[str, Tensor] = {}
        self.fired: dict[str, list[Tensor]] = {}
        self.margin: dict[str, list[Tensor]] = {}

    def normalized(self, x: Tensor, name: str) -> Tensor:
        """Eqs. 4 and 5, with the statistics of training."""
        mean, var, scale, shift = (
            self.w[f"{name}.{part}"].view(1, -1, *(1,) * (x.ndim - 2))
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return scale * (x - mean) / torch.sqrt(var + 1e-5) + shift

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.w[f"{name}.weight"]
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    def neuron(self, c: Tensor, name: str, tau: float = 0.25, v_th: float = 0.5) -> Tensor:
        """Eqs. 1, 2, 6, 7 and 8; Eq. 13 where there is a norm a neuron."""
        u = tau * self.u.get(name, torch.zeros_like(c)) + c
        if self.w[f"{name}.vbn.weight"].numel() == c.shape[1]:
            compared = self.normalized(u, f"{name}.vbn")
        else:
            compared = self.normalized(u.flatten(1), f"{name}.vbn").view_as(u)
        o = (compared > v_th).double()
        self.u[name] = u * (1 - o)
        self.fired.setdefault(name, []).append(o)
        self.margin.setdefault(name, []).append((compared - v_th).abs())
        return o

    def block(self, x: Tensor, name: str, stride: int) -> Tensor:
        y = self.neuron(self.normalized(self.conv(x, f"{name}.conv1", stride), f"{name}.bn1"), f"{name}.neuron1")
        c = self.normalized(self.conv(y, f"{name}.conv2"), f"{name}.bn2")
        if f"{name}.skip.0.weight" in self.w:
            skip = F.conv2d(x, self.w[f"{name}.skip.0.weight"], None, stride)
            c = c + self.normalized(skip, f"{name}.skip.1")
        else:
            c = c + x
        return self.neuron(c, f"{name}.neuron2")

    def linear(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w["fc.weight"].T + self.w["fc.bias"]

    def recorded(self, scores: list[Tensor]) -> Recorded:
        """Eq. 3, and every spike ``[N, T, ...]``."""
        spikes = {name: torch.stack(o, 1).to(torch.int8).numpy() for name, o in self.fired.items()}
        margins = {name: torch.stack(m, 1).numpy() for name, m in self.margin.items()}
        return Recorded([(sum(scores) / len(scores)).numpy()], spikes, margins, dict.fromkeys(spikes, 0.5))  # type: ignore[union-attr]


def cifar_resnet(weights: Mapping[str, Tensor], x_seq: Tensor, blocks: Sequence[int]) -> Recorded:
    written, scores = Transcription(weights), []
    for x in x_seq:
        y = written.neuron(written.normalized(written.conv(x, "conv"), "bn"), "neuron")
        number = 0
        for stage, count in enumerate(blocks):
            for place in range(count):
                y = written.block(y, f"blocks.{number}", 2 if stage > 0 and place == 0 else 1)
                number += 1
        scores.append(written.linear(y.mean((2, 3))))
    return written.recorded(scores)


def imagenet_resnet(weights: Mapping[str, Tensor], x_seq: Tensor, blocks: Sequence[int], pool: str) -> Recorded:
    written, scores = Transcription(weights), []
    for x in x_seq:
        y = written.neuron(written.normalized(written.conv(x, "conv", 2), "bn"), "neuron")
        y = F.avg_pool2d(y, 3, 2, 1) if pool == "avg" else F.max_pool2d(y, 3, 2, 1)
        number = 0
        for stage, count in enumerate(blocks):
            for place in range(count):
                y = written.block(y, f"blocks.{number}", 2 if stage > 0 and place == 0 else 1)
                number += 1
        scores.append(written.linear(y.mean((2, 3))))
    return written.recorded(scores)


def vgg_network(weights: Mapping[str, Tensor], x_seq: Tensor, counts: Sequence[int], pool: str) -> Recorded:
    written, scores = Transcription(weights), []
    for x in x_seq:
        place = 0
        for count in counts:
            for _ in range(count):
                c = written.normalized(written.conv(x, f"features.{place}"), f"features.{place + 1}")
                x = written.neuron(c, f"features.{place + 2}")
                place += 3
            x = F.avg_pool2d(x, 2) if pool == "avg" else F.max_pool2d(x, 2)
            place += 1
        scores.append(written.linear(x))
    return written.recorded(scores)


STAGES = ((4, 2), (6, 2), (6, 3), (8, 3), (8, 3))
Make = Callable[[LayerNeuron], nn.Module]
Written = Callable[[Mapping[str, Tensor], Tensor], Recorded]
CASES: dict[str, tuple[tuple[int, int, int], int, Make, Written]] = {
    "resnet20": (
        (3, 12, 12),
        19,
        lambda neuron: ResNet20((4, 6, 8), (3, 12, 12), 10, neuron),
        lambda w, x: cifar_resnet(w, x, (3, 3, 3)),
    ),
    "resnet20, odd sides": (
        (2, 11, 9),
        19,
        lambda neuron: ResNet20((4, 6, 8), (2, 11, 9), 5, neuron),
        lambda w, x: cifar_resnet(w, x, (3, 3, 3)),
    ),
    "resnet19": (
        (3, 12, 12),
        17,
        lambda neuron: ResNet19((4, 6, 8), (3, 12, 12), 10, neuron),
        lambda w, x: cifar_resnet(w, x, (3, 3, 2)),
    ),
    "resnet18": (
        (3, 32, 32),
        17,
        lambda neuron: ResNet18((4, 4, 6, 8), (3, 32, 32), 10, neuron),
        lambda w, x: imagenet_resnet(w, x, (2, 2, 2, 2), "avg"),
    ),
    "resnet34, max": (
        (3, 32, 40),
        33,
        lambda neuron: ResNet34((4, 4, 6, 8), (3, 32, 40), 10, neuron, "max"),
        lambda w, x: imagenet_resnet(w, x, (3, 4, 6, 3), "max"),
    ),
    "vgg16": (
        (3, 32, 32),
        13,
        lambda neuron: VGG(STAGES, (3, 32, 32), 10, neuron),
        lambda w, x: vgg_network(w, x, (2, 2, 3, 3, 3), "avg"),
    ),
    "vgg16, max": (
        (3, 32, 32),
        13,
        lambda neuron: VGG(STAGES, (3, 32, 32), 10, neuron, "max"),
        lambda w, x: vgg_network(w, x, (2, 2, 3, 3, 3), "max"),
    ),
}


@pytest.mark.parametrize("neuron", [channel_wise, element_wise], ids=["channel-wise", "element-wise"])
@pytest.mark.parametrize("name", CASES)
def test_a_network_is_the_papers(name: str, neuron: LayerNeuron) -> None:
    """The module, and its graph as lowered, fire as the equations do; outputs agree to 1e-9."""
    shape, layers, make, written = CASES[name]
    x_seq = images(shape, constant=name != "resnet19")
    net = calibrated(make(neuron), x_seq)
    expected = written(net.state_dict(), x_seq)
    assert len(expected.spikes) == layers
    rates = {path: float(spikes.mean()) for path, spikes in expected.spikes.items()}
    assert all(0.05 < rate < 0.6 for rate in rates.values()), rates

    model = TorchModel.from_module(net, shape, T)
    run = interpret(model.graph, {"x_seq": x_seq.transpose(0, 1).numpy()}, T)
    _agree(expected, run.spikes, run.outputs["output"])

    heard: dict[str, Any] = {}
    for path, module in net.named_modules():
        if isinstance(module, MPBNLIF):
            module.register_forward_hook(
                lambda module, args, out, path=path: heard.update({path: out.transpose(0, 1).to(torch.int8).numpy()})
            )
    _agree(expected, heard, net(x_seq).numpy())


def _agree(expected: Recorded, spikes: Mapping[str, np.ndarray], scores: np.ndarray) -> None:
    assert set(spikes) == set(expected.spikes)
    tied, mismatches, where = compare(expected, spikes)
    assert mismatches == 0, where
    assert tied.sum() == 0
    np.testing.assert_allclose(scores, expected.outputs[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if "digits" in name])
def test_a_small_network_compiles_exactly(name: str) -> None:
    """From the module to a program, folded: every spike on images of the size of the digits."""
    configuration = CONFIGURATIONS[name]
    x_seq = images(configuration.image, 8, configuration.timesteps)
    net = calibrated(configuration.make(), x_seq)
    program = neurocompile.compile(net, input_shape=configuration.image, timesteps=configuration.timesteps)
    lowering = neurocompile.validate(program, x_seq[0].numpy(), reference=net).stages[0]
    assert lowering.passed
    assert (lowering.mismatches, lowering.ties) == (0, 0)
    assert all(0.05 < rate < 0.6 for rate in lowering.firing_rates.values())
    assert lowering.compared > 10_000


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_named_network_reads_its_images(name: str) -> None:
    """Shapes alone, without memory: also those of each neuron's norm."""
    configuration = CONFIGURATIONS[name]
    with torch.device("meta"):
        net = configuration.make().eval()
        scores = net(torch.zeros(configuration.timesteps, 2, *configuration.image))
    assert scores.shape == (2, 1000 if configuration.image[-1] == 224 else 10)


def _convolutions(net: nn.Module) -> list[tuple[int, int]]:
    """Channels and kernels of all convolutions but the skips', in order."""
    found = [(path, m) for path, m in net.named_modules() if isinstance(m, nn.Conv2d)]
    return [(m.out_channels, m.kernel_size[0]) for path, m in found if "skip" not in path]


def test_the_sizes_are_the_published_ones() -> None:
    def stages(*widths_and_counts: tuple[int, int]) -> list[tuple[int, int]]:
        return [(width, 3) for width, count in widths_and_counts for _ in range(count)]

    with torch.device("meta"):
        assert _convolutions(ResNet20()) == stages((16, 7), (32, 6), (64, 6))
        assert _convolutions(CONFIGURATIONS["mpbn-resnet20-wide"].make()) == stages((128, 7), (256, 6), (512, 6))
        assert _convolutions(ResNet19()) == stages((128, 7), (256, 6), (512, 4))
        assert _convolutions(ResNet18()) == [(64, 7), *stages((64, 4), (128, 4), (256, 4), (512, 4))]
        assert _convolutions(ResNet34()) == [(64, 7), *stages((64, 6), (128, 8), (256, 12), (512, 6))]
        assert _convolutions(VGG16()) == stages((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
        assert isinstance(ResNet20(), CifarResNet)
        assert isinstance(ResNet34(), ImageNetResNet)
        for name, net in (("element-wise", ResNet20(neuron=element_wise)), ("channel-wise", ResNet20())):
            norms = sum(m.vbn.num_features for m in net.modules() if isinstance(m, MPBNLIF))
            per = (32 * 32, 16 * 16, 8 * 8) if name == "element-wise" else (1, 1, 1)
            assert norms == 7 * 16 * per[0] + 6 * 32 * per[1] + 6 * 64 * per[2]
