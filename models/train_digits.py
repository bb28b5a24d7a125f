"""Trains the bundled networks that tell digits: `python -m neurocompile.models.train_digits`.

Writes, for each network, NAME.pt (`neurocompile.save`) and NAME.json (what it reaches and how to repeat it). Without
`--network` and `--bits` it trains them all:

    digits                      the MPBN paper's neurons
    digits-spikingjelly         SpikingJelly's MPBN neurons
    digits-4bit                 `digits`, fine-tuned with 4-bit weights
    digits-2bit                 `digits`, fine-tuned with 2-bit weights (-1, 0, 1)
    mpbn-vgg-digits             the MPBN paper's VGG, channel-wise
    mpbn-resnet20-digits        the MPBN paper's residual network, channel-wise
    dsr-vgg-digits-if           DSR's network of integrate-and-fire neurons
    dsr-vgg-digits-lif          DSR's network of leaky neurons
    dsr-vgg11-digits-events-if  DSR's VGG-11 of integrate-and-fire neurons, for events of digits that move

The recipe is near that of the MPBN paper, section 5, and of DSR (qymeng94/DSR, cifar/main_single_gpu.py): SGD with
momentum 0.9, a learning rate that falls to 0 as a cosine (the MPBN paper's 0.1; 0.03 for the first four), images
shifted by up to one pixel (for the residual network turned and scaled, too). Fine-tuning is the same once more, from
the trained weights. Learning rates, epochs and initial values were chosen on folds of the training digits; a run looks
at the held-out digits once, after its last epoch. Everything is seeded: the same command on the same torch gives the
same figures.
"""

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, pad
from torch.nn.utils import parametrize

from neurocompile.models import dsr, resnet, vgg
from neurocompile.models.digits import TIMESTEPS, load_digits_split, paper_network, spikingjelly_network, to_sequence
from neurocompile.models.event_camera import digits_events
from neurocompile.vocabulary.mpbn import MPBNLIF
from neurocompile.vocabulary.versions import classes

BITS = (8, 4, 2)
CHECKPOINTS = Path(__file__).parent / "checkpoints"
BATCH = 64
RESIDUAL_GAMMA, RESIDUAL_BETA = 0.65, 0.25  # of MPBN; on folds of the training digits 1 and 0 learned far less

Show = Callable[[Tensor, int], Tensor]
"""Images [N, 1, 8, 8] and T -> what a network is given, [T, N, C, H, W]."""

Move = Callable[[Tensor, torch.Generator], Tensor]
"""Images [N, 1, H, W] -> as many, each changed a little and at random, so that none is seen twice."""


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image [N, 1, H, W] moved by -1, 0 or 1 pixels down and across, zeros moving in."""
    height, width = images.shape[2:]
    windows = pad(images, (1, 1, 1, 1)).unfold(2, height, 1).unfold(3, width, 1)  # [N, 1, 3, 3, H, W]
    down, across = torch.randint(3, (2, len(images)), generator=generator)
    return windows[torch.arange(len(images)), :, down, across]


def jittered(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image [N, 1, H, W] turned by up to 10 degrees, scaled by up to 10 %, moved by up to a pixel; bilinear."""
    angle, wide, high, across, down = torch.rand(5, len(images), generator=generator) * 2 - 1
    cos, sin = (angle * math.radians(10)).cos(), (angle * math.radians(10)).sin()
    wide, high = 1 + wide / 10, 1 + high / 10
    height, width = images.shape[2:]
    rows = (wide * cos, -wide * sin, across * 2 / width, high * sin, high * cos, down * 2 / height)
    grid = affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)


@dataclass(frozen=True)
class Recipe:
    """How a network is made and trained; ``name`` is that of its files, which hold so many ``examples``."""

    name: str
    make: Callable[[], nn.Module]
    move: Move = shifted
    show: Show = to_sequence
    timesteps: int = TIMESTEPS
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    epochs: int = 60
    examples: int = 64


def events(images: Tensor, timesteps: int) -> Tensor:
    """What one camera sees of images [N, 1, 8, 8] as it moves: event counts [T, N, 2, 16, 16]."""
    return torch.from_numpy(digits_events(images.numpy(), seed=0, timesteps=timesteps)).transpose(0, 1)


def residual_network() -> nn.Module:
    """The MPBN paper's ResNet-20 for digits, its norms on the membrane nearer to the threshold."""
    network = resnet.CONFIGURATIONS["mpbn-resnet20-digits"].make()
    for module in network.modules():
        if isinstance(module, MPBNLIF):
            nn.init.constant_(module.vbn.weight, RESIDUAL_GAMMA)
            nn.init.constant_(module.vbn.bias, RESIDUAL_BETA)
    return network


RECIPES = {
    "paper": Recipe("digits", paper_network, learning_rate=0.03),
    "spikingjelly": Recipe("digits-spikingjelly", spikingjelly_network, learning_rate=0.03),
    "mpbn-vgg": Recipe("mpbn-vgg-digits", vgg.CONFIGURATIONS["mpbn-vgg-digits"].make),
    "mpbn-resnet20": Recipe("mpbn-resnet20-digits", residual_network, jittered, weight_decay=1e-4, epochs=120),
    "dsr-vgg-if": Recipe("dsr-vgg-digits-if", dsr.CONFIGURATIONS["dsr-vgg-digits-if"].make, timesteps=8),
    "dsr-vgg-lif": Recipe("dsr-vgg-digits-lif", dsr.CONFIGURATIONS["dsr-vgg-digits-lif"].make, timesteps=8),
    "dsr-vgg11-events-if": Recipe(
        "dsr-vgg11-digits-events-if",
        dsr.CONFIGURATIONS["dsr-vgg11-digits-events-if"].make,
        show=events,
        timesteps=8,
        epochs=50,
        examples=32,
    ),
}
ALL: tuple[tuple[str, int | None], ...] = (
    ("paper", None),
    ("spikingjelly", None),
    ("paper", 4),
    ("paper", 2),
    ("mpbn-vgg", None),
    ("mpbn-resnet20", None),
    ("dsr-vgg-if", None),
    ("dsr-vgg-lif", None),
    ("dsr-vgg11-events-if", None),
)


class FakeQuantize(nn.Module):
    """Weights rounded to `bits` bits, symmetrically, with one scale per output channel; the gradient passes straight.

    A channel's scale is the share (of 20, between 0.3 and 1) of max |w| / (2^(bits-1) - 1) with the least squared
    error. It keeps 12 bits of mantissa, so that scale * integer is exact in float32, and never exceeds max |w| by so
    much that the largest integer stays unused: dividing a channel by max |w| gives the integers back.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.largest = 2 ** (bits - 1) - 1

    def forward(self, weight: Tensor) -> Tensor:
        """[C_out, ...] -> [C_out, ...], on the grid scale[C_out] * integer."""
        with torch.no_grad():
            rows = weight.flatten(1)
            shares = torch.linspace(0.3, 1, 20).view(-1, 1, 1)
            mantissa, exponent = torch.frexp(shares * rows.abs().amax(1, keepdim=True) / self.largest)
            scales = torch.ldexp((mantissa * 4096).round() / 4096, exponent).clamp_min(torch.finfo(weight.dtype).tiny)
            candidates = scales * (rows / scales).round().clamp(-self.largest, self.largest)
            best = (candidates - rows).square().sum(2).argmin(0)
            quantized = candidates[best, torch.arange(len(rows))].view_as(weight)
        return quantized + (weight - weight.detach())  # exactly `quantized`: the difference is 0, its gradient is not


def with_weights(network: nn.Module) -> Iterator[nn.Conv2d | nn.Linear]:
    """The convolutions and linear layers."""
    return (module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear))


@contextmanager
def quantized_weights(network: nn.Module, bits: int) -> Iterator[None]:
    """Trains inside with `bits`-bit weights; leaves plain modules whose stored weights lie on the grid."""
    layers = list(with_weights(network))
    for module in layers:
        parametrize.register_parametrization(module, "weight", FakeQuantize(bits))
    yield
    for module in layers:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def train(network: nn.Module, recipe: Recipe, x: Tensor, y: Tensor, *, epochs: int, seed: int) -> None:
    """Trains `network` in place on images x [N, 1, 8, 8] with labels y [N]; leaves it in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    whole = len(x) - len(x) % BATCH  # a last batch of few images would spoil the batch norms' statistics
    network.train()
    for epoch in range(epochs):
        total = 0.0
        order = torch.randperm(len(x), generator=generator)[:whole]
        for rows in torch.split(order, BATCH):
            functional.reset_net(network)
            loss = cross_entropy(network(recipe.show(recipe.move(x[rows], generator), recipe.timesteps)), y[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item() * len(rows)
        schedule.step()
        print(f"epoch {epoch + 1}/{epochs}  loss {total / whole:.4f}", file=sys.stderr)
    functional.reset_net(network)
    network.eval()


@torch.no_grad()
def evaluate(network: nn.Module, x_seq: Tensor, y: Tensor) -> tuple[float, dict[str, float]]:
    """Accuracy on x_seq [T, N, C, H, W] with labels y [N]; spikes per neuron and time step of each layer."""
    rates: dict[str, float] = {}

    def record(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _module, _inputs, sent: rates.update({name: (sent != 0).float().mean().item()})

    neurons: tuple[type[nn.Module], ...] = (MPBNLIF, *classes(neuron, "MPBNLIFNode", "DSRIFNode", "DSRLIFNode"))
    hooks = [m.register_forward_hook(record(n)) for n, m in network.named_modules() if isinstance(m, neurons)]
    functional.reset_net(network)
    accuracy = (network(x_seq).argmax(1) == y).float().mean().item()
    functional.reset_net(network)
    for hook in hooks:
        hook.remove()
    return accuracy, rates


def summary(network: nn.Module, x_seq: Tensor, y_test: Tensor) -> dict[str, object]:
    """What the held-out digits say about a trained network, with its size and the versions it was trained with."""
    accuracy, firing_rates = evaluate(network, x_seq, y_test)
    mpbns: tuple[type[Any], ...] = (MPBNLIF, *classes(neuron, "MPBNLIFNode"))
    norms = {n: m.vbn.weight for n, m in network.named_modules() if isinstance(m, mpbns)}
    return {
        "accuracy": round(accuracy, 6),
        "held_out": len(y_test),
        "timesteps": len(x_seq),
        "firing_rates": {name: round(rate, 6) for name, rate in firing_rates.items()},
        **({"negative_gammas": {name: int((gamma < 0).sum()) for name, gamma in norms.items()}} if norms else {}),
        "weights": sum(module.weight.numel() for module in with_weights(network)),
        "torch": version("torch"),
        "spikingjelly": version("spikingjelly"),
    }


def named(kind: str, bits: int | None, epochs: int, seed: int) -> tuple[str, str]:
    """The name of a network and the command that trains it alone."""
    name = RECIPES[kind].name + (f"-{bits}bit" if bits else "")
    options = f"--network {kind}" + (f" --bits {bits}" if bits else "") + f" --epochs {epochs} --seed {seed}"
    return name, f"python -m neurocompile.models.train_digits {options}"


def main(arguments: list[str] | None = None) -> None:
    """Command line: see `--help`."""
    parser = argparse.ArgumentParser(prog="python -m neurocompile.models.train_digits", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--network", choices=RECIPES, help="train only this one (default with --bits: paper)")
    parser.add_argument("--bits", type=int, choices=BITS, help="train it, then fine-tune it with weights of this width")
    parser.add_argument("--output", type=Path, default=CHECKPOINTS, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, help="of training, and of fine-tuning (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    from neurocompile import save

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    options.output.mkdir(parents=True, exist_ok=True)
    x_train, y_train, x_test, y_test = map(torch.from_numpy, load_digits_split())
    only = options.network is not None or options.bits is not None
    trained: dict[str, nn.Module] = {}
    for kind, bits in [(options.network or "paper", options.bits)] if only else ALL:
        start = time.perf_counter()
        recipe = RECIPES[kind]
        epochs = options.epochs or recipe.epochs
        if kind not in trained:
            torch.manual_seed(options.seed)
            trained[kind] = recipe.make()
            train(trained[kind], recipe, x_train, y_train, epochs=epochs, seed=options.seed)
        network = copy.deepcopy(trained[kind])
        if bits is not None:
            with quantized_weights(network, bits):
                train(network, recipe, x_train, y_train, epochs=epochs, seed=options.seed)
        name, command = named(kind, bits, epochs, options.seed)
        facts = {
            "name": name,
            "command": command,
            "seed": options.seed,
            "epochs": epochs,
            "fine_tuning_epochs": epochs if bits else 0,
            "weight_bits": bits or 32,
            **summary(network, recipe.show(x_test, recipe.timesteps), y_test),
        }
        example = recipe.show(x_train[: recipe.examples], recipe.timesteps).contiguous()
        save(network, options.output / f"{name}.pt", example, layout="TN")
        (options.output / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
        print(f"{name}: {facts['accuracy']:.2%} of {len(y_test)} held-out digits", flush=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
