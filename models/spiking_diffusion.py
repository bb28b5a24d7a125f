"""Spiking-Diffusion: images as a few codes, and a diffusion that draws codes (Liu et al., arXiv:2308.10187).

Equation numbers are those of the paper's versions 1 and 4, which agree. Sizes and layers are those of the authors'
code: Arktis2022/Spiking-Diffusion, Spiking-Diffusion-release/snn_model/vae_model.py (VQ-SVAE), vq_diffusion.py (SDID)
and main.py. Where code and paper differ, the paper is followed and the difference named.

Images are [N, channels, H, W] from -0.5 to 0.5, codes [N, H / 4, W / 4] whole numbers from 0, held as floats; spikes
and currents are [T, N, ...].
"""

from dataclasses import dataclass

import numpy as np
import torch
from spikingjelly.activation_based import layer, surrogate
from spikingjelly.activation_based.neuron import LIFNode
from torch import Tensor, nn
from torch.nn import functional as F

import neurocompile
from neurocompile.models.sddpm import Array, Denoiser
from neurocompile.vocabulary.readout import MembraneReadout

__all__ = [
    "CONFIGURATIONS",
    "SDID",
    "VQSVAE",
    "CodeDecoder",
    "CodeVectors",
    "ImageEncoder",
    "NearestCode",
    "Sizes",
    "SpikeFeatures",
    "Tanh",
    "TokenPlanes",
    "code_loss",
    "mask_codes",
    "postsynaptic_potential",
    "sample",
    "vq_svae_loss",
]


@dataclass(frozen=True)
class Sizes:
    """The sizes of both networks.

    The encoder's two halving layers have ``widths`` channels (the decoder's doubling ones the same, backwards), a code
    stands for a vector of ``code_size`` numbers out of a codebook of ``codes``, and the five layers of SDID have
    ``denoiser_widths`` channels. ``timesteps`` is T.
    """

    channels: int
    image_size: int
    widths: tuple[int, int] = (32, 64)
    code_size: int = 16
    codes: int = 128
    denoiser_widths: tuple[int, int, int, int, int] = (64, 128, 256, 512, 256)
    timesteps: int = 16

    @property
    def code_shape(self) -> tuple[int, int]:
        """Rows and columns of the codes of one image."""
        return (self.image_size // 4, self.image_size // 4)

    @property
    def steps(self) -> int:
        """Steps of the diffusion: one for each code of an image, as in the authors' code."""
        return self.code_shape[0] * self.code_shape[1]

    @property
    def mask(self) -> int:
        """The token that stands for a masked code (Sec. 2.3: K)."""
        return self.codes


CONFIGURATIONS = {
    "mnist": Sizes(channels=1, image_size=28),
    "cifar10": Sizes(channels=3, image_size=32),
    "small": Sizes(1, 16, (8, 16), 8, 16, (16, 32, 32, 32, 16), 4),
}
"""The published network for images of 28 x 28; the same layers for CIFAR-10, for which the paper gives results and no
sizes (our size); and "small", our size, for digits of 16 x 16."""


def _lif() -> nn.Module:
    """Eqs. 1 to 3 with tau = 2, V_th = 1, V_reset = 0 and the surrogate gradient of Sec. 3.2 (alpha = 2)."""
    node: nn.Module = LIFNode(surrogate_function=surrogate.ATan(), step_mode="m")
    return node


def _conv_bn_lif(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Convolution, batch norm, neuron: [T, N, inputs, H, W] -> [T, N, outputs, H / stride, W / stride]."""
    return (
        layer.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, step_mode="m"),
        layer.BatchNorm2d(outputs, step_mode="m"),
        _lif(),
    )


def _doubled_bn_lif(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Transposed convolution, batch norm, neuron: [T, N, inputs, H, W] -> [T, N, outputs, 2 H, 2 W]."""
    return (
        layer.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, step_mode="m"),
        layer.BatchNorm2d(outputs, step_mode="m"),
        _lif(),
    )


# -- VQ-SVAE -----------------------------------------------------------------------------------------------------------


def postsynaptic_potential(z_seq: Tensor, tau: float = 2.0) -> Tensor:
    """Eq. 5 at every step: spikes [T, N, ...] -> potentials [T, N, ...]."""
    potential = torch.zeros_like(z_seq[0])
    potentials = []
    for z in z_seq:
        potential = potential + (z - potential) / tau
        potentials.append(potential)
    return torch.stack(potentials)


@neurocompile.host
class SpikeFeatures(nn.Module):
    """Spike trains as numbers: z = k * SFR + (1 - k) * PSP, firing rate and last postsynaptic potential (Eqs. 4 to 6).

    The paper gives no tau_syn; 2 is what the authors' code takes in its loss. (Here, their code has
    sum_t 0.8**(T - t) z_t, which is 5 times a potential with tau_syn = 5.)
    """

    def __init__(self, timesteps: int, tau: float = 2.0) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.tau = tau
        self.k = nn.Parameter(torch.tensor(0.5))

    def forward(self, z_seq: Tensor) -> Tensor:
        """Spikes [T, N, C, H, W] -> features [N, C, H, W]."""
        potential = z_seq[0] / self.tau
        for t in range(1, self.timesteps):
            potential = potential + (z_seq[t] - potential) / self.tau
        return self.k * z_seq.mean(0) + (1 - self.k) * potential


@neurocompile.host
class NearestCode(nn.Module):
    """Which vector of the codebook is nearest: argmin_k |z - e_k| (Eq. 7), found as argmin_k (|e_k|^2 - 2 z . e_k)."""

    def __init__(self, codebook: nn.Parameter) -> None:
        super().__init__()
        self.codebook = codebook

    def forward(self, z: Tensor) -> Tensor:
        """Features [N, C, H, W] -> codes [N, H, W]."""
        products = z.permute(0, 2, 3, 1) @ self.codebook.T
        return ((self.codebook**2).sum(1) - 2 * products).argmin(3).to(z.dtype)


@neurocompile.host
class CodeVectors(nn.Module):
    """The vectors that codes stand for (Eq. 8)."""

    def __init__(self, codebook: nn.Parameter) -> None:
        super().__init__()
        self.codebook = codebook

    def forward(self, codes: Tensor) -> Tensor:
        """Codes [N, H, W] -> vectors [N, C, H, W]."""
        return F.embedding(codes.long(), self.codebook).permute(0, 3, 1, 2)


@neurocompile.host
class Tanh(nn.Module):
    """The last nonlinearity of the decoder."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] -> [N, ...]."""
        return torch.tanh(x)


class ImageEncoder(nn.Module):
    """Images to codes: three spiking layers, then features and the nearest codes."""

    def __init__(self, sizes: Sizes, codebook: nn.Parameter) -> None:
        super().__init__()
        self.timesteps = sizes.timesteps
        first, second = sizes.widths
        self.layers = nn.Sequential(
            *_conv_bn_lif(sizes.channels, first, 3, stride=2),
            *_conv_bn_lif(first, second, 3, stride=2),
            *_conv_bn_lif(second, sizes.code_size, 1),
        )
        self.features = SpikeFeatures(sizes.timesteps)
        self.nearest = NearestCode(codebook)

    def trains(self, x: Tensor) -> Tensor:
        """Images [N, channels, H, W] -> spikes [T, N, code_size, H / 4, W / 4]."""
        z_seq: Tensor = self.layers(x.unsqueeze(0).repeat(self.timesteps, 1, 1, 1, 1))
        return z_seq

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, channels, H, W] -> codes [N, H / 4, W / 4]."""
        codes: Tensor = self.nearest(self.features(self.trains(x)))
        return codes


class CodeDecoder(nn.Module):
    """Codes to images: the adaptive spike generator, three transposed convolutions, a membrane readout.

    The generator (ASG, Sec. 2.2) is a spiking layer that is given a code's vector at every time step.
    """

    def __init__(self, sizes: Sizes, codebook: nn.Parameter) -> None:
        super().__init__()
        self.timesteps = sizes.timesteps
        first, second = sizes.widths
        self.vectors = CodeVectors(codebook)
        self.generator = nn.Sequential(*_conv_bn_lif(sizes.code_size, sizes.code_size, 1))
        self.layers = nn.Sequential(
            *_doubled_bn_lif(sizes.code_size, second),
            *_doubled_bn_lif(second, first),
            layer.ConvTranspose2d(first, sizes.channels, 3, padding=1, step_mode="m"),
        )
        self.readout = MembraneReadout(sizes.timesteps)
        self.tanh = Tanh()

    def trains(self, z: Tensor) -> Tensor:
        """Vectors [N, code_size, H, W] -> spikes [T, N, code_size, H, W]."""
        z_seq: Tensor = self.generator(z.unsqueeze(0).repeat(self.timesteps, 1, 1, 1, 1))
        return z_seq

    def image(self, z_seq: Tensor) -> Tensor:
        """Spikes [T, N, code_size, H, W] -> images [N, channels, 4 H, 4 W]."""
        x: Tensor = self.tanh(self.readout(self.layers(z_seq)))
        return x

    def forward(self, codes: Tensor) -> Tensor:
        """Codes [N, H, W] -> images [N, channels, 4 H, 4 W]."""
        return self.image(self.trains(self.vectors(codes)))


class VQSVAE(nn.Module):
    """The vector-quantized spiking autoencoder: ``encoder`` and ``decoder`` share one codebook [codes, code_size].

    The codebook starts between 0 and 1, where firing rates and potentials lie (ours; the authors' starts normal).
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        codebook = nn.Parameter(torch.rand(sizes.codes, sizes.code_size))
        self.encoder = ImageEncoder(sizes, codebook)
        self.decoder = CodeDecoder(sizes, codebook)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, channels, H, W] -> the same, after their codes."""
        reconstructed: Tensor = self.decoder(self.encoder(x))
        return reconstructed


def vq_svae_loss(model: VQSVAE, x: Tensor, beta: float = 0.25) -> Tensor:
    """What training minimizes (Eq. 9), with means in place of sums, as in the authors' code, and its beta.

    Gradients of the decoder's input go straight to the encoder's spikes, past codes and generator, which learn from the
    other terms. (The authors' code sends them to the features instead, divides the first term by the variance of the
    images, and weighs the second as the third.)
    """
    encoder, decoder = model.encoder, model.decoder
    encoded = encoder.trains(x)
    features = encoder.features(encoded)
    vectors = decoder.vectors(encoder.nearest(features))
    generated = decoder.trains(vectors)
    reconstructed = decoder.image(encoded + (generated - encoded).detach())
    of_encoded, of_generated = postsynaptic_potential(encoded), postsynaptic_potential(generated)
    return (
        F.mse_loss(reconstructed, x)
        + F.mse_loss(features, vectors)
        + F.mse_loss(of_generated, of_encoded.detach())
        + beta * F.mse_loss(of_encoded, of_generated.detach())
    )


# -- the diffusion of codes --------------------------------------------------------------------------------------------


@neurocompile.host
class TokenPlanes(nn.Module):
    """Tokens, and the diffusion step everywhere, as two channels of plain numbers (authors' code)."""

    def forward(self, tokens: Tensor, t: Tensor) -> Tensor:
        """[N, H, W], [N] -> [N, 2, H, W]."""
        return torch.stack((tokens, torch.ones_like(tokens) * t.view(-1, 1, 1)), dim=1)


class SDID(nn.Module):
    """The spiking diffusion image decoder: which code each masked token stands for.

    Five spiking layers; the last convolution reads the fifth beside the first, and its currents are averaged over time.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.timesteps = sizes.timesteps
        widths = sizes.denoiser_widths
        self.planes = TokenPlanes()
        self.layer1 = nn.Sequential(*_conv_bn_lif(2, widths[0], 3))
        self.layer2 = nn.Sequential(*_conv_bn_lif(widths[0], widths[1], 3))
        self.layer3 = nn.Sequential(*_conv_bn_lif(widths[1], widths[2], 3))
        self.layer4 = nn.Sequential(*_conv_bn_lif(widths[2], widths[3], 3))
        self.layer5 = nn.Sequential(*_conv_bn_lif(widths[3], widths[4], 3))
        self.conv = layer.Conv2d(widths[4] + widths[0], sizes.codes, 3, padding=1, step_mode="m")

    def forward(self, tokens: Tensor, t: Tensor) -> Tensor:
        """Codes with masks [N, H, W], diffusion steps [N] from 1 (floats) -> logits [N, codes, H, W]."""
        x_seq = self.planes(tokens, t).unsqueeze(0).repeat(self.timesteps, 1, 1, 1, 1)
        first = self.layer1(x_seq)
        fifth = self.layer5(self.layer4(self.layer3(self.layer2(first))))
        logits: Tensor = self.conv(torch.cat((fifth, first), dim=2)).mean(0)
        return logits


def mask_codes(codes: Tensor, t: Tensor, uniform: Tensor, steps: int, mask: int) -> Tensor:
    """Codes after t steps of absorbing diffusion: each masked with probability t / steps (Eqs. 10 to 12, multiplied).

    ``codes`` and ``uniform`` (random, 0 to 1) are [N, H, W], ``t`` [N] counts from 1 to ``steps``.
    """
    return torch.where(uniform < t.view(-1, 1, 1) / steps, mask, codes)


def code_loss(logits: Tensor, codes: Tensor, tokens: Tensor, t: Tensor, mask: int) -> Tensor:
    """What training SDID minimizes: -log p(code) of masked tokens, summed, over t (Eq. 14); the mean over samples.

    (The authors' code weighs with 1 - t / steps by default in place of 1 / t.)
    """
    surprise = F.cross_entropy(logits, codes.long(), reduction="none") * (tokens == mask)
    return (surprise.sum((1, 2)) / t).mean()


def sample(
    denoise: Denoiser,
    shape: tuple[int, ...],
    steps: int,
    random: np.random.Generator,
    mask: int,
    temperature: float = 1.0,
) -> Array:
    """Codes [N, H, W] out of masks, by the reverse of the absorbing diffusion (Sec. 2.3).

    At step t, from ``steps`` down to 1, each token that is still masked is drawn with probability 1 / t, from the
    softmax of its logits divided by ``temperature`` (as the largest of logits and Gumbel noise).

    Args:
        denoise: SDID, in any executor: tokens[N, H, W], t[N] -> logits[N, codes, H, W]. Called once a diffusion step.
        shape: of the codes, [N, H, W].
        steps: of the diffusion, as in training.
        random: at every step one call draws ``shape`` uniform numbers and one Gumbel noise in the shape of the logits:
            two executors that are given generators of the same seed are given the same numbers.
        mask: the token of a masked code.
        temperature: above 0; less makes likelier codes likelier.
    """
    tokens = np.full(shape, float(mask))
    for t in range(steps, 0, -1):
        logits = np.asarray(denoise(tokens, np.full(shape[0], float(t))), np.float64)
        revealed = (random.random(shape) < 1.0 / t) & (tokens == mask)
        drawn = (logits / temperature + random.gumbel(size=logits.shape)).argmax(1)
        tokens = np.where(revealed, drawn, tokens)
    return tokens
