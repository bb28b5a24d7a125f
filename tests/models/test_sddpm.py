"""The spiking U-Net against a transcription of its equations, step by step; sampling against an obvious loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, surrogate
from spikingjelly.activation_based.neuron import IFNode, LIFNode
from torch import Tensor, nn

from neurocompile.models import sddpm
from neurocompile.models.sddpm import CONFIGURATIONS, Sizes, SpikingUNet, beta_schedule, diffuse, sample, torch_denoiser

TINY = Sizes(2, 8, 8, (1, 2), 1, steps=20)


def leaky() -> nn.Module:
    node: nn.Module = LIFNode(tau=1.25, surrogate_function=surrogate.ATan(), step_mode="m")
    return node


def calibrated(sizes: Sizes, seed: int, neuron: Callable[[], nn.Module] = sddpm.integrate_and_fire) -> SpikingUNet:
    """Random weights, norms and gains; the norms' statistics are those of a batch like the tests'."""
    torch.manual_seed(seed)
    model = SpikingUNet(sizes, neuron).double()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.6, 1.4)
            nn.init.uniform_(module.bias, -0.2, 0.4)
            module.momentum = 1.0
        if isinstance(module, sddpm.TemporalGain):
            nn.init.uniform_(module.gain, 0.5, 1.5)
    with torch.no_grad():
        model.train()(*batch(sizes, 8))
    functional.reset_net(model)
    return model.eval()


def batch(sizes: Sizes, number: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(number, sizes.channels, sizes.image_size, sizes.image_size, dtype=torch.float64)
    return x, torch.randint(0, sizes.steps, (number,)).double()


def run(model: SpikingUNet, x: Tensor, t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What the model gives, and its spikes ``[T, N, ...]`` by layer."""
    fired: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda module, args, out, path=path: fired.__setitem__(path, out))
        for path, module in model.named_modules()
        if isinstance(module, IFNode | LIFNode)
    ]
    functional.reset_net(model)
    with torch.no_grad():
        noise = model(x, t)
    for handle in handles:
        handle.remove()
    return noise, fired


class Transcription:
    """The equations, one time step after the other; weights by name, membranes by layer."""

    def __init__(self, model: SpikingUNet, tau: float | None) -> None:
        self.w = {name: value.detach() for name, value in model.state_dict().items()}
        self.tau = tau
        self.v: dict[str, Tensor] = {}
        self.spikes: dict[str, list[Tensor]] = {}
        self.n = 0

    def fire(self, name: str, current: Tensor) -> Tensor:
        """Eqs. 1 to 3: without a leak, or with SpikingJelly's."""
        v = self.v.get(name, torch.zeros_like(current))
        u = v + current if self.tau is None else v + (current - v) / self.tau
        s = (u >= 1.0).double()
        self.v[name] = u * (1 - s)
        self.spikes.setdefault(name, []).append(s)
        return s

    def conv(self, name: str, gain: str, s: Tensor, stride: int = 1) -> Tensor:
        """Eq. 16: a convolution, times the gain of this time step."""
        weight = self.w[f"{name}.weight"]
        y = F.conv2d(s, weight, self.w[f"{name}.bias"], stride, weight.shape[-1] // 2)
        return y * self.w[f"{gain}.gain"][self.n] if f"{gain}.gain" in self.w else y

    def norm(self, name: str, y: Tensor) -> Tensor:
        gamma, beta, mean, var = (
            self.w[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return gamma * (y - mean) / torch.sqrt(var + 1e-5) + beta

    def block(self, name: str, o: Tensor, embedding: Tensor) -> Tensor:
        """Eqs. 12 to 15."""
        e = self.linear(f"{name}.time.fc", swish(embedding))[:, :, None, None]
        s = self.fire(f"{name}.neuron1", o)
        h = self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", f"{name}.gain1", s)) + e
        s = self.fire(f"{name}.neuron2", h)
        h = self.norm(f"{name}.bn2", self.conv(f"{name}.conv2", f"{name}.gain2", s))
        return h + (self.conv(f"{name}.skip.0", f"{name}.skip.1", o) if f"{name}.skip.0.weight" in self.w else o)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def embedding(self, t: Tensor, width: int) -> Tensor:
        rows = [
            [wave(float(step) / 10000.0 ** (2 * i / width)) for i in range(width // 2) for wave in (math.sin, math.cos)]
            for step in t
        ]
        return self.linear("time.fc2", swish(self.linear("time.fc1", torch.tensor(rows, dtype=torch.float64))))

    def run(self, sizes: Sizes, x: Tensor, t: Tensor) -> Tensor:
        """The network with two levels of one block each, written out."""
        e = self.embedding(t, sizes.width)
        membrane = torch.zeros_like(x)
        for self.n in range(sizes.timesteps):
            s = self.fire("neuron", self.norm("bn1", self.conv("conv1", "gain1", x)))
            a = self.norm("bn2", self.conv("conv2", "gain2", s))
            b = self.block("down.0", a, e)
            s = self.fire("down.1.neuron", b)
            c = self.norm("down.1.bn", self.conv("down.1.conv", "down.1.gain", s, stride=2))
            d = self.block("down.2", c, e)
            h = self.block("middle.1", self.block("middle.0", d, e), e)
            h = self.block("up.0", torch.cat((h, d), 1), e)
            h = self.block("up.1", torch.cat((h, c), 1), e)
            s = self.fire("up.2.neuron", h).repeat_interleave(2, 2).repeat_interleave(2, 3)
            h = self.norm("up.2.bn", self.conv("up.2.conv", "up.2.gain", s))
            h = self.block("up.3", torch.cat((h, b), 1), e)
            h = self.block("up.4", torch.cat((h, a), 1), e)
            u = self.conv("decode.readout.conv1", "decode.readout.gain", swish(self.norm("decode.bn1", h)))
            v = self.norm("decode.readout.bn2", self.conv("decode.readout.conv2", "", u))
            membrane = 0.8 * membrane + swish(v) + u
        return membrane


def swish(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


@pytest.mark.parametrize(
    ("timesteps", "gains", "tau"), [(1, False, None), (3, False, None), (4, True, None), (6, True, 1.25)]
)
def test_the_network_is_the_papers(timesteps: int, gains: bool, tau: float | None) -> None:
    sizes = replace(TINY, timesteps=timesteps, temporal_gains=gains)
    model = calibrated(sizes, timesteps, leaky if tau else sddpm.integrate_and_fire)
    x, t = batch(sizes, 3)
    noise, fired = run(model, x, t)
    written = Transcription(model, tau)
    expected = written.run(sizes, x, t)
    torch.testing.assert_close(noise, expected, rtol=0, atol=1e-9)
    assert noise.std() > 0.1
    assert fired.keys() == written.spikes.keys()
    assert len(fired) == 19
    for name, spikes in fired.items():
        np.testing.assert_array_equal(spikes, torch.stack(written.spikes[name]), err_msg=name)
        assert 0.05 <= spikes.mean() <= 0.6, (name, float(spikes.mean()))


def test_every_input_and_gain_matters() -> None:
    sizes = replace(TINY, temporal_gains=True)
    model = calibrated(sizes, 0)
    x, t = batch(sizes, 2)
    noise, fired = run(model, x, t)
    _, later = run(model, x, (t + 7) % sizes.steps)
    assert not torch.equal(fired["down.0.neuron2"], later["down.0.neuron2"])
    gains = [module for module in model.modules() if isinstance(module, sddpm.TemporalGain)]
    assert len(gains) == 26
    for module in gains:
        kept = module.gain.detach().clone()
        with torch.no_grad():
            module.gain[1] *= 3
        assert not torch.equal(run(model, x, t)[0], noise)
        with torch.no_grad():
            module.gain.copy_(kept)


def test_gains_of_one_change_nothing() -> None:
    with_gains = calibrated(replace(TINY, temporal_gains=True), 3)
    for module in with_gains.modules():
        if isinstance(module, sddpm.TemporalGain):
            nn.init.ones_(module.gain)
    without = SpikingUNet(TINY).double().eval()
    without.load_state_dict({k: v for k, v in with_gains.state_dict().items() if not k.endswith(".gain")}, strict=False)
    x, t = batch(TINY, 2)
    torch.testing.assert_close(run(with_gains, x, t)[0], run(without, x, t)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_published_sizes(name: str) -> None:
    """63.61 "M" parameters (of 2**20), as SDDPM's tables say, which count the table of 1000 embeddings of 128."""
    with torch.device("meta"):
        model = SpikingUNet(CONFIGURATIONS[name])
    parameters = sum(p.numel() for p in model.parameters())
    if name == "small":
        assert parameters < 200_000
    elif name == "cifar10":
        assert round((parameters + 1000 * 128) / 2**20, 2) == 63.61
    else:
        assert 63.60 <= (parameters + 1000 * 128) / 2**20 < 63.62
    neurons = sum(isinstance(module, IFNode) for module in model.modules())
    assert neurons == (19 if name == "small" else 1 + 2 * (8 + 2 + 12) + 3 + 3)


def test_it_trains() -> None:
    """Every parameter gets a gradient from the loss of DDPM's Eq. 14."""
    torch.manual_seed(0)
    sizes = CONFIGURATIONS["small"]
    model = SpikingUNet(sizes)
    # At first it is so small that gradients underflow to nothing.
    nn.init.xavier_uniform_(model.decode.readout.conv1.weight)
    betas = beta_schedule(sizes.steps, sizes.first_beta, sizes.last_beta)
    x, noise = torch.rand(4, 1, 8, 8) * 2 - 1, torch.randn(4, 1, 8, 8)
    t = torch.tensor([0.0, 20.0, 50.0, 99.0])
    F.mse_loss(model(diffuse(x, t, noise, betas), t), noise).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


HOSTS: list[tuple[nn.Module, tuple[tuple[int, ...], ...], int]] = [
    (sddpm.TimeEmbedding(8, 32), ((),), 0),
    (sddpm.TimeProjection(32, 5), ((32,),), 0),
    (sddpm.ImageReadout(8, 3, 4, True), ((8, 4, 4),), 1),
]


@pytest.mark.parametrize(("module", "shapes", "axis"), HOSTS, ids=lambda value: type(value).__name__)
def test_host_modules_export_for_any_batch(module: nn.Module, shapes: tuple[tuple[int, ...], ...], axis: int) -> None:
    def inputs(number: int) -> tuple[Tensor, ...]:
        lead = (4, number) if axis else (number,)
        return tuple(torch.randn(*lead, *shape, dtype=torch.float64) for shape in shapes)

    module = module.double().eval()
    dynamic = tuple({axis: torch.export.Dim.DYNAMIC} for _ in shapes)
    exported = torch.export.export(module, inputs(3), dynamic_shapes=dynamic).module()
    for number in (2, 5):
        given = inputs(number)
        torch.testing.assert_close(exported(*given), module(*given), rtol=0, atol=1e-12)


# -- diffusion ---------------------------------------------------------------------------------------------------------


def test_beta_schedule() -> None:
    betas = beta_schedule(1000)
    assert len(betas) == 1000
    assert betas[0] == 1e-4
    assert betas[-1] == pytest.approx(0.02)
    np.testing.assert_allclose(np.diff(betas), (0.02 - 1e-4) / 999)


def test_diffuse_is_one_step_after_the_other() -> None:
    betas = beta_schedule(30, 1e-3, 0.2)
    x, noise = torch.randn(3, 2, 4, 4).double(), torch.randn(3, 2, 4, 4).double()
    t = [0, 11, 29]
    got = diffuse(x, torch.tensor(t).double(), noise, betas)
    for n, last in enumerate(t):
        kept, variance = 1.0, 0.0
        for beta in betas[: last + 1]:
            kept, variance = kept * math.sqrt(1 - beta), (1 - beta) * variance + beta
        torch.testing.assert_close(got[n], kept * x[n] + math.sqrt(variance) * noise[n], rtol=0, atol=1e-12)


def guess(x: float, t: float) -> float:
    """Stands for a network, number by number."""
    return math.sin(3 * x + 0.7 * t) * 1.5


@pytest.mark.parametrize(("trained", "steps", "visited"), [
    (6, 6, [5, 4, 3, 2, 1, 0]),
    (10, 4, [9, 6, 3, 0]),
    (10, 1, [9]),
])  # fmt: skip
def test_sampling_is_the_algorithm(trained: int, steps: int, visited: list[int]) -> None:
    """DDPM's Algorithm 2 on one number after the other, with the noise in the order in which it is drawn."""
    shape, betas = (2, 3, 2, 2), beta_schedule(trained, 0.01, 0.3)
    called: list[float] = []

    def denoise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        assert x.shape == shape
        assert t.shape == (2,)
        called.append(float(t[0]))
        return np.vectorize(guess)(x, t[:, None, None, None])

    got = sample(denoise, shape, steps, np.random.default_rng(5), betas)
    assert called == visited

    random = np.random.default_rng(5)
    noises = [random.standard_normal(shape) for _ in range(steps)]
    expected = np.empty(shape)
    for place in np.ndindex(shape):
        x = noises[0][place]
        for k, t in enumerate(visited):
            kept = math.prod(1 - beta for beta in betas[: t + 1])
            clean = min(1.0, max(-1.0, (x - math.sqrt(1 - kept) * guess(x, t)) / math.sqrt(kept)))
            if k == steps - 1:
                expected[place] = clean
                break
            before = math.prod(1 - beta for beta in betas[: visited[k + 1] + 1])
            beta = 1 - math.prod(1 - beta for beta in betas[visited[k + 1] + 1 : t + 1])
            mean = math.sqrt(before) * beta / (1 - kept) * clean + math.sqrt(1 - beta) * (1 - before) / (1 - kept) * x
            x = mean + math.sqrt(beta) * noises[k + 1][place]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    assert np.abs(got).max() <= 1


@pytest.mark.parametrize("steps", [0, 7])
def test_sampling_refuses_steps_that_there_are_not(steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps is {steps}, where 1 to 6"):
        sample(lambda x, t: x, (1, 1), steps, np.random.default_rng(0), beta_schedule(6))


def test_two_executors_draw_the_same_images() -> None:
    sizes = replace(TINY, temporal_gains=True)
    model = calibrated(sizes, 8)
    betas = beta_schedule(sizes.steps, 1e-3, 0.2)
    shape = (2, sizes.channels, sizes.image_size, sizes.image_size)

    def transcribed(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        return Transcription(model, None).run(sizes, torch.from_numpy(x), torch.from_numpy(t)).numpy()

    model.train()
    images = sample(torch_denoiser(model), shape, 5, np.random.default_rng(1), betas)
    np.testing.assert_allclose(images, sample(transcribed, shape, 5, np.random.default_rng(1), betas), atol=1e-9)
    assert images.std() > 0.1
