"""Trains the small generators on digits: `python -m neurocompile.models.train_generators`.

Writes, for each model, NAME.pt (its state_dict) and NAME.json (what it reaches in PyTorch and how to repeat it).
Without `--model` it trains them all, in this order:

    vq-svae-digits      Spiking-Diffusion's autoencoder, digits enlarged to 16 x 16
    sdid-digits         Spiking-Diffusion's diffusion of the autoencoder's codes
    fsvae-digits        FSVAE, digits of 8 x 8
    sddpm-digits        SDDPM without temporal gains, digits of 8 x 8
    sddpm-tsm-digits    SDDPM with temporal gains, from the weights of sddpm-digits
    sgad-digits         SGAD, digits of 8 x 8
    spiking-gan-digits  Spiking-GAN, digits of 8 x 8

Losses are those of the model files, but for the last two, minimized by Adam, whose learning rate falls to 0 as a
cosine. Learning rates were tried on training digits, but little; a run looks at the held-out digits once, after its
last step. SGAD's training is the one of some twenty short trials whose samples came nearest to the held-out digits.
Everything is seeded: the same command on the same torch gives the same figures.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss, relu

from neurocompile.models import generators, sddpm, sgad, spiking_gan
from neurocompile.models.fsvae import FSVAE, fsvae_loss
from neurocompile.models.generators import (
    CHECKPOINTS,
    DIFFUSION_SIZES,
    FSVAE_SIZES,
    GENERATORS,
    MODELS,
    SDDPM_SIZES,
    SGAD_SIZES,
    SPIKING_GAN_SIZES,
    digit_images,
    in_torch,
    trained,
)
from neurocompile.models.quality import digit_features, frechet_distance, mean_squared_error, ssim
from neurocompile.models.spiking_diffusion import SDID, VQSVAE, code_loss, mask_codes, vq_svae_loss
from neurocompile.models.train_spiking_gan import learn

BATCH = 64
REPORT_EVERY = 100
RESTART_EVERY = 20
RARE = 0.005


@dataclass(frozen=True)
class Recipe:
    """How long and how fast a model is trained, and how; ``generator`` is what is measured afterwards."""

    generator: str
    steps: int
    learning_rate: float
    train: Callable[[nn.Module, "Recipe", torch.Generator], None]


Loss = Callable[[Tensor, int], Tensor]
"""Of images [N, 1, H, W] from 0 to 1, at a step."""


def minimize(model: nn.Module, x: Tensor, recipe: Recipe, random: torch.Generator, loss: Loss) -> None:
    """Adam on batches of x [M, 1, H, W], drawn with replacement; leaves the model in eval mode."""
    optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    model.train()
    total = 0.0
    for step in range(recipe.steps):
        functional.reset_net(model)
        found = loss(x[torch.randint(len(x), (BATCH,), generator=random)], step)
        optimizer.zero_grad()
        torch.autograd.backward(found)
        optimizer.step()
        schedule.step()
        total += found.item()
        if (step + 1) % REPORT_EVERY == 0:
            print(f"step {step + 1}/{recipe.steps}  loss {total / REPORT_EVERY:.4f}", file=sys.stderr)
            total = 0.0
    functional.reset_net(model)
    model.eval()


# -- Spiking-Diffusion -------------------------------------------------------------------------------------------------


@torch.no_grad()
def restart_rare_codes(model: VQSVAE, x: Tensor, random: torch.Generator) -> None:
    """Gives codes that stand for under 0.5 % of the places in images x [N, 1, H, W] the features of some place.

    (Dhariwal et al., Jukebox, arXiv:2005.00341, section 3.1: random restarts of the codebook. Ours here: without it
    the digits used six of the sixteen codes.)
    """
    encoder = model.encoder
    functional.reset_net(model)
    features = encoder.features(encoder.trains(x))
    counts = torch.bincount(encoder.nearest(features).long().flatten(), minlength=DIFFUSION_SIZES.codes)
    rare = (counts < RARE * counts.sum()).nonzero().flatten()
    places = features.permute(0, 2, 3, 1).flatten(0, 2)
    encoder.nearest.codebook[rare] = places[torch.randperm(len(places), generator=random)[: len(rare)]]
    functional.reset_net(model)


@torch.no_grad()
def sort_codes(codebook: nn.Parameter) -> None:
    """Puts the vectors [codes, code_size] in order along their first principal component.

    Any order is the same autoencoder; but SDID hears a code as one number, and in this order near numbers stand for
    near vectors (ours).
    """
    direction = torch.linalg.svd(codebook - codebook.mean(0)).Vh[0]
    codebook.copy_(codebook[(codebook @ direction).argsort()])


def train_vq_svae(model: nn.Module, recipe: Recipe, random: torch.Generator) -> None:
    """Eq. 9; rare codes are restarted in the first two thirds of the steps, and sorted at the end."""
    assert isinstance(model, VQSVAE)

    def loss(x: Tensor, step: int) -> Tensor:
        if step % RESTART_EVERY == 0 and step < recipe.steps * 2 // 3:
            restart_rare_codes(model, x - 0.5, random)
        return vq_svae_loss(model, x - 0.5)

    minimize(model, digit_images(DIFFUSION_SIZES.image_size)[0], recipe, random, loss)
    sort_codes(model.encoder.nearest.codebook)


def train_sdid(model: nn.Module, recipe: Recipe, random: torch.Generator) -> None:
    """Eq. 14 on the codes of the trained autoencoder."""
    sizes = DIFFUSION_SIZES
    autoencoder = trained("vq-svae-digits")
    assert isinstance(model, SDID)
    assert isinstance(autoencoder, VQSVAE)
    codes = autoencoder.encoder(digit_images(sizes.image_size)[0] - 0.5)

    def loss(codes: Tensor, step: int) -> Tensor:
        t = torch.randint(1, sizes.steps + 1, (len(codes),), generator=random).float()
        tokens = mask_codes(codes, t, torch.rand(codes.shape, generator=random), sizes.steps, sizes.mask)
        return code_loss(model(tokens, t), codes, tokens, t, sizes.mask)

    minimize(model, codes, recipe, random, loss)


# -- FSVAE, SDDPM ------------------------------------------------------------------------------------------------------


def train_fsvae(model: nn.Module, recipe: Recipe, random: torch.Generator) -> None:
    """Reconstruction and discrepancy of the two distributions; both halves learn at once."""
    sizes = FSVAE_SIZES
    assert isinstance(model, FSVAE)

    def loss(x: Tensor, step: int) -> Tensor:
        x_seq = (x * 2 - 1).expand(sizes.timesteps, *x.shape)
        indices = torch.randint(0, sizes.k, (sizes.timesteps, len(x), sizes.latent), generator=random).float()
        return fsvae_loss(model, x_seq, indices)

    minimize(model, digit_images(sizes.image_size)[0], recipe, random, loss)


def train_sddpm(model: nn.Module, recipe: Recipe, random: torch.Generator) -> None:
    """The mean squared error of the predicted noise (DDPM, Eq. 14)."""
    sizes, betas = SDDPM_SIZES, generators.betas()

    def loss(x: Tensor, step: int) -> Tensor:
        t = torch.randint(sizes.steps, (len(x),), generator=random).float()
        noise = torch.randn(x.shape, generator=random)
        return mse_loss(model(sddpm.diffuse(x * 2 - 1, t, noise, betas), t), noise)

    minimize(model, digit_images(sizes.image_size)[0], recipe, random, loss)


def finetune_sddpm(model: nn.Module, recipe: Recipe, random: torch.Generator) -> None:
    """The same, from the weights of the network without temporal gains; gains start at 1.

    (Authors' code: AndyCao1125/SDM, README.md, "TSM Finetune".)
    """
    missing, unexpected = model.load_state_dict(trained("sddpm-digits").state_dict(), strict=False)
    assert not unexpected
    assert all(name.endswith("gain") for name in missing)
    train_sddpm(model, recipe, random)


# -- SGAD --------------------------------------------------------------------------------------------------------------

JUDGED_SIZE = 16
GAN_BATCH = 32
FIRST_BIAS = 0.7
PENALTY = 0.1


def train_sgad(model: nn.Module, recipe: Recipe, random: torch.Generator) -> None:
    """The generator against the spiking discriminator, which learns half as fast; all but the networks is ours.

        discriminator:  mean relu(1 + D(real)) + mean relu(1 - D(fake)) + PENALTY / 2 * mean |dD(real) / dreal|**2
        generator:      mean D(fake)

    (Hinge loss: Lim and Ye, arXiv:1705.02894; penalty R1: Mescheder et al., ICML 2018, arXiv:1801.04406, here through
    the surrogate gradients.) Real and fake images share a batch: normalized apart, fake ones could have any brightness
    and contrast. The discriminator, whose convolutions need 16 x 16 pixels, sees them enlarged. With the batch norms'
    biases at 0 hardly any neuron of the generator would fire in four steps.
    """
    assert isinstance(model, sgad.Generator)
    critic = sgad.Discriminator(replace(SGAD_SIZES, image_size=JUDGED_SIZE))
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.constant_(norm.bias, FIRST_BIAS)
    rates = {critic: recipe.learning_rate / 2, model: recipe.learning_rate}
    optimizers = [torch.optim.Adam(player.parameters(), rate, betas=(0.0, 0.9)) for player, rate in rates.items()]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps) for optimizer in optimizers]
    digits, _ = digit_images(SGAD_SIZES.image_size)

    def scores(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        functional.reset_net(critic)
        of_real, of_fake = critic(interpolate(torch.cat((real, fake)), size=JUDGED_SIZE, mode="bilinear")).chunk(2)
        return of_real, of_fake

    def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    model.train()
    for step in range(recipe.steps):
        functional.reset_net(model)
        real = digits[torch.randint(len(digits), (GAN_BATCH,), generator=random)].requires_grad_()
        fake = model(torch.randn(GAN_BATCH, SGAD_SIZES.latent, generator=random))
        of_real, of_fake = scores(real, fake.detach())
        (slope,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
        hinge = relu(1 + of_real).mean() + relu(1 - of_fake).mean()
        update(optimizers[0], hinge + PENALTY / 2 * slope.square().sum((1, 2, 3)).mean())
        update(optimizers[1], scores(real.detach(), fake)[1].mean())
        for schedule in schedules:
            schedule.step()
        if (step + 1) % REPORT_EVERY == 0:
            print(f"step {step + 1}/{recipe.steps}  hinge loss {hinge.item():.4f}", file=sys.stderr)
    functional.reset_net(model)
    model.eval()


# -- Spiking-GAN -------------------------------------------------------------------------------------------------------


def train_spiking_gan(model: nn.Module, recipe: Recipe, random: torch.Generator) -> None:
    """By what has fired so far: :mod:`neurocompile.models.train_spiking_gan`."""
    assert isinstance(model, spiking_gan.Generator)
    digits, _ = digit_images(SPIKING_GAN_SIZES.image_size)
    learn(model, SPIKING_GAN_SIZES, digits, recipe.steps, recipe.learning_rate, random)


RECIPES: dict[str, Recipe] = {
    "vq-svae-digits": Recipe("vq-svae", 2500, 5e-3, train_vq_svae),
    "sdid-digits": Recipe("sdid", 1500, 3e-3, train_sdid),
    "fsvae-digits": Recipe("fsvae", 2500, 3e-3, train_fsvae),
    "sddpm-digits": Recipe("sddpm", 1600, 3e-3, train_sddpm),
    "sddpm-tsm-digits": Recipe("sddpm-tsm", 1200, 1e-3, finetune_sddpm),
    "sgad-digits": Recipe("sgad", 4000, 1e-3, train_sgad),
    "spiking-gan-digits": Recipe("spiking-gan", 2000, 2e-3, train_spiking_gan),
}


# -- what a model reaches ----------------------------------------------------------------------------------------------


def measured(name: str, seed: int = 0) -> dict[str, float]:
    """What PyTorch reaches on the held-out digits: MSE and SSIM of reconstructions, Frechet distances.

    As many images are drawn as there are held-out digits. Beside the distances stands that of the training digits.
    """
    generator = GENERATORS[name]
    networks = {key: in_torch(part) for key, part in generator.parts().items()}
    x_train, x_test = (x.double().numpy() for x in digit_images(generator.image_size))
    real = digit_features(x_test)
    found = {"frechet_training_digits": frechet_distance(digit_features(x_train), real)}
    if generator.reconstruct:
        y = generator.reconstruct(networks, x_test, np.random.default_rng(seed))
        found["mse"], found["ssim"] = mean_squared_error(x_test, y), ssim(x_test, y)
        found["frechet_reconstructions"] = frechet_distance(digit_features(y), real)
    if generator.sample:
        y = generator.sample(networks, len(x_test), np.random.default_rng(seed))
        found["frechet_samples"] = frechet_distance(digit_features(y), real)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Command line: see `--help`."""
    parser = argparse.ArgumentParser(prog="python -m neurocompile.models.train_generators", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", choices=RECIPES, help="train only this one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in [options.model] if options.model else RECIPES:
        recipe = RECIPES[name]
        start = time.perf_counter()
        torch.manual_seed(options.seed)
        model = MODELS[name]()
        recipe.train(model, recipe, torch.Generator().manual_seed(options.seed))
        torch.save(model.state_dict(), CHECKPOINTS / f"{name}.pt")
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        facts = {
            "name": name,
            "command": f"python -m neurocompile.models.train_generators --model {name} --seed {options.seed}",
            "seed": options.seed,
            "steps": recipe.steps,
            "learning_rate": recipe.learning_rate,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "held_out": len(digit_images(8)[1]),
            **{key: round(value, 6) for key, value in measured(recipe.generator, options.seed).items()},
            "torch": version("torch"),
            "spikingjelly": version("spikingjelly"),
        }
        (CHECKPOINTS / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
        print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
