"""The trained generators of digits: their networks, and what is made with them in PyTorch or in a compiled program.

A generator is one or more networks, each of which is compiled on its own (:class:`Part`), and what stands around them:
a loop over the steps of a diffusion, or nothing. Whoever runs a network gets the same arrays and the same random
numbers. Images are [N, 1, H, W] from 0 to 1, as digits of 8 x 8 pixels or enlarged to 16 x 16.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.nn.functional import interpolate

import neurocompile
from neurocompile.data import arrange_inputs
from neurocompile.frontends import live_model
from neurocompile.frontends.base import Layout
from neurocompile.ir.ops import Array
from neurocompile.models import fsvae, sddpm, sgad, spiking_diffusion, spiking_gan
from neurocompile.models.digits import load_digits_split
from neurocompile.program import Program
from neurocompile.simulator.execution import IntegerExecutor

__all__ = [
    "CHECKPOINTS",
    "DIFFUSION_SIZES",
    "FSVAE_SIZES",
    "GENERATORS",
    "MODELS",
    "SDDPM_SIZES",
    "SDDPM_TSM_SIZES",
    "SGAD_SIZES",
    "SPIKING_GAN_SIZES",
    "Generator",
    "Network",
    "Networks",
    "Part",
    "betas",
    "compiled",
    "digit_images",
    "in_program",
    "in_torch",
    "trained",
]

CHECKPOINTS = Path(__file__).parent / "checkpoints"
_CHUNK = 128
_EXAMPLES = 256

Network = Callable[..., Array]
"""Runs one network: an array for each argument of forward, samples first, time (if it has that) second -> [N, ...]."""

Networks = Mapping[str, Network]


DIFFUSION_SIZES = spiking_diffusion.CONFIGURATIONS["small"]
FSVAE_SIZES = fsvae.CONFIGURATIONS["small"]
SDDPM_TSM_SIZES = sddpm.CONFIGURATIONS["small"]
SDDPM_SIZES = replace(SDDPM_TSM_SIZES, temporal_gains=False)
SGAD_SIZES = sgad.Sizes(1, 8, 16, 128, (64, 32), None, 32, (16, 32), 64, 4)
SPIKING_GAN_SIZES = spiking_gan.Sizes(channels=1, image_size=8, noise=64, hidden=384, timesteps=32)

MODELS: dict[str, Callable[[], nn.Module]] = {
    "vq-svae-digits": lambda: spiking_diffusion.VQSVAE(DIFFUSION_SIZES),
    "sdid-digits": lambda: spiking_diffusion.SDID(DIFFUSION_SIZES),
    "fsvae-digits": lambda: fsvae.FSVAE(FSVAE_SIZES),
    "sddpm-digits": lambda: sddpm.SpikingUNet(SDDPM_SIZES),
    "sddpm-tsm-digits": lambda: sddpm.SpikingUNet(SDDPM_TSM_SIZES),
    "sgad-digits": lambda: sgad.Generator(SGAD_SIZES),
    "spiking-gan-digits": lambda: spiking_gan.Generator(SPIKING_GAN_SIZES),
}
"""What a checkpoint, NAME.pt, is the state_dict of."""


def trained(name: str, folder: Path = CHECKPOINTS) -> nn.Module:
    """A model with its trained weights, in eval mode."""
    model = MODELS[name]()
    model.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
    return model.eval().requires_grad_(False)


def digit_images(size: int) -> tuple[Tensor, Tensor]:
    """Training digits [1347, 1, size, size] and held-out ones [450, ...]; those of 8 x 8 enlarged bilinearly."""
    x_train, _, x_test, _ = load_digits_split()
    enlarged = (interpolate(torch.from_numpy(x), size=size, mode="bilinear") for x in (x_train, x_test))
    return tuple(enlarged)  # type: ignore[return-value]


# -- a network, and who runs it ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A network that is compiled on its own; ``example`` chooses the ranges of its inputs.

    With the layout "N" arguments are [N, ...], with "TN" they are [N, T, ...] here and [T, N, ...] in torch.
    """

    module: nn.Module
    example: tuple[Array, ...]
    timesteps: int
    layout: Layout = "N"


def in_torch(part: Part) -> Network:
    """PyTorch, in the precision of the weights."""
    dtype = next(part.module.parameters()).dtype

    def placed(x: Array) -> Tensor:
        given = torch.as_tensor(x, dtype=dtype)
        return given if part.layout == "N" else given.transpose(0, 1)

    @torch.no_grad()
    def run(*arrays: Array) -> Array:
        found = []
        for start in range(0, len(arrays[0]), _CHUNK):
            functional.reset_net(part.module)
            found.append(part.module(*(placed(x[start : start + _CHUNK]) for x in arrays)))
        functional.reset_net(part.module)
        result: Array = torch.cat(found).double().numpy()
        return result

    return run


def compiled(part: Part, target: str = "generic") -> Program:
    """The network as a program of integers, weights of 8 bits."""
    lead = 1 if part.layout == "N" else 2
    shapes = {str(number): example.shape[lead:] for number, example in enumerate(part.example)}
    example = dict(zip(shapes, part.example, strict=True))
    model = live_model(
        part.module, example, input_shape=shapes, timesteps=part.timesteps, layout=part.layout, carries="real"
    )
    return neurocompile.compile(model, target, bits=8)


def in_program(program: Program) -> Network:
    """What a program computes, host regions included."""
    executor = IntegerExecutor(program)

    def run(*arrays: Array) -> Array:
        named = dict(zip(program.input_shapes, arrays, strict=True))
        data = arrange_inputs(named, program.input_shapes, program.timesteps, "the generator")
        parts = (data.part(start, start + _CHUNK).inputs for start in range(0, len(data), _CHUNK))
        return np.concatenate([executor.run(inputs, spikes=False).outputs["output"] for inputs in parts])

    return run


# -- the generators ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Generator:
    """What a trained generator does.

    Attributes:
        parts: its trained networks by name.
        image_size: rows of its images.
        reconstruct: with its networks, images [N, 1, H, W] to images; None: it only draws.
        sample: with its networks, so many images; None: it only reconstructs.
    """

    parts: Callable[[], dict[str, Part]]
    image_size: int
    reconstruct: Callable[[Networks, Array, np.random.Generator], Array] | None = None
    sample: Callable[[Networks, int, np.random.Generator], Array] | None = None


def _numpy(*tensors: Tensor) -> tuple[Array, ...]:
    return tuple(x.double().numpy() for x in tensors)


def _vq_svae_parts() -> dict[str, Part]:
    x, _ = digit_images(DIFFUSION_SIZES.image_size)
    return {"autoencoder": Part(trained("vq-svae-digits"), _numpy(x[:_EXAMPLES] - 0.5), DIFFUSION_SIZES.timesteps)}


def _vq_svae_reconstruct(networks: Networks, x: Array, random: np.random.Generator) -> Array:
    return networks["autoencoder"](x - 0.5) + 0.5


def _sdid_parts() -> dict[str, Part]:
    sizes, random = DIFFUSION_SIZES, torch.Generator().manual_seed(0)
    autoencoder = trained("vq-svae-digits")
    assert isinstance(autoencoder, spiking_diffusion.VQSVAE)
    x, _ = digit_images(sizes.image_size)
    codes = autoencoder.encoder(x[:_EXAMPLES] - 0.5)
    functional.reset_net(autoencoder)
    t = torch.randint(1, sizes.steps + 1, (len(codes),), generator=random).float()
    uniform = torch.rand(codes.shape, generator=random)
    tokens = spiking_diffusion.mask_codes(codes, t, uniform, sizes.steps, sizes.mask)
    return {
        "denoiser": Part(trained("sdid-digits"), _numpy(tokens, t), sizes.timesteps),
        "decoder": Part(autoencoder.decoder, _numpy(codes), sizes.timesteps),
    }


def _sdid_sample(networks: Networks, count: int, random: np.random.Generator) -> Array:
    sizes = DIFFUSION_SIZES
    shape = (count, *sizes.code_shape)
    codes = spiking_diffusion.sample(networks["denoiser"], shape, sizes.steps, random, sizes.mask)
    return networks["decoder"](codes) + 0.5


def _indices(count: int, random: np.random.Generator) -> Array:
    sizes = FSVAE_SIZES
    return random.integers(0, sizes.k, (count, sizes.timesteps, sizes.latent)).astype(np.float64)


def _shown(x: Array) -> Array:
    """Images [N, 1, H, W] as FSVAE takes them, [N, T, 1, H, W]."""
    return np.repeat(x[:, None] * 2 - 1, FSVAE_SIZES.timesteps, axis=1)


def _fsvae_parts() -> dict[str, Part]:
    model, sizes = trained("fsvae-digits"), FSVAE_SIZES
    assert isinstance(model, fsvae.FSVAE)
    (x,) = _numpy(digit_images(sizes.image_size)[0][:_EXAMPLES])
    indices = _indices(len(x), np.random.default_rng(0))
    return {
        "reconstruct": Part(model.reconstruct, (_shown(x), indices), sizes.timesteps, "TN"),
        "sample": Part(model.sample, (indices,), sizes.timesteps, "TN"),
    }


def _fsvae_reconstruct(networks: Networks, x: Array, random: np.random.Generator) -> Array:
    return (networks["reconstruct"](_shown(x), _indices(len(x), random)) + 1) / 2


def _fsvae_sample(networks: Networks, count: int, random: np.random.Generator) -> Array:
    return (networks["sample"](_indices(count, random)) + 1) / 2


def betas() -> Array:
    """The noise of each step of the diffusion of images."""
    return sddpm.beta_schedule(SDDPM_SIZES.steps, SDDPM_SIZES.first_beta, SDDPM_SIZES.last_beta)


def _sddpm_parts(name: str) -> dict[str, Part]:
    sizes, random = SDDPM_SIZES, torch.Generator().manual_seed(0)
    x = digit_images(sizes.image_size)[0][:_EXAMPLES] * 2 - 1
    t = torch.randint(sizes.steps, (len(x),), generator=random).float()
    noisy = sddpm.diffuse(x, t, torch.randn(x.shape, generator=random), betas())
    return {"denoiser": Part(trained(name), _numpy(noisy, t), sizes.timesteps)}


def _sddpm_sample(networks: Networks, count: int, random: np.random.Generator) -> Array:
    sizes = SDDPM_SIZES
    shape = (count, sizes.channels, sizes.image_size, sizes.image_size)
    return (sddpm.sample(networks["denoiser"], shape, sizes.steps, random, betas()) + 1) / 2


def _sgad_sample(networks: Networks, count: int, random: np.random.Generator) -> Array:
    return networks["generator"](random.standard_normal((count, SGAD_SIZES.latent)))


def _sgad_parts() -> dict[str, Part]:
    z = np.random.default_rng(1).standard_normal((_EXAMPLES, SGAD_SIZES.latent))
    return {"generator": Part(trained("sgad-digits"), (z,), SGAD_SIZES.timesteps)}


def _spike_times(count: int, random: np.random.Generator) -> Array:
    sizes = SPIKING_GAN_SIZES
    return random.integers(0, sizes.timesteps + 1, (count, sizes.noise)).astype(np.float64)


def _spiking_gan_sample(networks: Networks, count: int, random: np.random.Generator) -> Array:
    """Pixels that fire in the first half of the time are white."""
    return (2 * networks["generator"](_spike_times(count, random))).clip(0, 1)


def _spiking_gan_parts() -> dict[str, Part]:
    times = _spike_times(_EXAMPLES, np.random.default_rng(0))
    return {"generator": Part(trained("spiking-gan-digits"), (times,), SPIKING_GAN_SIZES.timesteps)}


GENERATORS: dict[str, Generator] = {
    "vq-svae": Generator(_vq_svae_parts, DIFFUSION_SIZES.image_size, reconstruct=_vq_svae_reconstruct),
    "sdid": Generator(_sdid_parts, DIFFUSION_SIZES.image_size, sample=_sdid_sample),
    "fsvae": Generator(_fsvae_parts, FSVAE_SIZES.image_size, _fsvae_reconstruct, _fsvae_sample),
    "sddpm": Generator(partial(_sddpm_parts, "sddpm-digits"), SDDPM_SIZES.image_size, sample=_sddpm_sample),
    "sddpm-tsm": Generator(partial(_sddpm_parts, "sddpm-tsm-digits"), SDDPM_SIZES.image_size, sample=_sddpm_sample),
    "sgad": Generator(_sgad_parts, SGAD_SIZES.image_size, sample=_sgad_sample),
    "spiking-gan": Generator(_spiking_gan_parts, SPIKING_GAN_SIZES.image_size, sample=_spiking_gan_sample),
}
