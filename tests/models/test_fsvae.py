"""FSVAE against a transcription of its equations, in which every step runs the whole prefix again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

import neurocompile
from neurocompile.models.fsvae import (
    CONFIGURATIONS,
    FSVAE,
    FSVAEReconstruct,
    FSVAESample,
    OneOfK,
    PosteriorStep,
    PriorStep,
    Sizes,
    StrictLIF,
    fsvae_loss,
    growing_prefix,
)
from neurocompile.vocabulary.mpbn import StrictRectangle

TINY = Sizes(2, 8, (6, 8), 7, 3, 4)


def calibrated(model: nn.Module, *inputs: Tensor) -> nn.Module:
    """Random weights and norms; the norms' statistics are those of ``inputs``, in a step's layers of random spikes."""
    model.double().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 0.4)
            nn.init.uniform_(module.bias, -0.1, 0.2)
            module.momentum = 1.0
    with torch.no_grad():
        for step in model.modules():
            if isinstance(step, PosteriorStep | PriorStep):
                functional.set_step_mode(step, "m")
                step.layers((torch.rand(8, 32, step.layers[0].in_features) < 0.3).double())
                functional.reset_net(step)
                functional.set_step_mode(step.eval(), "s")
        model(*inputs)
    functional.reset_net(model)
    return model.eval()


def run(model: nn.Module, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What the model gives, and its spikes ``[T, N, ...]`` by layer, none of which is silent or saturated."""
    heard: dict[str, list[Tensor]] = {}
    neurons = {path: module for path, module in model.named_modules() if isinstance(module, StrictLIF)}
    handles = [
        module.register_forward_hook(lambda module, args, out, path=path: heard.setdefault(path, []).append(out))
        for path, module in neurons.items()
    ]
    functional.reset_net(model)
    with torch.no_grad():
        result = model(*inputs)
    for handle in handles:
        handle.remove()
    fired = {path: torch.stack(outs) if neurons[path].step_mode == "s" else outs[0] for path, outs in heard.items()}
    assert fired.keys() == neurons.keys()
    for path, spikes in fired.items():
        assert 0.05 <= spikes.mean() <= 0.6, (path, float(spikes.mean()))
    return result, fired


def images(sizes: Sizes, number: int) -> Tensor:
    """``[T, N, ...]``, the same at every step."""
    x = torch.rand(number, sizes.channels, sizes.image_size, sizes.image_size, dtype=torch.float64) * 2 - 1
    return x.expand(sizes.timesteps, *x.shape)


def drawn(sizes: Sizes, number: int) -> Tensor:
    return torch.randint(0, sizes.k, (sizes.timesteps, number, sizes.latent)).double()


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


# -- the equations -----------------------------------------------------------------------------------------------------


def lif(currents: list[Tensor]) -> list[Tensor]:
    """With the reset of the step before: u[t] = tau u[t-1] (1 - o[t-1]) + x[t], o[t] = u[t] > V_th."""
    tau, v_th = 0.25, 0.2
    u, o, spikes = torch.zeros_like(currents[0]), torch.zeros_like(currents[0]), []
    for x in currents:
        u = tau * u * (1 - o) + x
        o = (u > v_th).double()
        spikes.append(o)
    return spikes


def norm(w: dict[str, Tensor], name: str, xs: list[Tensor], training: bool) -> list[Tensor]:
    """The statistics of training are those of all steps and samples together."""
    along = (-1, *(1,) * (xs[0].ndim - 2))
    if training:
        values = torch.stack(xs).transpose(0, 2).flatten(1)
        mean, var = values.mean(1), values.var(1, unbiased=False)
    else:
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    scale, shift = w[f"{name}.weight"], w[f"{name}.bias"]
    return [
        scale.view(along) * (x - mean.view(along)) / torch.sqrt(var.view(along) + 1e-5) + shift.view(along) for x in xs
    ]


class Transcription:
    """The networks with weights by name; ``fired`` are the spikes of each layer the last time that it ran."""

    def __init__(self, w: dict[str, Tensor], sizes: Sizes, training: bool = False) -> None:
        self.w, self.sizes, self.training = w, sizes, training
        self.fired: dict[str, Tensor] = {}

    def neurons(self, name: str, at: int, currents: list[Tensor]) -> list[Tensor]:
        """In their list ``name`` the norm stands at ``at``, the neurons behind it."""
        spikes = lif(norm(self.w, f"{name}.{at}", currents, self.training))
        self.fired[f"{name}.{at + 1}"] = torch.stack(spikes)
        return spikes

    def linear(self, name: str, at: int, xs: list[Tensor]) -> list[Tensor]:
        weight, bias = self.w[f"{name}.{at}.weight"], self.w[f"{name}.{at}.bias"]
        return self.neurons(name, at + 1, [x @ weight.T + bias for x in xs])

    def encode(self, name: str, xs: list[Tensor]) -> list[Tensor]:
        at = 0
        for _ in self.sizes.widths:
            weight, bias = self.w[f"{name}.{at}.weight"], self.w[f"{name}.{at}.bias"]
            xs = self.neurons(name, at + 1, [F.conv2d(x, weight, bias, 2, 1) for x in xs])
            at += 3
        return self.linear(name, at + 1, [x.flatten(1) for x in xs])

    def transposed(self, name: str, x: Tensor, stride: int) -> Tensor:
        """As a convolution of the image with zeros between its pixels."""
        kernel = self.w[f"{name}.weight"].transpose(0, 1).flip(2, 3)
        spread = torch.zeros(*x.shape[:2], stride * x.shape[2], stride * x.shape[3], dtype=torch.float64)
        spread[:, :, ::stride, ::stride] = x
        return F.conv2d(spread, kernel, self.w[f"{name}.bias"], padding=1)

    def decode(self, name: str, zs: list[Tensor]) -> Tensor:
        xs = [x.view(len(x), -1, 2, 2) for x in self.linear(f"{name}.layers", 0, zs)]
        at = 4
        for _ in self.sizes.widths:
            currents = [self.transposed(f"{name}.layers.{at}", x, 2) for x in xs]
            xs = self.neurons(f"{name}.layers", at + 1, currents)
            at += 3
        last = len(xs) - 1
        coefficients = [0.8 ** (last - t) for t in range(len(xs))]
        return torch.tanh(sum(c * self.transposed(f"{name}.conv", x, 1) for c, x in zip(coefficients, xs)))  # type: ignore[arg-type]

    def bernoulli(self, name: str, xs: list[Tensor]) -> list[Tensor]:
        for at in (0, 3, 6):
            xs = self.linear(f"{name}.inner.layers", at, xs)
        return xs

    def pick(self, spikes: Tensor, index: Tensor) -> Tensor:
        k = self.sizes.k
        picked = [[row[c * k + int(i)] for c, i in enumerate(at)] for row, at in zip(spikes.tolist(), index.tolist())]
        return torch.tensor(picked, dtype=torch.float64)

    def latent(self, name: str, indices: Tensor, xs: list[Tensor] | None) -> list[Tensor]:
        """z_1, ..., z_T, each from a run of all steps up to its own; z_0 = 0."""
        zs = [torch.zeros_like(indices[0])]
        for t in range(len(indices)):
            heard = zs if xs is None else [torch.cat((x, z), 1) for x, z in zip(xs, zs)]
            zs.append(self.pick(self.bernoulli(name, heard)[t], indices[t]))
        return zs[1:]


def hears(fired: dict[str, Tensor], written: Transcription) -> None:
    assert fired.keys() == written.fired.keys()
    for path, spikes in fired.items():
        np.testing.assert_array_equal(spikes, written.fired[path], err_msg=path)


# -- the networks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timesteps", [1, 4, 7])
def test_reconstruction_is_the_authors(timesteps: int) -> None:
    sizes = replace(TINY, timesteps=timesteps)
    torch.manual_seed(timesteps)
    model = calibrated(FSVAEReconstruct(sizes), images(sizes, 16), drawn(sizes, 16))
    x_seq, indices = images(sizes, 3), drawn(sizes, 3)
    reconstructed, fired = run(model, x_seq, indices)
    written = Transcription(weights(model), sizes)
    encoded = written.encode("encoder.layers", list(x_seq))
    expected = written.decode("decoder", written.latent("posterior", indices, encoded))
    hears(fired, written)
    torch.testing.assert_close(reconstructed, expected, rtol=0, atol=1e-9)
    assert reconstructed.std() > 0.02


@pytest.mark.parametrize("timesteps", [1, 4, 7])
def test_sampling_is_the_authors(timesteps: int) -> None:
    sizes = replace(TINY, timesteps=timesteps)
    torch.manual_seed(10 + timesteps)
    model = calibrated(FSVAESample(sizes), drawn(sizes, 64))
    indices = drawn(sizes, 5)
    sampled, fired = run(model, indices)
    written = Transcription(weights(model), sizes)
    expected = written.decode("decoder", written.latent("prior", indices, None))
    hears(fired, written)
    torch.testing.assert_close(sampled, expected, rtol=0, atol=1e-9)
    others, _ = run(model, drawn(sizes, 5))
    assert (others - sampled).abs().max() > 0.01


def test_the_loop_is_the_growing_prefix() -> None:
    sizes = replace(TINY, timesteps=6)
    torch.manual_seed(1)
    model = FSVAE(sizes)
    calibrated(model.sample, drawn(sizes, 64))
    calibrated(model.reconstruct, images(sizes, 16), drawn(sizes, 16))
    indices = drawn(sizes, 4)
    with torch.no_grad():
        spikes = model.reconstruct.encoder(images(sizes, 4))
        for loop, heard in ((model.reconstruct.posterior, (spikes,)), (model.sample.prior, ())):
            prefix = growing_prefix(loop.inner, indices, *heard)
            np.testing.assert_array_equal(prefix, loop(*heard, indices))
            assert 0.05 < prefix.mean() < 0.6
            functional.reset_net(loop)


def test_networks_share_the_decoder() -> None:
    model = FSVAE(TINY)
    assert model.sample.decoder is model.reconstruct.decoder
    assert FSVAESample(TINY).decoder is not FSVAESample(TINY).decoder


# -- neurons -----------------------------------------------------------------------------------------------------------


def test_neurons_fire_above_their_threshold_in_either_step_mode() -> None:
    currents = torch.randn(12, 5, 4, dtype=torch.float64) * 0.3
    whole = StrictLIF(0.25, 1.0, 0.2, StrictRectangle(0.7))
    steps = StrictLIF(0.25, 1.0, 0.2, StrictRectangle(0.7), step_mode="s")
    spikes = whole(currents)
    np.testing.assert_array_equal(spikes, torch.stack(lif(list(currents))))
    np.testing.assert_array_equal(spikes, torch.stack([steps(x) for x in currents]))
    whole.reset()
    assert not whole(torch.full((1, 2), 0.2, dtype=torch.float64)).any()
    whole.reset()
    assert whole(torch.full((1, 2), 0.2 + 1e-12, dtype=torch.float64)).all()


def test_neurons_are_their_equation() -> None:
    """Compiling runs a registered class and its equation against each other."""
    neuron = StrictLIF(0.25, 1.0, 0.2, StrictRectangle(0.7))
    model = nn.Sequential(layer.Linear(3, 4, step_mode="m"), neuron).eval()
    neurocompile.compile(model, input_shape=(3,), timesteps=5, layout="TN")


def test_surrogate_gradient() -> None:
    """1 where |u| < 1/2 (authors' code: ``SpikeAct``, aa = 0.5)."""
    u = torch.tensor([-0.6, -0.49, 0.0, 0.2, 0.49, 0.6], dtype=torch.float64, requires_grad=True)
    module = next(module for module in FSVAESample(TINY).modules() if isinstance(module, StrictLIF))
    module.surrogate_function(u - module.v_threshold).sum().backward()
    assert u.grad is not None
    assert u.grad.tolist() == [0, 1, 1, 1, 1, 0]


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_the_loss_is_the_authors(training: bool) -> None:
    sizes = replace(TINY, timesteps=4)
    torch.manual_seed(3)
    model = FSVAE(sizes)
    calibrated(model.sample, drawn(sizes, 64))
    calibrated(model.reconstruct, images(sizes, 16), drawn(sizes, 16))
    x_seq, indices = images(sizes, 4), drawn(sizes, 4)
    w, zero = weights(model), torch.zeros_like(indices[0])

    written = Transcription(w, sizes, training)
    encoded = written.encode("reconstruct.encoder.layers", list(x_seq))
    before = [zero, *written.latent("reconstruct.posterior", indices[:-1], encoded)]
    q = written.bernoulli("reconstruct.posterior", [torch.cat(pair, 1) for pair in zip(encoded, before)])
    zs = [written.pick(spikes, index) for spikes, index in zip(q, indices)]
    p = written.bernoulli("sample.prior", [zero, *zs[:-1]])
    image = written.decode("reconstruct.decoder", zs)
    potential_q, potential_p, apart = zero, zero, 0.0
    for of_q, of_p in zip(q, p):
        potential_q = potential_q / 2 + of_q.view(4, sizes.latent, sizes.k).mean(2) / 2
        potential_p = potential_p / 2 + of_p.view(4, sizes.latent, sizes.k).mean(2) / 2
        apart += float(((potential_q - potential_p) ** 2).mean()) / sizes.timesteps
    expected = float(((image - x_seq[0]) ** 2).mean()) + apart

    loss = fsvae_loss(model.train(training), x_seq, indices)
    assert loss.item() == pytest.approx(expected, abs=1e-9)
    assert apart > 1e-3
    modes = {module.step_mode for part in (model.reconstruct.posterior, model.sample.prior) for module in part.modules()
             if hasattr(module, "step_mode")}  # fmt: skip
    assert modes == {"s"}


def test_everything_learns() -> None:
    sizes = CONFIGURATIONS["small"]
    torch.manual_seed(0)
    model = FSVAE(sizes)
    fsvae_loss(model, images(sizes, 16).float(), drawn(sizes, 16).float()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if name.split(".")[-1] == "weight":  # a bias before a norm has no effect
            assert parameter.grad.abs().sum() > 0, name


# -- sizes, and what a host computes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "published"), [
    ("mnist", 3.87), ("fashion-mnist", 3.87), ("cifar10", 3.87), ("celeba", 6.37), ("small", 0.03),
])  # fmt: skip
def test_sizes(name: str, published: float) -> None:
    """The published numbers of parameters are in units of 2**20."""
    sizes = replace(CONFIGURATIONS[name], timesteps=2)
    assert CONFIGURATIONS[name].timesteps == (4 if name == "small" else 16)
    model = FSVAE(sizes).eval()
    assert round(sum(p.numel() for p in model.parameters()) / 2**20, 2) == published
    with torch.no_grad():
        indices = drawn(sizes, 2).float()
        image = model(images(sizes, 2).float(), indices)
        assert image.shape == model.sample(indices).shape == (2, sizes.channels, sizes.image_size, sizes.image_size)


def test_sizes_must_leave_two_by_two() -> None:
    with pytest.raises(ValueError, match="2 x 2"):
        Sizes(1, 28)


def test_the_pick_exports_for_any_batch() -> None:
    def given(number: int) -> tuple[Tensor, Tensor]:
        return (torch.rand(number, 12) < 0.5).double(), torch.randint(0, 3, (number, 4)).double()

    dynamic = ({0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC})
    exported = torch.export.export(OneOfK(3), given(3), dynamic_shapes=dynamic).module()
    for number in (2, 5):
        inputs = given(number)
        np.testing.assert_array_equal(exported(*inputs), OneOfK(3)(*inputs))
