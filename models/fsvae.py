"""The fully spiking variational autoencoder, FSVAE (Kamata, Mukuta, Harada, AAAI 2022, arXiv:2110.00375).

Sizes, layers and equations follow the authors' code: kamata1729/FullySpikingVAE, fsvae_models/fsvae.py,
fsvae_posterior.py, fsvae_prior.py, snn_layers.py and NetworkConfigs/.

Images hold -1 to 1 and are shown at every time step, ``x_seq[T, N, channels, H, W]``. The latent variables are spike
trains ``z_seq[T, N, C]``. All randomness is an input: ``indices[T, N, C]``, whole numbers from 0 to k - 1 held as
floats, drawn uniformly.
"""

from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer
from spikingjelly.activation_based.base import MemoryModule
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import neurocompile
from neurocompile.models.spiking_diffusion import postsynaptic_potential
from neurocompile.vocabulary.feedback import Feedback
from neurocompile.vocabulary.mpbn import StrictRectangle
from neurocompile.vocabulary.readout import MembraneReadout

__all__ = [
    "CONFIGURATIONS",
    "FSVAE",
    "FSVAEReconstruct",
    "FSVAESample",
    "ImageDecoder",
    "ImageEncoder",
    "OneOfK",
    "PosteriorStep",
    "PriorStep",
    "Sizes",
    "StrictLIF",
    "fsvae_loss",
    "growing_prefix",
]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network.

    The encoder has a convolution with each of the ``widths``, which halves the image, and leaves 2 x 2 places; the
    decoder has the same, backwards. ``latent`` is C, the number of latent variables, ``k`` how many spikes one of them
    is picked from, ``timesteps`` T.
    """

    channels: int
    image_size: int
    widths: tuple[int, ...] = (32, 64, 128, 256)
    latent: int = 128
    k: int = 20
    timesteps: int = 16

    def __post_init__(self) -> None:
        if self.image_size != 2 ** (len(self.widths) + 1):
            raise ValueError(f"{len(self.widths)} halvings do not leave 2 x 2 of an image of {self.image_size}")


CONFIGURATIONS = {
    "mnist": Sizes(channels=1, image_size=32),
    "fashion-mnist": Sizes(channels=1, image_size=32),
    "cifar10": Sizes(channels=3, image_size=32),
    "celeba": Sizes(channels=3, image_size=64, widths=(32, 64, 128, 256, 512)),
    "small": Sizes(1, 8, (16, 32), 16, 4, 4),
}
"""The published networks (images of MNIST and Fashion-MNIST were enlarged to 32 x 32), and "small", our size, for
digits of 8 x 8."""

V_TH = 0.2
"""The threshold of every neuron, and a factor of every batch norm (authors' code: ``Vth``)."""


@neurocompile.neuron(lambda m: neurocompile.equation(threshold=m.v_threshold, decay=m.decay, gain=m.gain, strict=True))
class StrictLIF(MemoryModule):  # type: ignore[misc]
    """Leaky integrate-and-fire neurons that fire above their threshold, not at it. Each step, with v = 0 at first:

        h = decay * v + gain * x
        o = 1 if h > V_th else 0
        v = h * (1 - o)

    FSVAE writes it as u[t] = decay * u[t - 1] * (1 - o[t - 1]) + x[t], which is the same; its u is h. Between calls the
    state is kept, as in every neuron of SpikingJelly.

    Args:
        decay: what stays of the membrane.
        gain: of the current.
        v_threshold: V_th.
        surrogate_function: gives 1 where h - V_th > 0, else 0, and has a gradient.
        detach_reset: no gradient flows through the factor 1 - o.
        step_mode: "m": currents [T, N, ...] -> spikes [T, N, ...]; "s": one step [N, ...] a call.
    """

    def __init__(
        self,
        decay: float,
        gain: float,
        v_threshold: float,
        surrogate_function: nn.Module,
        detach_reset: bool = False,
        step_mode: str = "m",
    ) -> None:
        super().__init__()
        self.decay = decay
        self.gain = gain
        self.v_threshold = v_threshold
        self.surrogate_function = surrogate_function
        self.detach_reset = detach_reset
        self.step_mode = step_mode
        self.register_memory("v", 0.0)

    def single_step_functional_forward(
        self, inputs: tuple[Tensor, ...], states: tuple[Any, ...], **kwargs: object
    ) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """Currents and membranes of one step [N, ...] -> spikes and membranes [N, ...]."""
        (x,), (v,) = inputs, states
        h = self.decay * v + self.gain * x
        o = self.surrogate_function(h - self.v_threshold)
        return (o,), (h * (1 - (o.detach() if self.detach_reset else o)),)

    def extra_repr(self) -> str:
        """Shown by `repr`."""
        return f"decay={self.decay}, gain={self.gain}, v_threshold={self.v_threshold}, step_mode={self.step_mode}"


def _lif(step_mode: str = "m") -> nn.Module:
    # With u = h, the window 0 <= (u - V_th) + (V_th + 1/2) <= 1 is the authors' |u| <= 1/2.
    neuron: nn.Module = StrictLIF(0.25, 1.0, V_TH, StrictRectangle(V_TH + 0.5), step_mode=step_mode)
    return neuron


def _tdbn(norm: nn.Module, alpha: float) -> nn.Module:
    """Threshold-dependent batch norm: alpha * V_th * (x - mean) / std * gamma + beta, statistics over T and N.

    (Zheng et al., AAAI 2021, arXiv:2011.05280.) As in SpikingJelly, the weight of the norm is alpha * V_th * gamma.
    """
    nn.init.constant_(norm.weight, alpha * V_TH)  # type: ignore[arg-type]
    return norm


def _linear_bn_lif(inputs: int, outputs: int, alpha: float = 1.0, step_mode: str = "m") -> tuple[nn.Module, ...]:
    """[T, N, inputs] -> [T, N, outputs]."""
    return (
        layer.Linear(inputs, outputs, step_mode=step_mode),
        _tdbn(layer.BatchNorm1d(outputs, step_mode=step_mode), alpha),
        _lif(step_mode),
    )


def _halved_bn_lif(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """[T, N, inputs, H, W] -> [T, N, outputs, H / 2, W / 2]."""
    return (
        layer.Conv2d(inputs, outputs, 3, stride=2, padding=1, step_mode="m"),
        _tdbn(layer.BatchNorm2d(outputs, step_mode="m"), 1.0),
        _lif(),
    )


def _doubled_bn_lif(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """[T, N, inputs, H, W] -> [T, N, outputs, 2 H, 2 W]."""
    return (
        layer.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, step_mode="m"),
        _tdbn(layer.BatchNorm2d(outputs, step_mode="m"), 1.0),
        _lif(),
    )


# -- encoder and decoder -----------------------------------------------------------------------------------------------


class ImageEncoder(nn.Module):
    """Images to the spikes that the posterior hears: halving convolutions, then one linear layer."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        inputs = sizes.channels
        for width in sizes.widths:
            parts += _halved_bn_lif(inputs, width)
            inputs = width
        parts += (layer.Flatten(step_mode="m"), *_linear_bn_lif(4 * inputs, sizes.latent))
        self.layers = nn.Sequential(*parts)

    def forward(self, x_seq: Tensor) -> Tensor:
        """Images [T, N, channels, H, W] -> spikes [T, N, C]."""
        spikes: Tensor = self.layers(x_seq)
        return spikes


class ImageDecoder(nn.Module):
    """Latent spikes to an image: a linear layer, doubling transposed convolutions, one more, its membrane, tanh.

    The membrane is that of a neuron that never fires, after the last step: sum over t of 0.8**(T - t) * x[t].
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        widths = sizes.widths[::-1]
        parts = [*_linear_bn_lif(sizes.latent, 4 * widths[0]), nn.Unflatten(2, (widths[0], 2, 2))]
        for inputs, outputs in zip(widths, (*widths[1:], widths[-1])):
            parts += _doubled_bn_lif(inputs, outputs)
        self.layers = nn.Sequential(*parts)
        self.conv = layer.ConvTranspose2d(widths[-1], sizes.channels, 3, padding=1, step_mode="m")
        self.membrane = MembraneReadout(sizes.timesteps, decay=0.8)
        self.tanh = nn.Tanh()

    def forward(self, z_seq: Tensor) -> Tensor:
        """Latent spikes [T, N, C] -> images [N, channels, H, W]."""
        image: Tensor = self.tanh(self.membrane(self.conv(self.layers(z_seq))))
        return image


# -- the autoregressive Bernoulli distributions ------------------------------------------------------------------------


@neurocompile.host(carries="spikes")
class OneOfK(nn.Module):
    """A sample of C Bernoulli variables, each one of k spikes: z[c] = spikes[k * c + index[c]]."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, spikes: Tensor, indices: Tensor) -> Tensor:
        """Spikes [..., C * k], indices [..., C] -> [..., C]."""
        groups = spikes.reshape(*indices.shape, self.k)
        return groups.gather(-1, indices.long().unsqueeze(-1)).squeeze(-1)


def _bernoulli_layers(inputs: int, latent: int, k: int) -> nn.Sequential:
    return nn.Sequential(
        *_linear_bn_lif(inputs, 2 * latent, alpha=2.0, step_mode="s"),
        *_linear_bn_lif(2 * latent, 4 * latent, alpha=2.0, step_mode="s"),
        *_linear_bn_lif(4 * latent, k * latent, alpha=2.0, step_mode="s"),
    )


class PosteriorStep(nn.Module):
    """One step of q(z_t | x_<=t, z_<t): three layers of neurons, whose state stands for the past, and a pick."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.layers = _bernoulli_layers(2 * sizes.latent, sizes.latent, sizes.k)
        self.pick = OneOfK(sizes.k)

    def forward(self, x: Tensor, indices: Tensor, z_before: Tensor) -> Tensor:
        """The encoder's spikes [N, C], indices [N, C], z of the step before [N, C] -> z [N, C]."""
        z: Tensor = self.pick(self.layers(torch.cat((x, z_before), dim=1)), indices)
        return z


class PriorStep(nn.Module):
    """One step of p(z_t | z_<t): as the posterior's, without an image."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.layers = _bernoulli_layers(sizes.latent, sizes.latent, sizes.k)
        self.pick = OneOfK(sizes.k)

    def forward(self, indices: Tensor, z_before: Tensor) -> Tensor:
        """Indices [N, C], z of the step before [N, C] -> z [N, C]."""
        z: Tensor = self.pick(self.layers(z_before), indices)
        return z


# -- the networks ------------------------------------------------------------------------------------------------------


class FSVAEReconstruct(nn.Module):
    """Images to images: encoder, posterior, decoder.

    Args:
        sizes: of the network.
        decoder: that of another network, to share it; None: one of its own.
    """

    def __init__(self, sizes: Sizes, decoder: ImageDecoder | None = None) -> None:
        super().__init__()
        self.encoder = ImageEncoder(sizes)
        self.posterior = Feedback(PosteriorStep(sizes), (sizes.latent,))
        self.decoder = decoder or ImageDecoder(sizes)

    def forward(self, x_seq: Tensor, indices: Tensor) -> Tensor:
        """Images [T, N, channels, H, W], indices [T, N, C] -> images [N, channels, H, W]."""
        image: Tensor = self.decoder(self.posterior(self.encoder(x_seq), indices))
        return image


class FSVAESample(nn.Module):
    """Random indices to images: prior, decoder. Arguments as for :class:`FSVAEReconstruct`."""

    def __init__(self, sizes: Sizes, decoder: ImageDecoder | None = None) -> None:
        super().__init__()
        self.prior = Feedback(PriorStep(sizes), (sizes.latent,))
        self.decoder = decoder or ImageDecoder(sizes)

    def forward(self, indices: Tensor) -> Tensor:
        """Indices [T, N, C] -> images [N, channels, H, W]."""
        image: Tensor = self.decoder(self.prior(indices))
        return image


class FSVAE(nn.Module):
    """Both networks as they are trained, with one decoder. Arguments and result as for :class:`FSVAEReconstruct`."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.reconstruct = FSVAEReconstruct(sizes)
        self.sample = FSVAESample(sizes, self.reconstruct.decoder)

    def forward(self, x_seq: Tensor, indices: Tensor) -> Tensor:
        """Images [T, N, channels, H, W], indices [T, N, C] -> images [N, channels, H, W]."""
        image: Tensor = self.reconstruct(x_seq, indices)
        return image


# -- training ----------------------------------------------------------------------------------------------------------


def _whole_sequence(layers: nn.Module, inputs_seq: Tensor) -> Tensor:
    """The layers of a step on all steps at once, from rest, so that their norms see all steps: [T, N, ...] twice."""
    functional.reset_net(layers)
    functional.set_step_mode(layers, "m")
    spikes: Tensor = layers(inputs_seq)
    functional.set_step_mode(layers, "s")
    functional.reset_net(layers)
    return spikes


def growing_prefix(step: PosteriorStep | PriorStep, indices: Tensor, x_seq: Tensor | None = None) -> Tensor:
    """z_seq [T, N, C] as the authors' code draws it: for every t all layers run again on the steps up to t.

    In eval mode this is what the loop over single steps gives. In training the norms take the statistics of all steps
    up to t, where the loop would take those of step t alone.

    Args:
        step: of the posterior or of the prior.
        indices: [T, N, C].
        x_seq: the encoder's spikes [T, N, C]; None for the prior.
    """
    z_before = torch.zeros_like(indices[:1])
    for t in range(len(indices)):
        inputs_seq = z_before if x_seq is None else torch.cat((x_seq[: t + 1], z_before), dim=2)
        z = step.pick(_whole_sequence(step.layers, inputs_seq)[t], indices[t])
        z_before = torch.cat((z_before, z.unsqueeze(0)))
    return z_before[1:]


def fsvae_loss(model: FSVAE, x_seq: Tensor, indices: Tensor) -> Tensor:
    """Reconstruction error plus the squared maximum mean discrepancy of posterior and prior.

        mean((x - x')**2) + mean((PSP(E q) - PSP(E p))**2)

    E is the mean of the k spikes of a variable, PSP the postsynaptic potential with tau = 2 (authors' code:
    ``loss_function_mmd``). Both distributions are given the same z before each step, through which no gradient flows.
    The prior hears the posterior's z at every step: the authors' scheduled sampling is left out.
    """
    x = model.reconstruct.encoder(x_seq)
    posterior, prior = model.reconstruct.posterior.inner, model.sample.prior.inner
    assert isinstance(posterior, PosteriorStep)
    assert isinstance(prior, PriorStep)
    with torch.no_grad():
        drawn = growing_prefix(posterior, indices[:-1], x[:-1])
    z_before = torch.cat((torch.zeros_like(indices[:1]), drawn))
    q = _whole_sequence(posterior.layers, torch.cat((x, z_before), dim=2))
    z_seq = posterior.pick(q, indices)
    p = _whole_sequence(prior.layers, torch.cat((torch.zeros_like(indices[:1]), z_seq[:-1].detach())))
    mean_q, mean_p = (spikes.reshape(*indices.shape, posterior.pick.k).mean(3) for spikes in (q, p))
    discrepancy = mse_loss(postsynaptic_potential(mean_q), postsynaptic_potential(mean_p))
    return mse_loss(model.reconstruct.decoder(z_seq), x_seq[0]) + discrepancy
