"""The trained networks of the papers: as good on the held-out digits as their records say, and programs beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neurocompile
from neurocompile.frontends import load_model
from neurocompile.models import digits
from neurocompile.models.generators import GENERATORS, Network, betas, compiled, digit_images, in_program, in_torch
from neurocompile.models.quality import digit_features, frechet_distance, mean_squared_error, ssim
from neurocompile.models.sddpm import diffuse
from neurocompile.models.train_digits import RECIPES

CHECKPOINTS = Path(digits.__file__).parent / "checkpoints"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small tensors: threads would only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHECKPOINTS / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize(("name", "least"), [
    ("dsr-vgg-digits-if", 0.97),
    ("dsr-vgg-digits-lif", 0.97),
    ("mpbn-vgg-digits", 0.97),
    ("mpbn-resnet20-digits", 0.97),
    ("dsr-vgg11-digits-events-if", 0.97),
])  # fmt: skip
def test_a_classifier_and_its_program(name: str, least: float) -> None:
    """As many of the held-out digits as its record says, and at most half a point less in integers."""
    model = load_model(CHECKPOINTS / f"{name}.pt")
    (recipe,) = (recipe for recipe in RECIPES.values() if recipe.name == name)
    _, _, images, y = digits.load_digits_split()
    x = recipe.show(torch.from_numpy(images), model.timesteps).transpose(0, 1).numpy()
    (argument,) = model.input_shapes
    run = model.run({argument: x})
    accuracy = float((run.outputs["output"].argmax(1) == y).mean())
    assert len(x) == record(name)["held_out"]
    assert accuracy == pytest.approx(record(name)["accuracy"], abs=1e-6)
    assert accuracy >= least
    assert all(0.02 < spikes.mean() < 0.8 for spikes in run.spikes.values())
    in_integers = neurocompile.simulate(neurocompile.compile(model, bits=8), x, y)
    assert in_integers.accuracy is not None
    assert accuracy - in_integers.accuracy <= 0.005
    assert in_integers.overflows == 0
    assert in_integers.clipped <= 1e-6 * x.size


# -- generators --------------------------------------------------------------------------------------------------------


def in_both(name: str, part: str) -> tuple[Network, Network]:
    """One network of a generator in PyTorch, and as a program."""
    found = GENERATORS[name].parts()[part]
    return in_torch(found), in_program(compiled(found))


@pytest.mark.parametrize(("name", "part", "mse", "limit"), [
    ("vq-svae", "autoencoder", 0.015, 0.006),
    ("fsvae", "reconstruct", 0.05, 0.02),
])  # fmt: skip
def test_reconstructions_and_those_of_the_program(name: str, part: str, mse: float, limit: float) -> None:
    """PyTorch's as its record says; the program's hardly farther from the digits, and near PyTorch's."""
    generator = GENERATORS[name]
    _, held_out = digit_images(generator.image_size)
    digits_, facts = held_out.double().numpy(), record(f"{name}-digits")
    assert generator.reconstruct is not None
    torchs, program = (
        generator.reconstruct({part: network}, digits_, np.random.default_rng(0)) for network in in_both(name, part)
    )
    assert mean_squared_error(digits_, torchs) == pytest.approx(facts["mse"], rel=0.01)
    assert ssim(digits_, torchs) == pytest.approx(facts["ssim"], rel=0.01)
    assert facts["mse"] < mse < digits_.var() / 2
    assert mean_squared_error(digits_, program) < facts["mse"] + limit / 3
    assert mean_squared_error(torchs, program) < limit


def test_codes_are_drawn_as_the_record_says() -> None:
    """With 16 diffusion steps, in PyTorch; the program's denoiser gives logits near PyTorch's."""
    generator = GENERATORS["sdid"]
    parts = generator.parts()
    assert generator.sample is not None
    images = generator.sample({name: in_torch(part) for name, part in parts.items()}, 450, np.random.default_rng(0))
    real = digit_features(digit_images(16)[1].double().numpy())
    assert frechet_distance(digit_features(images), real) == pytest.approx(
        record("sdid-digits")["frechet_samples"], 0.1
    )
    torchs, program = in_both("sdid", "denoiser")
    tokens, t = parts["denoiser"].example
    expected = torchs(tokens, t)
    assert mean_squared_error(expected, program(tokens, t)) < 0.1 * expected.var()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sddpm", "sddpm-tsm"])
def test_the_noise_that_the_diffusion_of_images_predicts(name: str) -> None:
    """On noisy held-out digits: PyTorch tells most of the noise, the program tells hardly less of it."""
    x = digit_images(8)[1][:40] * 2 - 1
    random = torch.Generator().manual_seed(1)
    t, noise = torch.randint(100, (40,), generator=random), torch.randn(x.shape, generator=random)
    noisy = diffuse(x, t, noise, betas()).double().numpy()
    torchs, program = (network(noisy, t.double().numpy()) for network in in_both(name, "denoiser"))
    error = mean_squared_error(torchs, noise.double().numpy())
    assert error < 0.2
    assert mean_squared_error(program, noise.double().numpy()) < 1.1 * error
    assert mean_squared_error(program, torchs) < 0.5 * error


@pytest.mark.parametrize(("name", "most"), [("sgad", 1.0), ("spiking-gan", 2.0)])
def test_digits_drawn_from_numbers_at_once(name: str, most: float) -> None:
    """In PyTorch as the record says; the program's about as near to the held-out digits, and near PyTorch's."""
    generator = GENERATORS[name]
    assert generator.sample is not None
    torchs, program = (
        generator.sample({"generator": network}, 450, np.random.default_rng(0))
        for network in in_both(name, "generator")
    )
    real = digit_features(digit_images(8)[1].double().numpy())
    distance = frechet_distance(digit_features(torchs), real)
    assert distance == pytest.approx(record(f"{name}-digits")["frechet_samples"], 0.1)
    assert distance < most
    assert frechet_distance(digit_features(program), real) < 1.2 * distance
    assert ssim(torchs, program) > 0.8
