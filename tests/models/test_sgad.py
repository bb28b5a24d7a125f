"""SGAD's generator and discriminator against transcriptions of their equations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

import neurocompile
from neurocompile.models.fsvae import StrictLIF
from neurocompile.models.sgad import (
    CONFIGURATIONS,
    AttentionScoring,
    Discriminator,
    Generator,
    PerTimestep,
    Sizes,
    StrictATan,
)

TINY = Sizes(2, 16, 5, 12, (8, 6), None, 9, (6, 8), 10, 4)


def calibrated(model: nn.Module, *inputs: Tensor) -> nn.Module:
    """Random weights and norms; the norms' statistics are those of ``inputs``."""
    model.double().train()
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 1.0, 2.0)
            nn.init.uniform_(module.bias, 0.4, 1.0)
            module.momentum = 1.0
        elif isinstance(module, nn.Linear):
            strength = 1.0 if name.startswith("decode") else 8.0
            nn.init.normal_(module.weight, std=strength * module.in_features**-0.5)
            nn.init.uniform_(module.bias, -0.5, 1.5)
    with torch.no_grad():
        model(*inputs)
    functional.reset_net(model)
    return model.eval()


def run(model: nn.Module, *inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What the model gives, and the spikes ``[T, N, ...]`` of its layers, none of which is silent or saturated."""
    fired: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda module, args, out: fired.append(out))
        for module in model.modules()
        if isinstance(module, StrictLIF)
    ]
    functional.reset_net(model)
    with torch.no_grad():
        result = model(*inputs)
    for handle in handles:
        handle.remove()
    for spikes in fired:
        assert 0.05 <= spikes.mean() <= 0.6, float(spikes.mean())
    return result, fired


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.state_dict().items()}


# -- the equations -----------------------------------------------------------------------------------------------------


def lif(currents: list[Tensor]) -> list[Tensor]:
    tau, threshold = 2.0, 1.0
    membrane, spikes = torch.zeros_like(currents[0]), []
    for x in currents:
        membrane = membrane + (x - membrane) / tau
        spike = (membrane > threshold).double()
        membrane = membrane * (1 - spike)
        spikes.append(spike)
    return spikes


def norm(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    scale, shift, mean, var = (
        w[f"{name}.{part}"].view(-1, *(1,) * (x.ndim - 2)) for part in ("weight", "bias", "running_mean", "running_var")
    )
    return scale * (x - mean) / torch.sqrt(var + 1e-5) + shift


def linear(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def doubled(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """The transposed convolution (4 x 4, stride 2, padding 1) as a convolution of zeros between the pixels."""
    kernel = w[f"{name}.weight"].transpose(0, 1).flip(2, 3)
    spread = torch.zeros(*x.shape[:2], 2 * x.shape[2] - 1, 2 * x.shape[3] - 1, dtype=torch.float64)
    spread[:, :, ::2, ::2] = x
    return F.conv2d(spread, kernel, w[f"{name}.bias"], padding=2)


def attention(w: dict[str, Tensor], name: str, images: list[Tensor]) -> Tensor:
    """The mixed image and the image of a step score against each other; sample by sample."""
    mixed = images[0].clone()
    for image in images[1:]:
        for n in range(len(image)):
            flat = [mixed[n].flatten(), image[n].flatten()]
            if f"{name}.features.weight" in w:
                flat = [linear(w, f"{name}.features", x).clamp(min=0) for x in flat]
            query = linear(w, f"{name}.query", flat[0])
            scores = [float(query @ linear(w, f"{name}.key", x)) / math.sqrt(len(query)) for x in flat]
            powers = [math.exp(score - max(scores)) for score in scores]
            a, b = (power / sum(powers) for power in powers)
            mixed[n] = (a * mixed[n] + b * image[n]) / (a + b)
    return mixed


def generated(w: dict[str, Tensor], z: Tensor, sizes: Sizes) -> tuple[list[list[Tensor]], Tensor]:
    """The spikes of each layer, and images."""
    layers = [lif([norm(w, "layers.1", linear(w, "layers.0", z))] * sizes.timesteps)]
    layers.append(lif([norm(w, "layers.4", linear(w, "layers.3", s)) for s in layers[-1]]))
    last = [s.view(len(s), sizes.widths[0], sizes.first_side, sizes.first_side) for s in layers[-1]]
    at = 7
    for _ in sizes.widths[1:]:
        last = lif([norm(w, f"layers.{at + 1}", doubled(w, f"layers.{at}", s)) for s in last])
        layers.append(last)
        at += 3
    each = [1 / (1 + torch.exp(-doubled(w, f"layers.{at}", s))) for s in last]
    return layers, attention(w, "decode", each)


def judged(w: dict[str, Tensor], x: Tensor, timesteps: int) -> tuple[list[list[Tensor]], Tensor]:
    """The spikes of each layer, and scores."""

    def pooled(s: Tensor) -> Tensor:
        return (s[:, :, ::2, ::2] + s[:, :, 1::2, ::2] + s[:, :, ::2, 1::2] + s[:, :, 1::2, 1::2]) / 4

    def convolved(name: str, s: Tensor) -> Tensor:
        return F.conv2d(s, w[f"{name}.weight"], w[f"{name}.bias"])

    first = lif([norm(w, "layers.1", convolved("layers.0", x))] * timesteps)
    second = lif([norm(w, "layers.5", convolved("layers.4", pooled(s))) for s in first])
    third = lif([linear(w, "layers.9", pooled(s).flatten(1)) for s in second])
    membrane = torch.zeros(len(x), 1, dtype=torch.float64)
    for s in third:
        membrane = membrane + (linear(w, "layers.11", s) - membrane) / 2
    return [first, second, third], membrane / timesteps


def same(fired: list[Tensor], layers: list[list[Tensor]]) -> None:
    for spikes, written in zip(fired, layers, strict=True):
        np.testing.assert_array_equal(spikes, torch.stack(written))


# -- the networks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scored", [None, 7])
@pytest.mark.parametrize("timesteps", [1, 4, 9])
def test_the_generator_is_the_authors(timesteps: int, scored: int | None) -> None:
    sizes = replace(TINY, timesteps=timesteps, scored=scored)
    torch.manual_seed(timesteps)
    model = calibrated(Generator(sizes), torch.randn(32, sizes.latent).double())
    z = torch.randn(3, sizes.latent).double()
    image, fired = run(model, z)
    layers, expected = generated(weights(model), z, sizes)
    same(fired, layers)
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-9)
    assert image.shape == (3, 2, 16, 16)
    assert image.std() > 0.03


def test_the_generator_of_more_widths() -> None:
    sizes = replace(TINY, widths=(8, 6, 6))
    torch.manual_seed(5)
    model = calibrated(Generator(sizes), torch.randn(32, sizes.latent).double())
    z = torch.randn(2, sizes.latent).double()
    image, fired = run(model, z)
    layers, expected = generated(weights(model), z, sizes)
    same(fired, layers)
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("timesteps", [1, 4, 9])
def test_the_discriminator_is_the_authors(timesteps: int) -> None:
    sizes = replace(TINY, timesteps=timesteps)
    torch.manual_seed(20 + timesteps)
    model = calibrated(Discriminator(sizes), torch.rand(32, 2, 16, 16).double())
    x = torch.rand(5, 2, 16, 16).double()
    score, fired = run(model, x)
    layers, expected = judged(weights(model), x, timesteps)
    same(fired, layers)
    torch.testing.assert_close(score, expected, rtol=0, atol=1e-9)
    assert score.shape == (5, 1)


def test_attention_weighs_steps_apart() -> None:
    """With scores that no step wins the images are mixed evenly; with strong ones a step is left out."""
    decode = AttentionScoring(2, 4, None, 1).double()
    for linear_layer in (decode.query, decode.key):
        nn.init.zeros_(linear_layer.weight)
        nn.init.zeros_(linear_layer.bias)
    x_seq = torch.randn(2, 3, 1, 2, 2).double()
    y_seq = torch.sigmoid(x_seq)
    with torch.no_grad():
        torch.testing.assert_close(decode(x_seq), y_seq.mean(0), rtol=0, atol=1e-12)
        decode.query.bias.fill_(1e3)
        decode.key.weight.fill_(1.0)
        brighter = y_seq.flatten(2).sum(2).argmax(0)
        for n in range(3):
            torch.testing.assert_close(decode(x_seq)[n], y_seq[brighter[n], n], rtol=0, atol=1e-6)


def test_both_learn() -> None:
    sizes = CONFIGURATIONS["small"]
    torch.manual_seed(0)
    z, x = torch.randn(16, sizes.latent).double(), torch.rand(16, 1, 16, 16).double()
    generator, discriminator = calibrated(Generator(sizes), z).train(), calibrated(Discriminator(sizes), x).train()
    fake = discriminator(generator(z))
    functional.reset_net(discriminator)
    (discriminator(x).mean() - fake.mean()).backward()
    for model in (generator, discriminator):
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            if name.endswith("weight"):  # a bias before a norm has no effect
                assert parameter.grad.abs().sum() > 0, name


# -- neurons -----------------------------------------------------------------------------------------------------------


def test_step_function() -> None:
    """Strict, with the gradient alpha / 2 / (1 + (pi / 2 alpha x)**2), alpha = 2."""
    margin = torch.tensor([-1.0, -1e-12, 0.0, 1e-12, 0.3], dtype=torch.float64, requires_grad=True)
    spikes = StrictATan()(margin)
    assert spikes.tolist() == [0, 0, 0, 1, 1]
    spikes.sum().backward()
    assert margin.grad is not None
    torch.testing.assert_close(margin.grad, 1 / (1 + (math.pi * margin.detach()) ** 2), rtol=0, atol=1e-12)


def test_no_gradient_through_the_reset() -> None:
    x_seq = torch.tensor([3.0, 1.0], dtype=torch.float64, requires_grad=True)
    neuron = next(module for module in Discriminator(TINY).modules() if isinstance(module, StrictLIF))
    neuron(x_seq)[1].backward()
    assert x_seq.grad is not None
    assert x_seq.grad[0] == 0
    assert x_seq.grad[1] > 0


def test_neurons_are_their_equation() -> None:
    """Compiling runs a registered class and its equation against each other."""
    neuron = StrictLIF(0.5, 0.5, 1.0, StrictATan())
    model = nn.Sequential(layer.Linear(3, 4, step_mode="m"), neuron).eval()
    neurocompile.compile(model, input_shape=(3,), timesteps=5, layout="TN")


# -- sizes, and what a host computes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "timesteps", "generator_size", "discriminator_size"), [
    ("mnist", 16, 6_988_865, 1_102_913),
    ("celeba", 16, 21_711_139, 22_209_153),
    ("cifar10", 16, 12_242_627, 1_694_337),
    ("small", 4, 59_953, 4_049),
])  # fmt: skip
def test_sizes(name: str, timesteps: int, generator_size: int, discriminator_size: int) -> None:
    sizes = CONFIGURATIONS[name]
    assert sizes.timesteps == timesteps
    sizes = replace(sizes, timesteps=2)
    generator, discriminator = Generator(sizes).eval(), Discriminator(sizes).eval()
    assert sum(p.numel() for p in generator.parameters()) == generator_size
    assert sum(p.numel() for p in discriminator.parameters()) == discriminator_size
    with torch.no_grad():
        image = generator(torch.randn(2, sizes.latent))
        assert image.shape == (2, sizes.channels, sizes.image_size, sizes.image_size)
        assert discriminator(image).shape == (2, 1)


@pytest.mark.parametrize(("module", "shape", "axis"), [
    (AttentionScoring(4, 18, None, 5), (2, 3, 3), 1),
    (AttentionScoring(4, 18, 6, 5), (2, 3, 3), 1),
    (PerTimestep(7), (1,), 0),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_host_modules_export_for_any_batch(module: nn.Module, shape: tuple[int, ...], axis: int) -> None:
    def given(number: int) -> Tensor:
        return torch.randn(*((4, number) if axis else (number,)), *shape).double()

    module = module.double().eval()
    dynamic = ({axis: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(module, (given(3),), dynamic_shapes=dynamic).module()
    for number in (2, 5):
        x = given(number)
        torch.testing.assert_close(exported(x), module(x), rtol=0, atol=1e-12)
