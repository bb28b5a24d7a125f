"""Weights for torch modules, and the spellings of a layer: as a function, and over time."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from tests.random_networks.choices import Choices, Shape

__all__ = [
    "Constants",
    "Draw",
    "Flattened",
    "Function",
    "Normed",
    "SeqToAnn",
    "StepConstants",
    "Weighted",
    "fill",
    "stateless_in_time",
]


class Draw(Choices):
    """Choices; numbers for weights from a torch generator that is seeded by one of them."""

    def __init__(self, source: random.Random) -> None:
        super().__init__(source)
        self.generator = torch.Generator().manual_seed(source.getrandbits(31))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator, dtype=torch.float64)

    def number(self, low: float, high: float) -> float:
        return float(self.uniform(low, high, 1))


def fill(module: nn.Module, draw: Draw) -> None:
    """Random weights and statistics, none of them a round number."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            size = part.num_features
            if part.affine:
                part.weight.data = draw.normal(size) * 0.3 + 1.0
                part.bias.data = draw.normal(size) * 0.3
            part.running_mean.data = draw.normal(size) * 0.3
            part.running_var.data = draw.uniform(0.3, 2.0, size)
        elif isinstance(getattr(part, "weight", None), nn.Parameter):
            fan_in = max(part.weight[0].numel(), 1)
            part.weight.data = draw.normal(*part.weight.shape) * fan_in**-0.5
            if part.bias is not None:
                part.bias.data = draw.normal(*part.bias.shape) * 0.3


# -- the functional spellings ------------------------------------------------------------------------------------------


class Weighted(nn.Module):
    """F.conv2d and its like: ``function(x, weight, bias, **settings)``."""

    def __init__(self, function: Callable[..., Tensor], like: Any, **settings: Any) -> None:
        super().__init__()
        self.function, self.settings = function, settings
        self.weight = nn.Parameter(like.weight.detach().clone())
        self.bias = None if like.bias is None else nn.Parameter(like.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight, self.bias, **self.settings)


class Normed(nn.Module):
    """F.batch_norm."""

    def __init__(self, like: Any) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(like.weight.data), nn.Parameter(like.bias.data), like.eps
        self.register_buffer("mean", like.running_mean.clone())
        self.register_buffer("var", like.running_var.clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.mean, self.var, self.weight, self.bias, self.training, 0.1, self.eps)


class Constants(nn.Module):
    """``x * weight + bias`` with parameters of the user's, one for each channel or neuron."""

    def __init__(self, draw: Draw, shape: Shape) -> None:
        super().__init__()
        shape = draw.pick((shape, (shape[0], *(1 for _ in shape[1:]))))
        self.weight = nn.Parameter(draw.uniform(0.5, 1.5, *shape))
        self.bias = nn.Parameter(draw.normal(*shape) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.bias


class StepConstants(nn.Module):
    """``x_seq * gain`` with a parameter of the user's, one number for each time step."""

    def __init__(self, gain: Tensor, first: bool) -> None:
        super().__init__()
        self.gain, self.first = nn.Parameter(gain), first

    def forward(self, x_seq: Tensor) -> Tensor:
        gain = self.gain.view(-1, *(1 for _ in x_seq.shape[1:]))
        return gain * x_seq if self.first else x_seq.mul(gain)


class Function(nn.Module):
    """Anything without weights: ``function(x, **settings)``."""

    def __init__(self, function: Callable[..., Tensor], **settings: Any) -> None:
        super().__init__()
        self.function, self.settings = function, settings

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.settings)


# -- putting one step into time ----------------------------------------------------------------------------------------


class SeqToAnn(nn.Module):
    """functional.seq_to_ann_forward around a layer."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x_seq: Tensor) -> Tensor:
        return functional.seq_to_ann_forward(x_seq, self.inner)


class Flattened(nn.Module):
    """The same by hand."""

    def __init__(self, inner: nn.Module, unflatten: bool) -> None:
        super().__init__()
        self.inner, self.unflatten = inner, unflatten

    def forward(self, x_seq: Tensor) -> Tensor:
        y = self.inner(x_seq.flatten(0, 1))
        if self.unflatten:
            return y.unflatten(0, (x_seq.shape[0], x_seq.shape[1]))
        return y.view(x_seq.shape[0], x_seq.shape[1], *y.shape[1:])


# SpikingJelly 2.x asks for the step mode between the flag and the layers, 0.0.0.0.14 has it set afterwards.
_STEPS = ("m",) if "step_mode" in inspect.signature(layer.StepModeContainer).parameters else ()


def stateless_in_time(draw: Draw, module: nn.Module) -> nn.Module:
    """A layer over ``[T, N, ...]``, in any of the ways that SpikingJelly has."""
    match draw.pick(("seq_to_ann", "container", "step-mode", "multi-step", "by hand", "unflatten")):
        case "seq_to_ann":
            draw.mark("functional.seq_to_ann_forward")
            return SeqToAnn(module)
        case "container":
            draw.mark("SeqToANNContainer")
            return layer.SeqToANNContainer(module)
        case "step-mode":
            draw.mark("StepModeContainer")
            container = layer.StepModeContainer(draw.chance(30), *_STEPS, module)
            container.step_mode = "m"
            return container
        case "multi-step":
            draw.mark("MultiStepContainer")
            return layer.MultiStepContainer(module)
        case "by hand":
            return Flattened(module, unflatten=False)
    return Flattened(module, unflatten=True)
