"""Spiking-GAN against a transcription that knows only the times of spikes, never a membrane step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

import neurocompile
from neurocompile.models.spiking_gan import (
    CONFIGURATIONS,
    Discriminator,
    FirstSpikeIF,
    FirstSpikeTime,
    Generator,
    Intensity,
    Latency,
    Sizes,
    SpikesAtTimes,
)

TINY = Sizes(2, 6, 20, 30, 8)


def drawn(model: Generator | Discriminator) -> Generator | Discriminator:
    """Random weights, some of them negative, with which many neurons fire and some do not."""
    model.double()
    for linear, mean, std in ((model.layers[0], 0.9, 4.0), (model.layers[2], 2.0, 8.0)):
        nn.init.normal_(linear.weight, mean / linear.in_features, std / linear.in_features)
    return model.eval()


def run(model: nn.Module, *inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What the model gives, and the spikes ``[T, N, ...]`` of its layers; a neuron fires at most once, not all do."""
    fired: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda module, args, out: fired.append(out))
        for module in model.modules()
        if isinstance(module, FirstSpikeIF)
    ]
    functional.reset_net(model)
    with torch.no_grad():
        result = model(*inputs)
    for handle in handles:
        handle.remove()
    for spikes in fired:
        assert spikes.sum(0).max() == 1
        assert 0.2 <= spikes.sum(0).mean() <= 0.98, float(spikes.sum(0).mean())
    return result, fired


def noise(sizes: Sizes, number: int) -> Tensor:
    return torch.randint(0, sizes.timesteps + 1, (number, sizes.noise)).double()


def images(sizes: Sizes, number: int) -> Tensor:
    return torch.rand(number, *sizes.image).double()


# -- the equations -----------------------------------------------------------------------------------------------------


def first_times(weight: Tensor, times: Tensor, timesteps: int) -> Tensor:
    """When each neuron fires: the first t at which the weights of all inputs that came so far reach 1; T if never."""
    found = torch.full((len(times), len(weight)), float(timesteps), dtype=torch.float64)
    for n, j in np.ndindex(*found.shape):
        for t in range(timesteps):
            if weight[j][times[n] <= t].sum() >= 1:
                found[n, j] = t
                break
    return found


def spikes_at(times: Tensor, timesteps: int) -> Tensor:
    spikes = torch.zeros(timesteps, *times.shape, dtype=torch.float64)
    for place in np.ndindex(*times.shape):
        if times[place] < timesteps:
            spikes[(int(times[place]), *place)] = 1
    return spikes


def two_layers(model: Generator | Discriminator, times: Tensor, timesteps: int) -> list[Tensor]:
    """The times of the spikes of both layers."""
    w1, w2 = model.layers[0].weight.detach(), model.layers[2].weight.detach()
    hidden = first_times(w1, times, timesteps)
    return [hidden, first_times(w2, hidden, timesteps)]


@pytest.mark.parametrize("timesteps", [1, 8, 13])
def test_the_generator_is_written_out(timesteps: int) -> None:
    sizes = replace(TINY, timesteps=timesteps)
    torch.manual_seed(timesteps)
    model = drawn(Generator(sizes))
    assert isinstance(model, Generator)
    z = noise(sizes, 3) if timesteps > 1 else torch.zeros(3, sizes.noise).double()
    image, fired = run(model, z)
    layers = two_layers(model, z, timesteps)
    for spikes, times in zip(fired, layers, strict=True):
        np.testing.assert_array_equal(spikes, spikes_at(times, timesteps))
    expected = (timesteps - layers[1]) / timesteps
    torch.testing.assert_close(image, expected.view(3, *sizes.image), rtol=0, atol=1e-9)
    functional.reset_net(model)
    np.testing.assert_array_equal(model.trains(z).detach().flatten(2), fired[1])


@pytest.mark.parametrize("timesteps", [8, 13])
def test_the_discriminator_is_written_out(timesteps: int) -> None:
    sizes = replace(TINY, timesteps=timesteps)
    torch.manual_seed(30 + timesteps)
    model = drawn(Discriminator(sizes))
    assert isinstance(model, Discriminator)
    x = images(sizes, 6)
    scores, fired = run(model, x)
    times = torch.tensor([[int((1 - value) * timesteps) for value in row] for row in x.flatten(1).tolist()])
    layers = two_layers(model, times, timesteps)
    for spikes, at in zip(fired, layers, strict=True):
        np.testing.assert_array_equal(spikes, spikes_at(at, timesteps))
    torch.testing.assert_close(scores, (timesteps - layers[1]) / timesteps, rtol=0, atol=1e-9)
    apart = layers[1][:, 0] != layers[1][:, 1]
    assert apart.any()
    np.testing.assert_array_equal(scores.argmax(1)[apart], layers[1].argmin(1)[apart])


def test_an_image_of_spikes_is_judged_as_the_image() -> None:
    sizes = CONFIGURATIONS["small"]
    torch.manual_seed(2)
    generator, discriminator = Generator(sizes), Discriminator(sizes)
    z = noise(sizes, 9).float()
    with torch.no_grad():
        spikes = generator.trains(z)
        functional.reset_net(generator)
        image = generator(z)
        scores = discriminator.judge(spikes)
        functional.reset_net(discriminator)
        np.testing.assert_array_equal(discriminator(image), scores)
    np.testing.assert_array_equal(image, spikes.sum(0) * image)
    assert spikes.sum() > 100


@pytest.mark.parametrize("timesteps", [4, 16, 256])
def test_codes_come_back(timesteps: int) -> None:
    """Every time there is, through spikes and intensities and back; dark pixels have no spike."""
    times = torch.arange(timesteps + 1).double().view(1, -1)
    spikes = SpikesAtTimes(timesteps)(times)
    assert spikes.sum() == timesteps
    np.testing.assert_array_equal(spikes, spikes_at(times, timesteps))
    np.testing.assert_array_equal(FirstSpikeTime()(spikes), times)
    intensities = Intensity(timesteps)(times)
    assert intensities.min() == 0
    assert intensities.max() == 1
    np.testing.assert_array_equal(Latency(timesteps)(intensities), times)


# -- neurons -----------------------------------------------------------------------------------------------------------


def test_neurons_fire_once_at_their_threshold_in_either_step_mode() -> None:
    currents = torch.tensor([[0.5, 0.5, 2.0, 0.0], [0.5, 0.25, -5.0, 0.5], [0.0, 0.5, 9.0, 0.25]]).double()
    whole, steps = FirstSpikeIF(), FirstSpikeIF(step_mode="s")
    spikes = whole(currents)
    assert spikes.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    np.testing.assert_array_equal(spikes, torch.stack([steps(x) for x in currents]))
    assert not whole(currents)[:, :3].any()  # they have fired
    whole.reset()
    np.testing.assert_array_equal(whole(currents), spikes)


def test_neurons_are_their_equation() -> None:
    """Compiling runs a registered class and its equation against each other."""
    model = nn.Sequential(layer.Linear(3, 4, step_mode="m"), FirstSpikeIF()).eval()
    neurocompile.compile(model, input_shape=(3,), timesteps=9, layout="TN")


def test_both_learn() -> None:
    sizes = CONFIGURATIONS["small"]
    torch.manual_seed(0)
    generator, discriminator = Generator(sizes), Discriminator(sizes)
    scores = discriminator.judge(generator.trains(noise(sizes, 8).float()))
    ((scores - torch.tensor([1.0, 0.0])) ** 2).mean().backward()
    for model in (generator, discriminator):
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


# -- sizes, and what a host computes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "timesteps", "generator_size", "discriminator_size"), [
    ("mnist", 256, 100 * 400 + 400 * 784, 784 * 400 + 400 * 2),
    ("small", 16, 16 * 64 + 64 * 64, 64 * 64 + 64 * 2),
])  # fmt: skip
def test_sizes(name: str, timesteps: int, generator_size: int, discriminator_size: int) -> None:
    sizes = CONFIGURATIONS[name]
    assert sizes.timesteps == timesteps
    torch.manual_seed(0)
    generator, discriminator = Generator(sizes), Discriminator(sizes)
    assert sum(p.numel() for p in generator.parameters()) == generator_size
    assert sum(p.numel() for p in discriminator.parameters()) == discriminator_size
    with torch.no_grad():
        image = generator(noise(sizes, 2).float())
        assert image.shape == (2, *sizes.image)
        assert 0 < image.min() <= image.max() < 1  # untrained neurons fire, and not at once
        assert discriminator(image).shape == (2, 2)


@pytest.mark.parametrize(("module", "axis"), [
    (Latency(7), 0), (SpikesAtTimes(7), 0), (FirstSpikeTime(), 1), (Intensity(7), 0),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_host_modules_export_for_any_batch(module: nn.Module, axis: int) -> None:
    def given(number: int) -> Tensor:
        times = torch.randint(0, 8, (number, 3, 2)).double()
        if isinstance(module, FirstSpikeTime):
            return spikes_at(times, 7)
        return times / 7 if isinstance(module, Latency) else times

    exported = torch.export.export(module, (given(3),), dynamic_shapes=({axis: torch.export.Dim.DYNAMIC},)).module()
    for number in (2, 5):
        x = given(number)
        torch.testing.assert_close(exported(x), module(x), rtol=0, atol=1e-12)
