"""VQ-SVAE and SDID against transcriptions of the paper's equations; the diffusion of codes against obvious loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.neuron import LIFNode
from torch import Tensor, nn

from neurocompile.models import spiking_diffusion
from neurocompile.models.sddpm import torch_denoiser
from neurocompile.models.spiking_diffusion import (
    CONFIGURATIONS,
    SDID,
    VQSVAE,
    Sizes,
    code_loss,
    mask_codes,
    postsynaptic_potential,
    sample,
    vq_svae_loss,
)

TINY = Sizes(2, 12, (6, 8), 5, 12, (6, 8, 8, 10, 7), 4)


def calibrated(model: nn.Module, *inputs: Tensor) -> nn.Module:
    """Random weights and norms; the norms' statistics are those of ``inputs``."""
    model.double().train()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=(module.weight.numel() / module.out_channels) ** -0.5)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 1.0, 2.0)
            nn.init.uniform_(module.bias, 0.4, 1.0)
            module.momentum = 1.0
    with torch.no_grad():
        model(*inputs)
    functional.reset_net(model)
    return model.eval()


def run(model: nn.Module, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What the model gives, and its spikes ``[T, N, ...]`` by layer, none of which is silent or saturated."""
    fired: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda module, args, out, path=path: fired.__setitem__(path, out))
        for path, module in model.named_modules()
        if isinstance(module, LIFNode)
    ]
    functional.reset_net(model)
    with torch.no_grad():
        result = model(*inputs)
    for handle in handles:
        handle.remove()
    for path, spikes in fired.items():
        assert 0.05 <= spikes.mean() <= 0.6, (path, float(spikes.mean()))
    return result, fired


def images(sizes: Sizes, number: int) -> Tensor:
    return torch.rand(number, sizes.channels, sizes.image_size, sizes.image_size, dtype=torch.float64) - 0.5


def tokens_of(sizes: Sizes, number: int) -> tuple[Tensor, Tensor]:
    """Codes, some of them masked, and steps of the diffusion."""
    tokens = torch.randint(0, sizes.codes + 1, (number, *sizes.code_shape)).double()
    return tokens, torch.randint(1, sizes.steps + 1, (number,)).double()


# -- the equations -----------------------------------------------------------------------------------------------------


def lif(currents: list[Tensor]) -> list[Tensor]:
    """Eqs. 1 to 3."""
    tau, v_th, v_reset = 2.0, 1.0, 0.0
    v, spikes = torch.full_like(currents[0], v_reset), []
    for x in currents:
        h = v + 1 / tau * (x - (v - v_reset))
        s = (h - v_th >= 0).double()
        v = h * (1 - s) + v_reset * s
        spikes.append(s)
    return spikes


def norm(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    gamma, beta, mean, var = (
        w[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return gamma * (x - mean) / torch.sqrt(var + 1e-5) + beta


def spiking_layer(w: dict[str, Tensor], name: str, at: int, xs: list[Tensor], stride: int = 1) -> list[Tensor]:
    """Convolution, norm and neurons; in their list ``name`` the convolution stands at ``at``."""
    weight, bias = w[f"{name}.{at}.weight"], w[f"{name}.{at}.bias"]
    return lif([norm(w, f"{name}.{at + 1}", F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)) for x in xs])


def doubling_layer(w: dict[str, Tensor], name: str, at: int, xs: list[Tensor]) -> list[Tensor]:
    """The transposed convolution as a convolution of the image with zeros between its pixels."""
    kernel = w[f"{name}.{at}.weight"].transpose(0, 1).flip(2, 3)
    currents = []
    for x in xs:
        spread = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3], dtype=torch.float64)
        spread[:, :, ::2, ::2] = x
        currents.append(norm(w, f"{name}.{at + 1}", F.conv2d(spread, kernel, w[f"{name}.{at}.bias"], padding=1)))
    return lif(currents)


def features(k: Tensor, zs: list[Tensor]) -> Tensor:
    """Eqs. 4 to 6."""
    tau_syn = 2.0
    sfr = sum(zs, torch.zeros_like(zs[0])) / len(zs)
    psp = torch.zeros_like(zs[0])
    for z in zs:
        psp = (1 - 1 / tau_syn) * psp + 1 / tau_syn * z
    return k * sfr + (1 - k) * psp


def nearest(codebook: Tensor, z: Tensor) -> Tensor:
    """Eq. 7, place by place."""
    codes = torch.empty(len(z), *z.shape[2:], dtype=torch.float64)
    for n, i, j in np.ndindex(*codes.shape):
        codes[n, i, j] = min(range(len(codebook)), key=lambda k: float(torch.linalg.norm(z[n, :, i, j] - codebook[k])))
    return codes


def indexed(codebook: Tensor, codes: Tensor) -> Tensor:
    """Eq. 8."""
    vectors = torch.empty(len(codes), codebook.shape[1], *codes.shape[1:], dtype=torch.float64)
    for n, i, j in np.ndindex(*codes.shape):
        vectors[n, :, i, j] = codebook[int(codes[n, i, j])]
    return vectors


def encode(w: dict[str, Tensor], x: Tensor, timesteps: int) -> tuple[list[list[Tensor]], Tensor]:
    """The spikes of each layer, and features."""
    first = spiking_layer(w, "encoder.layers", 0, [x] * timesteps, 2)
    second = spiking_layer(w, "encoder.layers", 3, first, 2)
    third = spiking_layer(w, "encoder.layers", 6, second)
    return [first, second, third], features(w["encoder.features.k"], third)


def generate(w: dict[str, Tensor], z: Tensor, timesteps: int) -> list[Tensor]:
    """The adaptive spike generator."""
    return spiking_layer(w, "decoder.generator", 0, [z] * timesteps)


def decode(w: dict[str, Tensor], zs: list[Tensor]) -> tuple[list[list[Tensor]], Tensor]:
    """The spikes of each layer, and images."""
    first = doubling_layer(w, "decoder.layers", 0, zs)
    second = doubling_layer(w, "decoder.layers", 3, first)
    kernel = w["decoder.layers.6.weight"].transpose(0, 1).flip(2, 3)
    membrane = torch.zeros(1, dtype=torch.float64)
    for s in second:
        membrane = 0.8 * membrane + F.conv2d(s, kernel, w["decoder.layers.6.bias"], padding=1)
    return [first, second], torch.tanh(membrane)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.state_dict().items()}


# -- VQ-SVAE -----------------------------------------------------------------------------------------------------------


def autoencoder(sizes: Sizes, seed: int) -> VQSVAE:
    torch.manual_seed(seed)
    model = VQSVAE(sizes)
    calibrated(model, images(sizes, 16))
    nn.init.uniform_(model.encoder.features.k, 0.2, 0.8)
    return model


@pytest.mark.parametrize("timesteps", [1, 4, 9])
def test_the_autoencoder_is_the_papers(timesteps: int) -> None:
    sizes = replace(TINY, timesteps=timesteps)
    model = autoencoder(sizes, 20 + timesteps)
    x = images(sizes, 3)
    reconstructed, fired = run(model, x)
    w = weights(model)
    codebook = w["encoder.nearest.codebook"]
    encoded, z = encode(w, x, timesteps)
    codes = nearest(codebook, z)
    generated = generate(w, indexed(codebook, codes), timesteps)
    decoded, expected = decode(w, generated)
    for layer, written in zip(fired.values(), [*encoded, generated, *decoded], strict=True):
        np.testing.assert_array_equal(layer, torch.stack(written))
    torch.testing.assert_close(reconstructed, expected, rtol=0, atol=1e-9)
    assert reconstructed.std() > 0.1
    with torch.no_grad():
        functional.reset_net(model)
        np.testing.assert_array_equal(model.encoder(x), codes)
        functional.reset_net(model)
        torch.testing.assert_close(model.decoder(codes), expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(model.encoder.features(torch.stack(encoded[2])), z, rtol=0, atol=1e-12)
    if timesteps > 1:
        assert len(codes.unique()) >= 4


def test_the_codebook_is_one() -> None:
    model = autoencoder(TINY, 0)
    assert model.encoder.nearest.codebook is model.decoder.vectors.codebook
    codes = torch.arange(TINY.codes).double().view(1, 3, 4)
    np.testing.assert_array_equal(model.encoder.nearest(model.decoder.vectors(codes)), codes)


def test_postsynaptic_potential() -> None:
    """Eq. 5 in closed form: every spike leaves 1 / tau, of which 1 - 1 / tau stays each step."""
    z = (torch.rand(7, 2, 3) < 0.4).double()
    for tau in (2.0, 5.0):
        expected = [sum(z[s] / tau * (1 - 1 / tau) ** (t - s) for s in range(t + 1)) for t in range(7)]
        torch.testing.assert_close(postsynaptic_potential(z, tau), torch.stack(expected), rtol=0, atol=1e-12)


def test_the_loss_is_the_papers() -> None:
    model = autoencoder(TINY, 5)
    x = images(TINY, 3)
    w = weights(model)
    encoded, z = encode(w, x, TINY.timesteps)
    vectors = indexed(w["encoder.nearest.codebook"], nearest(w["encoder.nearest.codebook"], z))
    generated = generate(w, vectors, TINY.timesteps)
    _, reconstructed = decode(w, generated)
    of_encoded, of_generated = torch.zeros_like(z), torch.zeros_like(z)
    apart = 0.0
    for e, g in zip(encoded[2], generated):
        of_encoded, of_generated = 0.5 * of_encoded + 0.5 * e, 0.5 * of_generated + 0.5 * g
        apart += float(((of_encoded - of_generated) ** 2).mean()) / TINY.timesteps
    expected = float(((x - reconstructed) ** 2).mean() + ((z - vectors) ** 2).mean()) + (1 + 0.25) * apart
    functional.reset_net(model)
    loss = vq_svae_loss(model, x)
    assert loss.item() == pytest.approx(expected, abs=1e-9)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


# -- SDID --------------------------------------------------------------------------------------------------------------


def denoiser(sizes: Sizes, seed: int) -> SDID:
    torch.manual_seed(seed)
    model = SDID(sizes)
    calibrated(model, *tokens_of(sizes, 32))
    return model


def logits_of(w: dict[str, Tensor], tokens: Tensor, t: Tensor, timesteps: int) -> tuple[list[list[Tensor]], Tensor]:
    """The spikes of each layer, and logits."""
    x = torch.stack((tokens, t[:, None, None].expand(tokens.shape)), 1)
    layers = [spiking_layer(w, "layer1", 0, [x] * timesteps)]
    for number in range(2, 6):
        layers.append(spiking_layer(w, f"layer{number}", 0, layers[-1]))
    both = [torch.cat((fifth, first), 1) for fifth, first in zip(layers[4], layers[0])]
    currents = [F.conv2d(s, w["conv.weight"], w["conv.bias"], padding=1) for s in both]
    return layers, sum(currents, torch.zeros_like(currents[0])) / timesteps


@pytest.mark.parametrize("timesteps", [1, 4, 7])
def test_the_denoiser_is_the_papers(timesteps: int) -> None:
    sizes = replace(TINY, timesteps=timesteps)
    model = denoiser(sizes, timesteps)
    tokens, t = tokens_of(sizes, 5)
    logits, fired = run(model, tokens, t)
    layers, expected = logits_of(weights(model), tokens, t, timesteps)
    for layer, written in zip(fired.values(), layers, strict=True):
        np.testing.assert_array_equal(layer, torch.stack(written))
    assert logits.shape == (5, sizes.codes, *sizes.code_shape)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)
    assert logits.std() > 0.1


def test_masks_come_step_by_step() -> None:
    """t steps of Eqs. 11 and 12, one after the other, leave a code unmasked with the probability of one big step."""
    steps, mask, number = 9, 20, 10_000
    codes = torch.arange(2 * number).remainder(mask).double().view(2, 1, number)
    uniform = ((torch.arange(number) + 0.5) / number).double().expand(2, 1, number)
    for t in range(1, steps + 1):
        tokens = mask_codes(codes, torch.tensor([float(t), float(steps)]), uniform, steps, mask)
        stays = math.prod(1 - 1 / (steps - s + 1) for s in range(1, t + 1))
        assert float((tokens[0] == codes[0]).double().mean()) == pytest.approx(stays, abs=1e-4)
        assert ((tokens == mask) | (tokens == codes)).all()
        assert (tokens[1] == mask).all()


def test_the_loss_of_codes() -> None:
    """Eq. 14, place by place."""
    logits = torch.randn(3, 6, 2, 2, dtype=torch.float64)
    codes = torch.randint(0, 6, (3, 2, 2)).double()
    t = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    tokens = mask_codes(codes, t, torch.rand(3, 2, 2), 4, 6)
    expected = 0.0
    for n, i, j in np.ndindex(3, 2, 2):
        if tokens[n, i, j] == 6:
            scores = [math.exp(float(logits[n, k, i, j])) for k in range(6)]
            expected -= math.log(scores[int(codes[n, i, j])] / sum(scores)) / float(t[n]) / 3
    assert float(code_loss(logits, codes, tokens, t, 6)) == pytest.approx(expected, abs=1e-12)
    assert expected > 0


def test_the_denoiser_trains() -> None:
    sizes = CONFIGURATIONS["small"]
    torch.manual_seed(0)
    model = SDID(sizes)
    codes, t = torch.randint(0, sizes.codes, (8, *sizes.code_shape)).float(), torch.arange(1.0, 17.0, 2.0)
    tokens = mask_codes(codes, t, torch.rand(codes.shape), sizes.steps, sizes.mask)
    code_loss(model(tokens, t), codes, tokens, t, sizes.mask).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


# -- sampling ----------------------------------------------------------------------------------------------------------


def guess(tokens: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Stands for a network of four codes: logits that depend on the neighbours and on the step."""
    around = np.roll(tokens, 1, 1) + 2 * np.roll(tokens, 1, 2)
    return np.stack([np.sin((k + 1) * around + 0.3 * t[:, None, None]) * 2 for k in range(4)], 1)


@pytest.mark.parametrize(("steps", "temperature"), [(9, 1.0), (9, 0.3), (4, 1.0), (1, 2.0)])
def test_sampling_is_the_reverse_diffusion(steps: int, temperature: float) -> None:
    """Place by place, with the numbers in the order in which they are drawn."""
    shape, mask = (3, 3, 3), 4
    seen: list[np.ndarray] = []

    def denoise(tokens: np.ndarray, t: np.ndarray) -> np.ndarray:
        assert (t == steps - len(seen)).all()
        assert t.shape == (3,)
        seen.append(tokens.copy())
        return guess(tokens, t)

    codes = sample(denoise, shape, steps, np.random.default_rng(3), mask, temperature)
    assert len(seen) == steps

    random = np.random.default_rng(3)
    expected = np.full(shape, float(mask))
    for k, t in enumerate(range(steps, 0, -1)):
        np.testing.assert_array_equal(seen[k], expected)
        uniform, gumbel = random.random(shape), random.gumbel(size=(3, 4, 3, 3))
        logits = guess(expected, np.full(3, float(t)))
        after = expected.copy()
        for n, i, j in np.ndindex(shape):
            if expected[n, i, j] == mask and uniform[n, i, j] < 1 / t:
                scores = [logits[n, c, i, j] / temperature + gumbel[n, c, i, j] for c in range(4)]
                after[n, i, j] = scores.index(max(scores))
        expected = after
    np.testing.assert_array_equal(codes, expected)
    assert set(np.unique(codes)) <= {0, 1, 2, 3}
    assert len(np.unique(codes)) > 1


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_codes_are_drawn_from_the_softmax(temperature: float) -> None:
    logits = np.array([0.5, -1.0, 1.5])
    shape, number = (1, 100, 200), 20_000

    def denoise(tokens: np.ndarray, t: np.ndarray) -> np.ndarray:
        return np.broadcast_to(logits[None, :, None, None], (1, 3, 100, 200))

    codes = sample(denoise, shape, 3, np.random.default_rng(0), 3, temperature)
    scores = np.exp(logits / temperature)
    np.testing.assert_allclose(np.bincount(codes.astype(int).ravel()) / number, scores / scores.sum(), atol=0.015)


def test_two_executors_draw_the_same_codes() -> None:
    model = denoiser(TINY, 2)
    w, shape = weights(model), (4, *TINY.code_shape)

    def transcribed(tokens: np.ndarray, t: np.ndarray) -> np.ndarray:
        return logits_of(w, torch.from_numpy(tokens), torch.from_numpy(t), TINY.timesteps)[1].numpy()

    drawn = [
        sample(network, shape, TINY.steps, np.random.default_rng(9), TINY.mask)
        for network in (torch_denoiser(model), transcribed)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert len(np.unique(drawn[0])) > 3


# -- sizes, and what a host computes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rows", "steps", "autoencoder_size", "denoiser_size"), [
    ("mnist", 7, 49, 50_658, 3_101_504),
    ("cifar10", 8, 64, 51_812, 3_101_504),
    ("small", 4, 16, 4_114, 32_944),
])  # fmt: skip
def test_sizes(name: str, rows: int, steps: int, autoencoder_size: int, denoiser_size: int) -> None:
    sizes = CONFIGURATIONS[name]
    assert (sizes.code_shape, sizes.steps) == ((rows, rows), steps)
    autoencoder, denoiser = VQSVAE(sizes).eval(), SDID(sizes).eval()
    assert sum(p.numel() for p in autoencoder.parameters()) == autoencoder_size
    assert sum(p.numel() for p in denoiser.parameters()) == denoiser_size
    with torch.no_grad():
        x = torch.rand(2, sizes.channels, sizes.image_size, sizes.image_size) - 0.5
        codes = autoencoder.encoder(x)
        assert codes.shape == (2, rows, rows)
        assert autoencoder.decoder(codes).shape == x.shape
        assert denoiser(codes, torch.ones(2)).shape == (2, sizes.codes, rows, rows)


CODEBOOK = nn.Parameter(torch.rand(12, 5, dtype=torch.float64))
HOSTS: list[tuple[nn.Module, tuple[tuple[int, ...], ...], int]] = [
    (spiking_diffusion.SpikeFeatures(4), ((5, 3, 3),), 1),
    (spiking_diffusion.NearestCode(CODEBOOK), ((5, 3, 3),), 0),
    (spiking_diffusion.CodeVectors(CODEBOOK), ((3, 3),), 0),
    (spiking_diffusion.Tanh(), ((5, 3, 3),), 0),
    (spiking_diffusion.TokenPlanes(), ((3, 3), ()), 0),
]


@pytest.mark.parametrize(("module", "shapes", "axis"), HOSTS, ids=lambda value: type(value).__name__)
def test_host_modules_export_for_any_batch(module: nn.Module, shapes: tuple[tuple[int, ...], ...], axis: int) -> None:
    def inputs(number: int) -> tuple[Tensor, ...]:
        lead = (4, number) if axis else (number,)
        return tuple(torch.randint(0, 12, (*lead, *shape)).double() for shape in shapes)

    module = module.double().eval()
    dynamic = tuple({axis: torch.export.Dim.DYNAMIC} for _ in shapes)
    exported = torch.export.export(module, inputs(3), dynamic_shapes=dynamic).module()
    for number in (2, 5):
        given = inputs(number)
        torch.testing.assert_close(exported(*given), module(*given), rtol=0, atol=1e-12)
