"""How Spiking-GAN's generator (:mod:`neurocompile.models.spiking_gan`) is trained: by what has fired so far.

A neuron that fires at most once may as well stay on from its spike on. With F[t] = 1 where t is at least the time of
its spike, a layer of weights W and threshold 1 is

    V[t] = W F_before[t]
    F[t] = 1 if max(V[0] .. V[t]) >= 1, else 0

and the mean of F over the T steps is the intensity 1 - t / T. So the spiking network's times come from products over
all steps at once, and each owes something to every step at which the membrane is near the threshold, whether the neuron
fires there, elsewhere or never. The derivative of the step function is a surrogate, 1 / (1 + (2 (V - 1))**2).

All that is ours, and so is what keeps the players in balance, none of which remains in the trained generator:

- The generator's image is what fires in the second half of its time, full brightness standing for all that fires
  before, so that no pixel has to be decided on before half of the noise has come.
- The discriminator is given an image and its negative: of an image alone a step shows it which pixels are brighter than
  some shade, but not than which. It has as many steps as there are shades, and its verdict is the difference of its
  output neurons' mean membranes: two times that are whole numbers are too often the same.
- The generator's loss also has it excite the discriminator's hidden neurons as much as digits do, on average (feature
  matching: Salimans et al., NeurIPS 2016, arXiv:1606.03498, Eq. 1).

"Fired" arrays are F, [T, N, neurons].
"""

import sys
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.functional import softplus
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from neurocompile.models.spiking_gan import Discriminator, Generator, Sizes

__all__ = ["fired_so_far", "learn", "through"]

BATCH = 64
DECAY = 0.998  # of the average of the generator's weights
FEATURES = 5.0  # weight of the feature matching
HIDDEN = 128  # neurons of the discriminator
REPORT_EVERY = 100
SCALE = 1.5  # of its verdicts
SLOWER = 0.5  # its learning rate, as a part of the generator's


class _FiredSoFar(torch.autograd.Function):
    """Membranes V [T, N, neurons] -> F; a derivative by the greatest membrane so far goes to the step that had it."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        greatest = v.clone()
        for before, now in pairwise(greatest):  # torch.cummax takes thirty times as long
            torch.maximum(before, now, out=now)
        ctx.save_for_backward(v, greatest)
        return (greatest >= 1).to(v.dtype)

    @staticmethod
    def backward(ctx: FunctionCtx, *grad_outputs: Tensor) -> Tensor:
        v, greatest = ctx.saved_tensors  # type: ignore[attr-defined]
        gradient: Tensor = grad_outputs[0] / (1 + (2 * (greatest - 1)) ** 2)
        rises = (v[1:] > greatest[:-1]).to(v.dtype)
        for t in range(len(v) - 1, 0, -1):
            gradient[t - 1] += gradient[t] * (1 - rises[t - 1])
        gradient[1:] *= rises
        return gradient


def fired_so_far(v: Tensor) -> Tensor:
    """Membranes [T, N, neurons] -> fired."""
    fired: Tensor = _FiredSoFar.apply(v)  # type: ignore[no-untyped-call]
    return fired


def through(layers: nn.Sequential, fired: Tensor) -> tuple[Tensor, Tensor]:
    """The fired inputs of two layers -> their fired hidden neurons, and the membranes of their output neurons."""
    hidden = fired_so_far(layers[0](fired))
    return hidden, layers[2](hidden)


def _initialize(linear: nn.Module, mean: float, std: float, random: torch.Generator) -> None:
    """Normally distributed weights, whose sum has this mean and standard deviation."""
    assert isinstance(linear.weight, Tensor)
    inputs = linear.weight.shape[1]
    nn.init.normal_(linear.weight, mean / inputs, std / inputs**0.5, random)


def learn(
    generator: Generator, sizes: Sizes, x: Tensor, steps: int, learning_rate: float, random: torch.Generator
) -> None:
    """Trains a generator of ``sizes`` on images x [M, channels, H, W]: twice its intensities are to look like these.

    Adam with a learning rate that falls to 0 as a cosine, for the generator and, at half of it, the discriminator, in
    turn; the generator is left with the moving average of its weights.
    """
    shades = sizes.timesteps // 2
    discriminator = Discriminator(Sizes(2 * sizes.channels, sizes.image_size, hidden=HIDDEN, timesteps=shades))
    _initialize(generator.layers[0], 2, 1, random)
    _initialize(generator.layers[2], 2, 1, random)
    _initialize(discriminator.layers[0], 2, 2, random)
    _initialize(discriminator.layers[2], 3, 1, random)
    average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(DECAY))  # type: ignore[no-untyped-call]
    optimizers = [
        torch.optim.Adam(player.parameters(), rate, betas=(0.5, 0.99))
        for player, rate in ((generator, learning_rate), (discriminator, SLOWER * learning_rate))
    ]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) for optimizer in optimizers]

    times: Tensor = discriminator.latency(x.flatten(1))
    instants = torch.arange(sizes.timesteps).view(-1, 1, 1)

    def real() -> Tensor:
        batch = times[torch.randint(len(x), (BATCH,), generator=random)]
        return (batch <= instants[:shades]).float()

    def false() -> Tensor:
        noise = torch.randint(sizes.timesteps + 1, (BATCH, sizes.noise), generator=random)
        _, v = through(generator.layers, (noise <= instants).float())
        return fired_so_far(v)[shades:]

    def judge(fired: Tensor) -> tuple[Tensor, Tensor]:
        """How real images are [N], and how long each hidden neuron was on, on average."""
        hidden, v = through(discriminator.layers, torch.cat([fired, 1 - fired.flip(0)], 2))
        return SCALE * (v[..., 1] - v[..., 0]).mean(0), hidden.mean((0, 1))

    for step in range(steps):
        with torch.no_grad():
            images = false()
        of_real, of_false = judge(torch.cat([real(), images], 1))[0].chunk(2)
        _minimize(optimizers[1], softplus(-of_real).mean() + softplus(of_false).mean())

        score, found = judge(false())
        with torch.no_grad():
            _, wanted = judge(real())
        loss = softplus(-score).mean() + FEATURES * ((found - wanted) ** 2).sum()
        _minimize(optimizers[0], loss)
        average.update_parameters(generator)
        for schedule in schedules:
            schedule.step()
        if (step + 1) % REPORT_EVERY == 0:
            print(f"step {step + 1}/{steps}  loss {loss.item():.4f}", file=sys.stderr)
    generator.load_state_dict(average.module.state_dict())


def _minimize(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
