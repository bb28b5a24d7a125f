"""The networks that the engines are timed on: five shapes from the literature with random weights and lifelike spikes.

Everything is made of SpikingJelly modules in multi-step mode ([T, N, C, H, W]). Weights are random; batch norms are
calibrated until every layer of neurons fires as rarely as the layers of trained networks do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from neurocompile.compiler import Options, compile_graph
from neurocompile.frontends.pytorch.model import TorchModel
from neurocompile.ir.ops import Array
from neurocompile.models import calibration, zoo
from neurocompile.models.dsr import PreActBlock
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
    calibration.randomize(module, seed)
    return module.eval()


def images(name: str, count: int, seed: int = 0) -> Tensor:
    """``count`` smooth images [count, 3, H, W] for a network, all different: float32, multiples of 1/255 in 0..1."""
    return zoo.images(SHAPES[name], count, torch.Generator().manual_seed(seed))


def calibrate(module: nn.Module, x: Tensor, low: float = 0.10, high: float = 0.15) -> dict[str, float]:
    """Set batch norms until every layer of neurons fires between ``low`` and ``high``, and measure each layer's rate.

    Args:
        module: of :func:`build`; changed in place.
        x: images [N, 3, H, W], shown for :data:`TIMESTEPS` steps.
        low: the lowest share of spikes.
        high: the highest.

    Raises:
        ValueError: if a layer does not.
    """
    rates = calibration.calibrate(module, (inputs(x),), low, high)
    if wrong := {path: rate for path, rate in rates.items() if not low <= rate <= high}:
        raise ValueError(f"layers cannot be made to fire at {low} to {high}: {wrong}")
    return rates


def inputs(x: Tensor) -> Tensor:
    """Images [N, ...] as constant input currents [T, N, ...] (a view)."""
    return x.expand(TIMESTEPS, *x.shape)


def firing_rates(module: nn.Module, x: Tensor) -> dict[str, float]:
    """The share of places and steps that fired, of each layer of neurons, for images [N, 3, H, W] in torch."""
    return calibration.firing_rates(module, (inputs(x),))


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
