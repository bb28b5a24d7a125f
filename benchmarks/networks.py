"""The networks that the engines are timed on: five shapes from the literature with random weights and lifelike spikes.

Everything is made of SpikingJelly modules in multi-step mode ([T, N, C, H, W]). Weights are random; batch norms are
calibrated until every layer of neurons fires as rarely as the layers of trained networks do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from torch.nn import functional as F

from neurocompile.compiler import Options, compile_graph
from neurocompile.frontends.pytorch.model import TorchModel
from neurocompile.ir.ops import Array
from neurocompile.models.dsr import PreActBlock
from neurocompile.models.mpbn import MPBNLIF
from neurocompile.models.resnet import ResNet20, ResNet34
from neurocompile.models.vgg import VGG16
from neurocompile.program import Program
from neurocompile.simulator import simulate_integers

__all__ = [
    "NAMES",
    "SHAPES",
    "TIMESTEPS",
    "build",
    "calibrate",
    "compiled",
    "firing_rates",
    "images",
    "inputs",
    "integers",
    "program_rates",
]

TIMESTEPS = 4
SHAPES: dict[str, tuple[int, int, int]] = {
    "resnet20": (3, 32, 32),
    "resnet20-wide": (3, 32, 32),
    "preact-resnet18": (3, 32, 32),
    "vgg16": (3, 32, 32),
    "resnet34": (3, 224, 224),
}
NAMES = tuple(SHAPES)
_NEURONS = (MPBNLIF, neuron.IFNode, neuron.LIFNode)


def _lif(v_reset: float | None = 0.0) -> nn.Module:
    node: nn.Module = neuron.LIFNode(tau=2.0, v_reset=v_reset, step_mode="m")
    return node


class PreActResNet18(nn.Module):
    """The body of DSR's PreAct-ResNet-18 with leaky neurons that PyTorch runs fast; a linear layer, read by its mean.

    Neurons are reset by subtraction; convolutions have no biases.
    """

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 512), classes: int = 10) -> None:
        super().__init__()
        self.conv = layer.Conv2d(3, widths[0], 3, padding=1, bias=False, step_mode="m")
        blocks, inputs = [], widths[0]
        for stage, width in enumerate(widths):
            for number in range(2):
                stride = 2 if stage and not number else 1
                blocks.append(PreActBlock(inputs, width, stride, lambda: _lif(v_reset=None), bias=False))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.bn = layer.BatchNorm2d(inputs, step_mode="m")
        self.neuron = _lif(v_reset=None)
        self.pool = layer.AdaptiveAvgPool2d(1, step_mode="m")
        self.flatten = layer.Flatten(step_mode="m")
        self.fc = layer.Linear(inputs, classes, step_mode="m")

    def forward(self, x_seq: Tensor) -> Tensor:
        """Images [T, N, 3, 32, 32] -> scores [N, classes]."""
        spikes = self.neuron(self.bn(self.blocks(self.conv(x_seq))))
        scores: Tensor = self.fc(self.flatten(self.pool(spikes))).mean(0)
        return scores


_BUILD: dict[str, Callable[[], nn.Module]] = {
    "resnet20": ResNet20,
    "resnet20-wide": lambda: ResNet20((128, 256, 512)),
    "preact-resnet18": PreActResNet18,
    "vgg16": lambda: VGG16(neuron=lambda shape: _lif(), pool="max"),
    "resnet34": lambda: ResNet34(pool="max"),
}


def build(name: str, seed: int = 0) -> nn.Module:
    """One of :data:`NAMES` with random weights, in eval mode; it fires as it should only after :func:`calibrate`.

    Batch norms (those on the membrane, too) get random affine parameters, so that channels differ in their rates.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _BUILD[name]().requires_grad_(False)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.weight, 1.0, 0.15).abs_()
                nn.init.normal_(part.bias, 0.0, 0.15)
    return module.eval()


def images(name: str, count: int, seed: int = 0) -> Tensor:
    """``count`` smooth images [count, 3, H, W] for a network, all different: float32, multiples of 1/255 in 0..1."""
    _, height, width = SHAPES[name]
    random = torch.Generator().manual_seed(seed)
    total = torch.zeros(count, 3, height, width)
    for cells, strength in ((3, 1.2), (6, 0.8), (13, 0.4)):
        coarse = strength * torch.randn(count, 3, cells, cells, generator=random)
        total += F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    deviation, mean = torch.std_mean(total, (2, 3), keepdim=True)
    return (((total - mean) / deviation).sigmoid_() * 255).round_() / 255


def calibrate(module: nn.Module, x: Tensor, low: float = 0.10, high: float = 0.15) -> dict[str, float]:
    """Set batch norms, one layer after the other, until every layer of neurons fires between ``low`` and ``high``.

    Each batch norm gets the statistics of what reaches it, and each neuron layer one number on top of the shifts of
    the norm before it (of the norm on the membrane, where it has one).

    Args:
        module: of :func:`build`; changed in place.
        x: images [N, 3, H, W], shown for :data:`TIMESTEPS` steps.
        low: the lowest share of spikes.
        high: the highest.

    Returns:
        The firing rate of each layer, in the order in which they run.
    """
    rates: dict[str, float] = {}
    before: dict[str, Any] = {}  # the batch norm that ran last, and what it gave

    def statistics(bn: nn.BatchNorm2d, args: Any) -> None:
        _take_statistics(bn, args[0])

    def remember(bn: nn.BatchNorm2d, args: Any, output: Tensor) -> None:
        before.update(bn=bn, output=output)

    def fire(path: str) -> Callable[[nn.Module, Any], None]:
        def hook(node: nn.Module, args: Any) -> None:
            (current,) = args
            if isinstance(node, MPBNLIF):
                _take_statistics(node.vbn, _without_reset(node, current))
                rates[path] = _shift(node, node.vbn, lambda: node.forward(current), low, high)
                return
            # The shift goes into the current itself, so that whoever else reads it sees what it will be.
            assert current is before["output"], f"{path} reads no batch norm"
            shift = before["bn"].bias.clone()

            def spikes() -> Tensor:
                functional.reset_net(node)
                moved = (before["bn"].bias - shift)[:, None, None]
                return node.forward(current + moved)  # type: ignore[no-any-return]

            rates[path] = _shift(node, before["bn"], spikes, low, high)
            current += (before["bn"].bias - shift)[:, None, None]
            functional.reset_net(node)

        return hook

    handles = []
    for path, part in module.named_modules():
        if isinstance(part, layer.BatchNorm2d):
            handles += [part.register_forward_pre_hook(statistics), part.register_forward_hook(remember)]
        elif isinstance(part, _NEURONS):
            handles.append(part.register_forward_pre_hook(fire(path)))
    with torch.no_grad():
        functional.reset_net(module)
        module(inputs(x).to(next(module.parameters()).dtype))
        functional.reset_net(module)
    for handle in handles:
        handle.remove()
    return rates


def _take_statistics(bn: Any, x: Tensor) -> None:
    """Mean and variance of every channel of [T, N, C, H, W]."""
    variance, mean = torch.var_mean(x, (0, 1, 3, 4), correction=0)
    bn.running_mean.copy_(mean)
    bn.running_var.copy_(variance)


def _without_reset(node: MPBNLIF, current: Tensor) -> Tensor:
    """Membranes [T, N, ...] of neurons that never fire."""
    u, seq = torch.zeros_like(current[0]), []
    for c in current:
        u = node.tau * u + c
        seq.append(u)
    return torch.stack(seq)


def _shift(node: nn.Module, bn: Any, spikes: Callable[[], Tensor], low: float, high: float) -> float:
    """Add one number to the shifts of a norm, found by bisection; the rate that the neurons then have."""
    start = bn.bias.clone()
    least, most, rate = -8.0, 8.0, 0.0
    middle, enough = (low + high) / 2, (high - low) / 20
    for _ in range(30):
        shift = (least + most) / 2
        bn.bias.copy_(start + shift)
        rate = spikes().mean().item()
        if abs(rate - middle) < enough:
            break
        least, most = (shift, most) if rate < middle else (least, shift)
    if not low <= rate <= high:
        raise ValueError(f"a layer of {type(node).__name__} cannot be made to fire at {low} to {high}: {rate}")
    return rate


def inputs(x: Tensor) -> Tensor:
    """Images [N, ...] as constant input currents [T, N, ...] (a view)."""
    return x.expand(TIMESTEPS, *x.shape)


def firing_rates(module: nn.Module, x: Tensor) -> dict[str, float]:
    """The share of places and steps that fired, of each layer of neurons, for images [N, 3, H, W] in torch."""
    rates: dict[str, float] = {}

    def hear(path: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(node: nn.Module, args: Any, output: Tensor) -> None:
            rates[path] = output.mean().item()

        return hook

    nodes = [(path, part) for path, part in module.named_modules() if isinstance(part, _NEURONS)]
    handles = [part.register_forward_hook(hear(path)) for path, part in nodes]
    with torch.no_grad():
        functional.reset_net(module)
        module(inputs(x).to(next(module.parameters()).dtype))
        functional.reset_net(module)
    for handle in handles:
        handle.remove()
    return rates


def compiled(name: str, module: nn.Module, x: Tensor, bits: int = 8) -> Program:
    """The network as a program of integers for the target ``generic``; the module stays as it is.

    Args:
        name: of the network, which says what images it takes.
        module: calibrated.
        x: any of its images; only their shape matters, pixels are taken to be multiples of 1/255.
        bits: of a weight.
    """
    shape = tuple(x.shape[1:])
    if shape != SHAPES[name]:
        raise ValueError(f"{name} takes images of shape {SHAPES[name]}, not {shape}")
    model = TorchModel.from_module(copy.deepcopy(module).double(), shape, TIMESTEPS, "TN", None, "real")
    return compile_graph(model.graph, "generic", TIMESTEPS, Options(bits=bits))


def integers(program: Program, x: Tensor) -> dict[str, Array]:
    """Images [N, 3, H, W] as the program takes them: whole numbers [N, T, 3, H, W] of its input."""
    (name,) = program.input_shapes
    seq = np.repeat(x.numpy()[:, None].astype(np.float64), program.timesteps, axis=1)
    return program.integers({name: seq})[0]


def program_rates(program: Program, x: Tensor) -> dict[str, float]:
    """The firing rate of each layer in the integer program, by the reference simulator (slow)."""
    run = simulate_integers(program.integer, program.arithmetic, integers(program, x), found=[])
    return {name: float(spikes.mean()) for name, spikes in run.spikes.items()}
