"""Spiking-GAN: a GAN of neurons that fire at most once (Kotariya and Ganguly, IJCNN 2022, arXiv:2106.15420).

No code of the authors is known, and these networks follow what the paper's abstract and surveys tell: coding by the
time of the first spike, integrate-and-fire neurons that stay silent after a spike, two fully connected layers in each
network, noise drawn uniformly from the times of spikes, and two output neurons of which the first to fire decides. The
neuron equation and the times of an image's spikes are those of S4NN, an earlier network of such neurons (Kheradpisheh
and Masquelier, Int. J. Neural Systems 2020, arXiv:1910.09495). So are the hidden layer, T and the discriminator's first
weights: SRKH/S4NN, S4NN.py. The length of the noise and the generator's first weights are ours.

Images [N, channels, H, W] hold 0 to 1, times [N, ...] are whole numbers from 0 held as floats: T means that there is no
spike. Spikes and currents are [T, N, ...].
"""

from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based import layer, surrogate
from spikingjelly.activation_based.base import MemoryModule
from torch import Tensor, nn

import neurocompile

__all__ = [
    "CONFIGURATIONS",
    "Discriminator",
    "FirstSpikeIF",
    "FirstSpikeTime",
    "Generator",
    "Intensity",
    "Latency",
    "Sizes",
    "SpikesAtTimes",
]


@dataclass(frozen=True)
class Sizes:
    """The sizes of both networks: ``noise`` spikes go in, ``hidden`` neurons of each are hidden, T is ``timesteps``."""

    channels: int
    image_size: int
    noise: int = 100
    hidden: int = 400
    timesteps: int = 256

    @property
    def image(self) -> tuple[int, int, int]:
        """The shape of an image."""
        return (self.channels, self.image_size, self.image_size)

    @property
    def pixels(self) -> int:
        """The numbers of an image."""
        return self.channels * self.image_size**2


CONFIGURATIONS = {
    "mnist": Sizes(channels=1, image_size=28),
    "small": Sizes(1, 8, 16, 64, 16),
}
"""A network for MNIST (the paper's images; hidden layer and T as in S4NN, noise our size), and "small", our size, for
digits of 8 x 8."""


@neurocompile.neuron(lambda m: neurocompile.equation(threshold=m.v_threshold, reset="none", refractory=-1))
class FirstSpikeIF(MemoryModule):  # type: ignore[misc]
    """Integrate-and-fire neurons that fire at most once: when the membrane first reaches the threshold.

    For every time step, with v = 0 at first:

        v = v + x
        s = 1 if v >= V_th and there was no spike yet, else 0

    Between calls the state is kept, as in every neuron of SpikingJelly.

    Args:
        v_threshold: V_th.
        step_mode: "m": currents [T, N, ...] -> spikes [T, N, ...]; "s": one step [N, ...] a call.
    """

    def __init__(self, v_threshold: float = 1.0, step_mode: str = "m") -> None:
        super().__init__()
        self.v_threshold = v_threshold
        self.surrogate_function = surrogate.ATan()
        self.step_mode = step_mode
        self.register_memory("v", 0.0)
        self.register_memory("fired", 0.0)

    def single_step_functional_forward(
        self, inputs: tuple[Tensor, ...], states: tuple[Any, ...], **kwargs: object
    ) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """Currents, membranes and earlier spikes of one step [N, ...] -> spikes; membranes and spikes so far."""
        (x,), (v, fired) = inputs, states
        v = v + x
        s = self.surrogate_function(v - self.v_threshold) * (1 - fired)
        return (s,), (v, fired + s)

    def extra_repr(self) -> str:
        """Shown by `repr`."""
        return f"v_threshold={self.v_threshold}, step_mode={self.step_mode}"


# -- the code ----------------------------------------------------------------------------------------------------------


@neurocompile.host
class Latency(nn.Module):
    """When an intensity fires, the brightest first: t = floor((1 - intensity) * T)."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps

    def forward(self, intensities: Tensor) -> Tensor:
        """Intensities [N, ...] from 0 to 1 -> times [N, ...] from 0 to T."""
        return torch.floor((1 - intensities) * self.timesteps)


@neurocompile.host(carries="spikes")
class SpikesAtTimes(nn.Module):
    """A spike at each time from 0 to T - 1, none for later ones."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps

    def forward(self, times: Tensor) -> Tensor:
        """Times [N, ...] -> spikes [T, N, ...]."""
        steps = torch.arange(self.timesteps, dtype=times.dtype, device=times.device)
        return (times.unsqueeze(0) == steps.view(-1, *(1,) * times.ndim)).to(times.dtype)


@neurocompile.host
class FirstSpikeTime(nn.Module):
    """When each neuron fired, T if it did not: the steps without a spike so far."""

    def forward(self, spikes: Tensor) -> Tensor:
        """Spikes [T, N, ...], at most one of each neuron -> times [N, ...]."""
        return (1 - spikes.cumsum(0)).sum(0)


@neurocompile.host
class Intensity(nn.Module):
    """The reverse of :class:`Latency`: 1 - t / T."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps

    def forward(self, times: Tensor) -> Tensor:
        """Times [N, ...] -> intensities [N, ...]."""
        return 1 - times / self.timesteps


# -- the networks ------------------------------------------------------------------------------------------------------


def _two_layers(inputs: int, hidden: int, outputs: int, most: tuple[float, float]) -> nn.Sequential:
    """Spikes [T, N, inputs] -> spikes [T, N, outputs], each neuron connected to all before it, without biases.

    The first weights are drawn uniformly from 0 to ``most`` / inputs, for the layers in turn.
    """
    linears = (
        layer.Linear(inputs, hidden, bias=False, step_mode="m"),
        layer.Linear(hidden, outputs, bias=False, step_mode="m"),
    )
    for linear, at_most in zip(linears, most):
        nn.init.uniform_(linear.weight, 0, at_most / linear.in_features)
    return nn.Sequential(linears[0], FirstSpikeIF(), linears[1], FirstSpikeIF())


class Generator(nn.Module):
    """Noise to an image: the spikes of two layers, an output neuron for each pixel, bright where it fires early."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.image = sizes.image
        self.encode = SpikesAtTimes(sizes.timesteps)
        # A membrane reaches the threshold after about a quarter of the spikes.
        self.layers = _two_layers(sizes.noise, sizes.hidden, sizes.pixels, (8.0, 8.0))
        self.first_spike = FirstSpikeTime()
        self.intensity = Intensity(sizes.timesteps)

    def trains(self, times: Tensor) -> Tensor:
        """Noise [N, noise] -> a spike image [T, N, channels, H, W], the discriminator's input in training."""
        spikes: Tensor = self.layers(self.encode(times)).unflatten(2, self.image)
        return spikes

    def forward(self, times: Tensor) -> Tensor:
        """Noise [N, noise], drawn uniformly from 0 to T -> images [N, channels, H, W]."""
        image: Tensor = self.intensity(self.first_spike(self.trains(times)))
        return image


class Discriminator(nn.Module):
    """An image to two output neurons, 0 for false and 1 for real: the first to fire decides."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.latency = Latency(sizes.timesteps)
        self.encode = SpikesAtTimes(sizes.timesteps)
        # S4NN.py: 784 weights from 0 to 5 and 400 from 0 to 48, for a threshold of 100.
        self.layers = _two_layers(sizes.pixels, sizes.hidden, 2, (39.2, 192.0))
        self.first_spike = FirstSpikeTime()
        self.intensity = Intensity(sizes.timesteps)

    def judge(self, spikes: Tensor) -> Tensor:
        """A spike image [T, N, channels, H, W] -> scores [N, 2]."""
        scores: Tensor = self.intensity(self.first_spike(self.layers(spikes.flatten(2))))
        return scores

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, channels, H, W] -> scores [N, 2] from 0 to 1, 1 - t / T: the highest fired first."""
        return self.judge(self.encode(self.latency(x)))
