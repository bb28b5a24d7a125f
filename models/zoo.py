"""Every network of the papers by name: how it is made, what it reads, where its sizes are from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocompile.models import dsr, fsvae, resnet, sddpm, sgad, spiking_diffusion, spiking_gan, vgg
from neurocompile.models.calibration import calibrate, firing_rates, randomize
from neurocompile.models.configuration import Configuration
from neurocompile.reports.zoo import Measured

__all__ = ["ZOO", "Network", "images"]

Sampler = Callable[[int, torch.Generator], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Network:
    """One row of the zoo.

    Attributes:
        name: by which it is asked for.
        paper: whose network it is.
        make: gives the network, untrained.
        samples: so many made-up inputs in the layout of its forward.
        layout: how forward takes time and batch.
        timesteps: T.
        source: where its sizes were published, or "our size".
        size: "paper", or "small": one that trains on a laptop.
        fires: the shares of spikes between which its layers are calibrated; None: it fires as it was made (neurons
            that fire at most once).
    """

    name: str
    paper: str
    make: Callable[[], nn.Module]
    samples: Sampler
    layout: Literal["TN", "N"]
    timesteps: int
    source: str
    size: Literal["paper", "small"]
    fires: tuple[float, float] | None = (0.10, 0.15)

    def synthetic(self, seed: int = 0, samples: int = 4) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The network with random weights that fires as a trained one does, in eval mode, and a few inputs for it.

        Args:
            seed: of weights and inputs.
            samples: how many inputs.
        """
        random = torch.Generator().manual_seed(seed)
        inputs = self.samples(samples, random)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.make().eval().requires_grad_(False)
        randomize(module, seed)
        if self.fires is not None:
            calibrate(module, inputs, *self.fires)
        return module, inputs

    def firing_rates(self, module: nn.Module, inputs: Sequence[Tensor]) -> dict[str, float]:
        """The share of places and steps that fire, of each layer of neurons of what :meth:`synthetic` gave."""
        return firing_rates(module, inputs)

    def measure(self, seed: int = 0, samples: int = 2) -> Measured:
        """What it takes and costs (:func:`.measurement.measure`)."""
        from neurocompile.models.measurement import measure  # what only lists networks needs no simulator

        return measure(self, seed, samples)


def images(shape: Sequence[int], count: int, random: torch.Generator) -> Tensor:
    """Smooth images ``[count, C, H, W]``, all different: multiples of 1/255 from 0 to 1."""
    channels, height, width = shape
    total = torch.zeros(count, channels, height, width)
    for cells, strength in ((3, 1.2), (6, 0.8), (13, 0.4)):
        coarse = strength * torch.randn(count, channels, cells, cells, generator=random)
        total += F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    deviation, mean = torch.std_mean(total, (2, 3), keepdim=True)
    return (((total - mean) / deviation).sigmoid_() * 255).round_() / 255


def event_frames(shape: Sequence[int], timesteps: int, count: int, random: torch.Generator) -> Tensor:
    """Frames of 2-channel events ``[T, count, 2, H, W]``: a moving edge's counts, 0 in most places."""
    smooth = images((shape[0], shape[1], shape[2]), timesteps * count, random)
    counts = ((smooth - 0.7).clamp(min=0) * 20).round()
    return counts.unflatten(0, (timesteps, count))  # type: ignore[no-any-return, no-untyped-call]


# -- what each reads ---------------------------------------------------------------------------------------------------


def _classifier(name: str, paper: str, made: Configuration) -> Network:
    def samples(count: int, random: torch.Generator) -> tuple[Tensor, ...]:
        if made.image[0] == 2:
            return (event_frames(made.image, made.timesteps, count, random),)
        return (images(made.image, count, random).expand(made.timesteps, -1, -1, -1, -1).clone(),)

    size: Literal["paper", "small"] = "small" if made.source == "our size" else "paper"
    return Network(name, paper, made.make, samples, "TN", made.timesteps, made.source, size)


def _of_images(shape: tuple[int, int, int], least: float, most: float) -> Sampler:
    return lambda count, random: (least + (most - least) * images(shape, count, random),)


def _size_of(name: str) -> Literal["paper", "small"]:
    return "small" if name == "small" else "paper"


def _spiking_diffusion() -> list[Network]:
    paper = "Spiking-Diffusion"
    source = "Arktis2022/Spiking-Diffusion, snn_model/vae_model.py, vq_diffusion.py, main.py"
    found = []
    for name, sizes in spiking_diffusion.CONFIGURATIONS.items():
        about = (sizes.timesteps, source if name == "mnist" else "our size", _size_of(name))
        shape = (sizes.channels, sizes.image_size, sizes.image_size)

        def tokens(count: int, random: torch.Generator, sizes: spiking_diffusion.Sizes = sizes) -> tuple[Tensor, ...]:
            drawn = torch.randint(0, sizes.codes + 1, (count, *sizes.code_shape), generator=random)
            return drawn.float(), torch.randint(1, sizes.steps + 1, (count,), generator=random).float()

        found += [
            Network(f"vq-svae-{name}", paper, lambda sizes=sizes: spiking_diffusion.VQSVAE(sizes),  # type: ignore[misc]
                    _of_images(shape, -0.5, 0.5), "N", *about),
            Network(f"sdid-{name}", paper, lambda sizes=sizes: spiking_diffusion.SDID(sizes),  # type: ignore[misc]
                    tokens, "N", *about),
        ]  # fmt: skip
    return found


def _sddpm() -> list[Network]:
    source = "AndyCao1125/SDDPM, model/SpikingUNet.py, main_SDDPM.py"
    found = []
    for name, sizes in sddpm.CONFIGURATIONS.items():

        def noisy(count: int, random: torch.Generator, sizes: sddpm.Sizes = sizes) -> tuple[Tensor, ...]:
            x = torch.randn(count, sizes.channels, sizes.image_size, sizes.image_size, generator=random)
            return x, torch.randint(0, sizes.steps, (count,), generator=random).float()

        where = {"small": "our size", "cifar10-tsm": "AndyCao1125/SDM, SDM/TSM.py"}.get(name, source)
        found.append(Network(f"sddpm-{name}", "SDDPM", lambda sizes=sizes: sddpm.SpikingUNet(sizes),  # type: ignore[misc]
                             noisy, "N", sizes.timesteps, where, _size_of(name)))  # fmt: skip
    return found


def _fsvae() -> list[Network]:
    source = "kamata1729/FullySpikingVAE, fsvae_models, NetworkConfigs"
    found = []
    for name, sizes in fsvae.CONFIGURATIONS.items():
        about = (sizes.timesteps, "our size" if name == "small" else source, _size_of(name))

        def indices(count: int, random: torch.Generator, sizes: fsvae.Sizes = sizes) -> Tensor:
            shape = (sizes.timesteps, count, sizes.latent)
            return torch.randint(0, sizes.k, shape, generator=random).float()

        def both(
            count: int,
            random: torch.Generator,
            sizes: fsvae.Sizes = sizes,
            indices: Callable[[int, torch.Generator], Tensor] = indices,
        ) -> tuple[Tensor, ...]:
            seen = 2 * images((sizes.channels, sizes.image_size, sizes.image_size), count, random) - 1
            return seen.expand(sizes.timesteps, -1, -1, -1, -1).clone(), indices(count, random)

        found += [
            Network(f"fsvae-{name}", "FSVAE", lambda sizes=sizes: fsvae.FSVAEReconstruct(sizes), both, "TN", *about),  # type: ignore[misc]
            Network(f"fsvae-{name}-sample", "FSVAE", lambda sizes=sizes: fsvae.FSVAESample(sizes),  # type: ignore[misc]
                    lambda count, random, indices=indices: (indices(count, random),), "TN", *about),  # type: ignore[misc]
        ]  # fmt: skip
    return found


def _sgad() -> list[Network]:
    source = "Brain-Cog-Lab/sgad, models/generators.py, discriminators.py, train/sgad_*.yaml"
    found = []
    for name, sizes in sgad.CONFIGURATIONS.items():
        where = {"small": "our size", "cifar10": f"{source}; all but the scored features: our size"}.get(name, source)
        about = (sizes.timesteps, where, _size_of(name))
        shape = (sizes.channels, sizes.image_size, sizes.image_size)
        found += [
            Network(f"sgad-{name}", "SGAD", lambda sizes=sizes: sgad.Generator(sizes),  # type: ignore[misc]
                    lambda count, random, sizes=sizes: (torch.rand(count, sizes.latent, generator=random),),  # type: ignore[misc]
                    "N", *about),
            Network(f"sgad-{name}-discriminator", "SGAD", lambda sizes=sizes: sgad.Discriminator(sizes),  # type: ignore[misc]
                    _of_images(shape, 0.0, 1.0), "N", *about),
        ]  # fmt: skip
    return found


def _spiking_gan() -> list[Network]:
    found = []
    for name, sizes in spiking_gan.CONFIGURATIONS.items():
        where = "our size" if name == "small" else "images of the paper; the rest as SRKH/S4NN, or our size"
        about = (sizes.timesteps, where, _size_of(name), None)

        def times(count: int, random: torch.Generator, sizes: spiking_gan.Sizes = sizes) -> tuple[Tensor, ...]:
            return (torch.randint(0, sizes.timesteps, (count, sizes.noise), generator=random).float(),)

        shape = (sizes.channels, sizes.image_size, sizes.image_size)
        found += [
            Network(f"spiking-gan-{name}", "Spiking-GAN", lambda sizes=sizes: spiking_gan.Generator(sizes),  # type: ignore[misc]
                    times, "N", *about),
            Network(f"spiking-gan-{name}-discriminator", "Spiking-GAN",
                    lambda sizes=sizes: spiking_gan.Discriminator(sizes),  # type: ignore[misc]
                    _of_images(shape, 0.0, 1.0), "N", *about),
        ]  # fmt: skip
    return found


def _all() -> Mapping[str, Network]:
    classifiers = [
        _classifier(name, paper, made)
        for paper, table in (("MPBN", {**resnet.CONFIGURATIONS, **vgg.CONFIGURATIONS}), ("DSR", dsr.CONFIGURATIONS))
        for name, made in table.items()
    ]
    generators = [*_spiking_diffusion(), *_sddpm(), *_fsvae(), *_sgad(), *_spiking_gan()]
    return {network.name: network for network in (*classifiers, *generators)}


ZOO: Mapping[str, Network] = _all()
"""All networks by name."""
