"""Spiking denoising diffusion: the spiking U-Net, its temporal gains, and sampling.

SDDPM is Cao et al., Spiking Denoising Diffusion Probabilistic Models (WACV 2024, arXiv:2306.17046); SDM is Cao et al.,
Spiking Diffusion Models (IEEE Trans. AI, arXiv:2408.16467), which adds a gain for each time step. Equation numbers are
SDM's unless they are said to be DDPM's (Ho et al., NeurIPS 2020, arXiv:2006.11239). Sizes and layers follow the
authors' code: AndyCao1125/SDDPM, model/SpikingUNet.py and main_SDDPM.py, and AndyCao1125/SDM, SDM/TSM.py.

Two times meet here: the T steps of the neurons, the first axis of ``x_seq[T, N, ...]``, and the steps of the diffusion,
one number a sample, ``t[N]``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from spikingjelly.activation_based import functional, layer, surrogate
from spikingjelly.activation_based.neuron import IFNode
from torch import Tensor, nn
from torch.nn.functional import pad, silu

import neurocompile
from neurocompile.vocabulary.readout import MembraneReadout
from neurocompile.vocabulary.temporal import TemporalGain
from neurocompile.vocabulary.versions import named

__all__ = [
    "CONFIGURATIONS",
    "DecodingLayer",
    "Denoiser",
    "Downsampling",
    "ImageReadout",
    "PreSpikeBlock",
    "Sizes",
    "SpikingUNet",
    "TemporalGain",
    "TimeEmbedding",
    "TimeProjection",
    "Upsampling",
    "beta_schedule",
    "diffuse",
    "integrate_and_fire",
    "sample",
    "torch_denoiser",
]

Array = npt.NDArray[np.float64]
Denoiser = Callable[[Array, Array], Any]
"""What sampling calls once a diffusion step: noisy samples ``[N, ...]``, their diffusion steps ``[N]`` -> an array."""

NeuronFactory = Callable[[], nn.Module]


def integrate_and_fire() -> nn.Module:
    """The neuron of the authors' code: no leak, fires at 1, is reset to 0 (in the papers, Eqs. 1 to 3, it leaks)."""
    node: nn.Module = IFNode(surrogate_function=surrogate.ATan(), step_mode="m")
    return node


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network and of its diffusion.

    Images ``[N, channels, image_size, image_size]`` hold -1 to 1. Level i of the U-Net has ``width * multipliers[i]``
    channels and ``blocks`` residual blocks on the way down. ``timesteps`` is T; with ``temporal_gains`` every
    convolution but the last has a gain for each. The diffusion takes ``steps`` steps, with noise of variance
    ``first_beta`` at the first and ``last_beta`` at the last.
    """

    channels: int
    image_size: int
    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 4)
    blocks: int = 2
    timesteps: int = 4
    temporal_gains: bool = False
    steps: int = 1000
    first_beta: float = 1e-4
    last_beta: float = 0.02


CONFIGURATIONS = {
    "mnist": Sizes(channels=1, image_size=32),
    "cifar10": Sizes(channels=3, image_size=32),
    "cifar10-tsm": Sizes(channels=3, image_size=32, timesteps=8, temporal_gains=True),
    "small": Sizes(1, 8, 16, (1, 2), 1, temporal_gains=True, steps=100, first_beta=1e-3, last_beta=0.2),
}
"""The published networks (digits were enlarged to 32 x 32; SDM's released network with gains has T = 8), and "small",
our size, for digits of 8 x 8: a tenth of the diffusion steps, each with ten times the noise."""


# -- layers ------------------------------------------------------------------------------------------------------------


@neurocompile.host
class TimeEmbedding(nn.Module):
    """The step of the diffusion as a vector: sines and cosines of t / 10000**(2 i / width), then two linear layers.

    (Vaswani et al. 2017, Sec. 3.5; authors' code ``TimeEmbedding``: a sine and its cosine stand side by side.)
    """

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.width = width
        self.fc1 = nn.Linear(width, features)
        self.fc2 = nn.Linear(features, features)

    def forward(self, t: Tensor) -> Tensor:
        """Diffusion steps [N], whole numbers as floats -> [N, features]."""
        frequencies = [10000.0 ** (-i / self.width) for i in range(0, self.width, 2)]
        angle = t.unsqueeze(1) * torch.tensor(frequencies, dtype=t.dtype, device=t.device)
        waves = torch.stack((torch.sin(angle), torch.cos(angle)), dim=2).flatten(1)
        embedding: Tensor = self.fc2(silu(self.fc1(waves)))
        return embedding


@neurocompile.host
class TimeProjection(nn.Module):
    """What a residual block adds to the current of each of its channels, from the embedding of the diffusion step."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(features, channels)

    def forward(self, embedding: Tensor) -> Tensor:
        """[N, features] -> [N, channels, 1, 1]."""
        current: Tensor = self.fc(silu(embedding))
        return current.unsqueeze(2).unsqueeze(3)


def _convolved(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 3x3 convolution as products of matrices, which ONNX Runtime has in float64: [B, C, H, W] -> [B, C', H, W]."""
    height, width = x.shape[-2:]
    padded = pad(x, (1, 1, 1, 1)).movedim(1, -1)
    total = sum(
        padded[:, i : i + height, j : j + width] @ conv.weight[:, :, i, j].T for i in range(3) for j in range(3)
    )
    assert isinstance(total, Tensor)
    assert conv.bias is not None
    return (total + conv.bias).movedim(-1, 1)


@neurocompile.host
class ImageReadout(nn.Module):
    """The image, from the last currents y: u = conv(silu(y)), v = BN(conv(u)), the membrane readout of silu(v) + u.

    None of it spikes.
    """

    def __init__(self, width: int, channels: int, timesteps: int, temporal_gains: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, channels, 3, padding=1)
        self.gain = _gain(timesteps, temporal_gains)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.readout = MembraneReadout(timesteps)

    def forward(self, y_seq: Tensor) -> Tensor:
        """Currents [T, N, width, H, W] -> images [N, channels, H, W]."""
        steps = y_seq.shape[:2]
        first = torch.unflatten(_convolved(silu(y_seq).flatten(0, 1), self.conv1), 0, steps)
        u = self.gain(first).flatten(0, 1)
        image: Tensor = self.readout(torch.unflatten(silu(self.bn2(_convolved(u, self.conv2))) + u, 0, steps))
        return image


class DecodingLayer(nn.Module):
    """From the last currents x of the U-Net to an image: y = BN(x), and a readout that does not spike.

    (Authors' code: ``tail_*``, ``T_output_layer``, a 3x3 convolution within each time step, and ``last_bn``.)
    """

    def __init__(self, width: int, channels: int, timesteps: int, temporal_gains: bool) -> None:
        super().__init__()
        self.bn1 = layer.BatchNorm2d(width, step_mode="m")
        self.readout = ImageReadout(width, channels, timesteps, temporal_gains)

    def forward(self, x_seq: Tensor) -> Tensor:
        """Currents [T, N, width, H, W] -> [N, channels, H, W]."""
        image: Tensor = self.readout(self.bn1(x_seq))
        return image


def _gain(timesteps: int, temporal_gains: bool) -> nn.Module:
    return TemporalGain(timesteps) if temporal_gains else nn.Identity()


class PreSpikeBlock(nn.Module):
    """A residual block whose neurons stand before its convolutions, so that currents are added, not spikes.

    With currents O and neurons S (Eqs. 12 to 15, and between the two convolutions the diffusion step's current e):

        h = BN(conv1(S(O))) + e
        O = BN(conv2(S(h))) + O        the skip is a 1x1 convolution of the current where the channels differ
    """

    def __init__(self, inputs: int, outputs: int, image_size: int, sizes: Sizes, neuron: NeuronFactory) -> None:
        super().__init__()
        gains = (sizes.timesteps, sizes.temporal_gains)
        self.neuron1 = neuron()
        self.conv1 = layer.Conv2d(inputs, outputs, 3, padding=1, step_mode="m")
        self.gain1 = _gain(*gains)
        self.bn1 = layer.BatchNorm2d(outputs, step_mode="m")
        self.time = TimeProjection(4 * sizes.width, outputs)
        self.everywhere = nn.Upsample(scale_factor=image_size, mode="nearest")
        self.neuron2 = neuron()
        self.conv2 = layer.Conv2d(outputs, outputs, 3, padding=1, step_mode="m")
        self.gain2 = _gain(*gains)
        self.bn2 = layer.BatchNorm2d(outputs, step_mode="m")
        self.skip: nn.Module = nn.Identity()
        if inputs != outputs:
            self.skip = nn.Sequential(layer.Conv2d(inputs, outputs, 1, step_mode="m"), _gain(*gains))

    def forward(self, x_seq: Tensor, embedding: Tensor) -> Tensor:
        """Currents [T, N, inputs, H, W], [N, 4 * width] -> currents [T, N, outputs, H, W]."""
        h = self.bn1(self.gain1(self.conv1(self.neuron1(x_seq)))) + self.everywhere(self.time(embedding))
        added: Tensor = self.bn2(self.gain2(self.conv2(self.neuron2(h)))) + self.skip(x_seq)
        return added


class Downsampling(nn.Module):
    """A neuron, then a convolution that halves the image."""

    def __init__(self, channels: int, sizes: Sizes, neuron: NeuronFactory) -> None:
        super().__init__()
        self.neuron = neuron()
        self.conv = layer.Conv2d(channels, channels, 3, stride=2, padding=1, step_mode="m")
        self.gain = _gain(sizes.timesteps, sizes.temporal_gains)
        self.bn = layer.BatchNorm2d(channels, step_mode="m")

    def forward(self, x_seq: Tensor) -> Tensor:
        """Currents [T, N, channels, H, W] -> currents [T, N, channels, H / 2, W / 2]."""
        halved: Tensor = self.bn(self.gain(self.conv(self.neuron(x_seq))))
        return halved


class Upsampling(nn.Module):
    """A neuron, its spikes repeated to twice the image, then a convolution."""

    def __init__(self, channels: int, sizes: Sizes, neuron: NeuronFactory) -> None:
        super().__init__()
        self.neuron = neuron()
        self.upsample = named(layer, "Upsample")(scale_factor=2, mode="nearest", step_mode="m")
        self.conv = layer.Conv2d(channels, channels, 3, padding=1, step_mode="m")
        self.gain = _gain(sizes.timesteps, sizes.temporal_gains)
        self.bn = layer.BatchNorm2d(channels, step_mode="m")

    def forward(self, x_seq: Tensor) -> Tensor:
        """Currents [T, N, channels, H, W] -> currents [T, N, channels, 2 H, 2 W]."""
        doubled: Tensor = self.bn(self.gain(self.conv(self.upsample(self.neuron(x_seq)))))
        return doubled


# -- the network -------------------------------------------------------------------------------------------------------


class SpikingUNet(nn.Module):
    """Predicts the noise in an image: a U-Net of pre-spike blocks, whose skips join by concatenation.

    The currents of the first layer, of every block and of every halving on the way down are kept; each of the
    ``blocks + 1`` blocks of a level on the way up takes the last of them that is left, after its own input. The
    published networks use no attention (authors' code: ``attn`` is empty).
    """

    def __init__(self, sizes: Sizes, neuron: NeuronFactory = integrate_and_fire) -> None:
        super().__init__()
        self.timesteps = sizes.timesteps
        gains = (sizes.timesteps, sizes.temporal_gains)
        self.time = TimeEmbedding(sizes.width, 4 * sizes.width)
        self.conv1 = layer.Conv2d(sizes.channels, sizes.width, 3, padding=1, step_mode="m")
        self.gain1 = _gain(*gains)
        self.bn1 = layer.BatchNorm2d(sizes.width, step_mode="m")
        self.neuron = neuron()
        self.conv2 = layer.Conv2d(sizes.width, sizes.width, 3, padding=1, step_mode="m")
        self.gain2 = _gain(*gains)
        self.bn2 = layer.BatchNorm2d(sizes.width, step_mode="m")

        channels, size, kept = sizes.width, sizes.image_size, [sizes.width]
        levels = [sizes.width * multiplier for multiplier in sizes.multipliers]
        self.down = nn.ModuleList()
        for level, outputs in enumerate(levels):
            if level > 0:
                self.down.append(Downsampling(channels, sizes, neuron))
                size //= 2
                kept.append(channels)
            for _ in range(sizes.blocks):
                self.down.append(PreSpikeBlock(channels, outputs, size, sizes, neuron))
                channels = outputs
                kept.append(channels)
        self.middle = nn.ModuleList(PreSpikeBlock(channels, channels, size, sizes, neuron) for _ in range(2))
        self.up = nn.ModuleList()
        for level, outputs in reversed(list(enumerate(levels))):
            for _ in range(sizes.blocks + 1):
                self.up.append(PreSpikeBlock(channels + kept.pop(), outputs, size, sizes, neuron))
                channels = outputs
            if level > 0:
                self.up.append(Upsampling(channels, sizes, neuron))
                size *= 2
        self.decode = DecodingLayer(channels, sizes.channels, *gains)
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.decode.readout.conv1.weight, gain=1e-5)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Noisy images [N, channels, H, W], diffusion steps [N] from 0 (floats) -> noise [N, channels, H, W]."""
        embedding = self.time(t)
        x_seq = x.unsqueeze(0).repeat(self.timesteps, 1, 1, 1, 1)
        h = self.bn2(self.gain2(self.conv2(self.neuron(self.bn1(self.gain1(self.conv1(x_seq)))))))
        kept = [h]
        for part in self.down:
            h = part(h, embedding) if isinstance(part, PreSpikeBlock) else part(h)
            kept.append(h)
        for part in self.middle:
            h = part(h, embedding)
        for part in self.up:
            h = part(torch.cat((h, kept.pop()), dim=2), embedding) if isinstance(part, PreSpikeBlock) else part(h)
        noise: Tensor = self.decode(h)
        return noise


# -- diffusion ---------------------------------------------------------------------------------------------------------


def beta_schedule(steps: int, first: float = 1e-4, last: float = 0.02) -> Array:
    """The variance of the noise that each diffusion step adds, growing linearly: [steps] (DDPM, Sec. 4)."""
    return np.linspace(first, last, steps)


def diffuse(x: Tensor, t: Tensor, noise: Tensor, betas: Array) -> Tensor:
    """Clean images after the diffusion steps 0 to t (DDPM, Eq. 4); the network is trained to tell ``noise`` from them.

    ``x`` and ``noise`` are [N, ...], ``t`` [N] holds whole numbers.
    """
    kept = torch.as_tensor(np.cumprod(1.0 - betas), device=x.device)[t.long()]
    kept = kept.to(x.dtype).view(-1, *(1,) * (x.ndim - 1))
    return kept.sqrt() * x + (1 - kept).sqrt() * noise


def sample(denoise: Denoiser, shape: tuple[int, ...], steps: int, random: np.random.Generator, betas: Array) -> Array:
    """Images out of noise (DDPM, Algorithm 2, with the clean image held between -1 and 1 as in the authors' sampler).

    With x_0 = (x - sqrt(1 - kept) * noise) / sqrt(kept), where noise = denoise(x, t) and kept is the product of
    1 - beta up to t, the next x is normal: its mean is DDPM's Eq. 7, its variance beta ("fixedlarge" in the authors'
    code). The last x is x_0. Fewer steps than betas visit evenly spaced t, with the beta that leads from each to the
    next.

    Args:
        denoise: the network, in any executor: x[N, ...], t[N] -> the noise in x. Called once a diffusion step.
        shape: of the images, [N, ...].
        steps: how many of the diffusion steps to visit, at most ``len(betas)``.
        random: draws the first image, then the noise of every step but the last, each with one call: two executors
            that are given generators of the same seed are given the same noise.
        betas: from :func:`beta_schedule`, as in training.
    """
    if not 1 <= steps <= len(betas):
        raise ValueError(f"steps is {steps}, where 1 to {len(betas)} can be taken")
    visited = np.linspace(len(betas) - 1, 0, steps).round().astype(int)
    kept = np.cumprod(1.0 - betas)[visited]
    x: Array = random.standard_normal(shape)
    for t, now, after in zip(visited, kept, [*kept[1:], 1.0]):
        noise = np.asarray(denoise(x, np.full(shape[0], float(t))), np.float64)
        clean = np.clip((x - np.sqrt(1 - now) * noise) / np.sqrt(now), -1.0, 1.0)
        alpha = now / after
        of_clean = np.sqrt(after) * (1 - alpha) / (1 - now)
        of_x = np.sqrt(alpha) * (1 - after) / (1 - now)
        x = of_clean * clean + of_x * x
        if after < 1.0:
            x = x + np.sqrt(1 - alpha) * random.standard_normal(shape)
    return x


def torch_denoiser(model: nn.Module) -> Denoiser:
    """A torch network as sampling calls it: arrays in and out, in eval mode, its states cleared before each call."""
    parameter = next(model.parameters())

    @torch.no_grad()
    def denoise(x: Array, t: Array) -> Array:
        model.eval()
        functional.reset_net(model)
        out = model(*(torch.as_tensor(a, dtype=parameter.dtype, device=parameter.device) for a in (x, t)))
        array: Array = out.cpu().double().numpy()
        return array

    return denoise
