"""The spiking GAN with attention scoring decoding, SGAD (Feng, Zhao, Zeng, Neural Networks 2024, arXiv:2305.10246).

Sizes, layers and equations follow the authors' code: Brain-Cog-Lab/sgad, models/generators.py
(``Generator_MP_Scoring_*``), discriminators.py (``Discriminator_EM_*``), nodes.py, and train/sgad_*.yaml.

Images [N, channels, H, W] hold 0 to 1; spikes and currents are [T, N, ...].
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from spikingjelly.activation_based import layer, neuron, surrogate
from torch import Tensor, nn
from torch.nn.functional import relu

import neurocompile
from neurocompile.models.fsvae import StrictLIF
from neurocompile.vocabulary.versions import named

__all__ = ["CONFIGURATIONS", "AttentionScoring", "Discriminator", "Generator", "PerTimestep", "Sizes", "StrictATan"]


@dataclass(frozen=True)
class Sizes:
    """The sizes of both networks.

    The generator takes ``latent`` numbers through a layer of ``hidden`` neurons to ``widths[0]`` small images, which it
    doubles once for each of its ``widths``. Its images are scored by attention over ``key_size`` numbers, made from the
    pixels (``scored`` = None) or from ``scored`` features of them. The discriminator has two convolutions with the
    channels ``convolutions`` and a layer of ``dense`` neurons. ``timesteps`` is T.
    """

    channels: int
    image_size: int
    latent: int
    hidden: int = 1024
    widths: tuple[int, ...] = (128, 64)
    scored: int | None = None
    key_size: int = 256
    convolutions: tuple[int, int] = (32, 64)
    dense: int = 1024
    timesteps: int = 16

    @property
    def first_side(self) -> int:
        """Rows of the generator's smallest images."""
        return self.image_size >> len(self.widths)

    @property
    def last_side(self) -> int:
        """Rows that the discriminator's convolutions (5 x 5, no padding) and poolings (2 x 2) leave."""
        return ((self.image_size - 4) // 2 - 4) // 2


CONFIGURATIONS = {
    "mnist": Sizes(channels=1, image_size=28, latent=10),
    "celeba": Sizes(channels=3, image_size=64, latent=20, widths=(128, 64, 32), scored=1024, dense=2048),
    "cifar10": Sizes(channels=3, image_size=32, latent=20, scored=1024),
    "small": Sizes(1, 16, 8, 64, (32, 16), None, 32, (8, 16), 32, 4),
}
"""The published networks for MNIST and CelebA; for CIFAR-10, where the code has only the 1024 scored features, the
other sizes are ours; "small", our size, is for digits of 16 x 16."""


class StrictATan(nn.Module):
    """Step function that is 0 at 0, with the gradient of an arctangent, alpha = 2 (authors' code: ``AtanGrad``)."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = surrogate.ATan(alpha=2.0)

    def forward(self, margin: Tensor) -> Tensor:
        """Spikes (0 or 1) where ``margin`` > 0; any shape."""
        spikes: Tensor = 1 - self.reached(-margin)
        return spikes


def _lif() -> nn.Module:
    """v + (x - v) / tau with tau = 2, fires above 1, is reset to 0."""
    neuron: nn.Module = StrictLIF(0.5, 0.5, 1.0, StrictATan(), detach_reset=True)
    return neuron


@neurocompile.host
class AttentionScoring(nn.Module):
    """One image from the image of every step, y[t] = sigmoid(x[t]), in which each step gets the weight it deserves.

        m[1] = y[1]
        m[t] = a * m[t - 1] + b * y[t]
        a, b = softmax((q . k(m[t - 1]), q . k(y[t])) / sqrt(key_size)),    q = W_q f(m[t - 1]),  k(.) = W_k f(.)

    f gives the pixels themselves, or relu(W pixels) where there are ``scored`` features (authors' code: ``ScoringMP``
    with ``AttentionScoring_1`` or ``AttentionScoring_RGB``; W, W_q and W_k have biases).

    Args:
        timesteps: T.
        pixels: how many numbers an image has.
        scored: features, or None.
        key_size: the length of q and k.
    """

    def __init__(self, timesteps: int, pixels: int, scored: int | None, key_size: int) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.key_size = key_size
        self.features = None if scored is None else nn.Linear(pixels, scored)
        self.query = nn.Linear(scored or pixels, key_size)
        self.key = nn.Linear(scored or pixels, key_size)

    def _scored(self, y: Tensor) -> Tensor:
        return y if self.features is None else relu(self.features(y))

    def forward(self, x_seq: Tensor) -> Tensor:
        """Currents [T, N, channels, H, W] -> images [N, channels, H, W]."""
        y_seq = torch.sigmoid(x_seq).flatten(2)
        # A tensor: in ONNX a number would be rounded to float32.
        scale = torch.tensor(self.key_size**-0.5, dtype=x_seq.dtype, device=x_seq.device)
        m = y_seq[0]
        for t in range(1, self.timesteps):
            both = torch.stack((m, y_seq[t]), dim=1)
            f = self._scored(both)
            products = (self.query(f[:, :1]) * self.key(f)).sum(2)
            weights = torch.softmax(products * scale, dim=1)
            m = (weights.unsqueeze(2) * both).sum(1)
        return m.view_as(x_seq[0])


class Generator(nn.Module):
    """Random numbers to an image: two linear layers, doubling transposed convolutions, attention scoring decoding."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.timesteps = sizes.timesteps
        side, widths = sizes.first_side, sizes.widths
        neurons = widths[0] * side * side
        parts: list[nn.Module] = [
            layer.Linear(sizes.latent, sizes.hidden, step_mode="m"),
            layer.BatchNorm1d(sizes.hidden, step_mode="m"),
            _lif(),
            layer.Linear(sizes.hidden, neurons, step_mode="m"),
            layer.BatchNorm1d(neurons, step_mode="m"),
            _lif(),
            nn.Unflatten(2, (widths[0], side, side)),
        ]
        for inputs, outputs in pairwise(widths):
            parts += (
                layer.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, step_mode="m"),
                layer.BatchNorm2d(outputs, step_mode="m"),
                _lif(),
            )
        parts.append(layer.ConvTranspose2d(widths[-1], sizes.channels, 4, stride=2, padding=1, step_mode="m"))
        self.layers = nn.Sequential(*parts)
        pixels = sizes.channels * sizes.image_size**2
        self.decode = AttentionScoring(sizes.timesteps, pixels, sizes.scored, sizes.key_size)

    def forward(self, z: Tensor) -> Tensor:
        """Standard normal numbers [N, latent] -> images [N, channels, H, W]."""
        image: Tensor = self.decode(self.layers(z.unsqueeze(0).repeat(self.timesteps, 1, 1)))
        return image


@neurocompile.host
class PerTimestep(nn.Module):
    """A number divided by T."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] -> [N, ...]."""
        return x / self.timesteps


class Discriminator(nn.Module):
    """An image to a number: two convolutions, a linear layer, and a membrane, whose last value is divided by T.

    The numbers estimate the earth mover's distance: the discriminator makes mean D(real) - mean D(fake) small, the
    generator makes mean D(fake) small (authors' code: train/train_sgad_mnist.py).
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.timesteps = sizes.timesteps
        parts: list[nn.Module] = []
        inputs = sizes.channels
        for outputs in sizes.convolutions:
            parts += (
                layer.Conv2d(inputs, outputs, 5, step_mode="m"),
                layer.BatchNorm2d(outputs, step_mode="m"),
                _lif(),
                layer.AvgPool2d(2, step_mode="m"),
            )
            inputs = outputs
        parts += (
            layer.Flatten(step_mode="m"),
            layer.Linear(inputs * sizes.last_side**2, sizes.dense, step_mode="m"),
            _lif(),
            layer.Linear(sizes.dense, 1, step_mode="m"),
            named(neuron, "NonSpikingLIFNode")(tau=2.0, decode="last_mem"),
            PerTimestep(sizes.timesteps),
        )
        self.layers = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, channels, H, W] -> scores [N, 1]."""
        score: Tensor = self.layers(x.unsqueeze(0).repeat(self.timesteps, 1, 1, 1, 1))
        return score
