"""Trains the bundled digits networks: `python -m neurocompile.models.train_digits`.

Writes, for each network, NAME.pt (`neurocompile.save`) and NAME.json (what it reaches and how to repeat it). Without
`--network` and `--bits` it trains them all:

    digits               the MPBN paper's neurons
    digits-spikingjelly  SpikingJelly's MPBN neurons
    digits-4bit          `digits`, fine-tuned with 4-bit weights
    digits-2bit          `digits`, fine-tuned with 2-bit weights (-1, 0, 1)

The recipe is near that of the MPBN paper, section 5: SGD with momentum 0.9, a learning rate that falls to 0 as a cosine
(from 0.03, where the paper has 0.1), images shifted by up to one pixel. Fine-tuning is the same once more, from the
trained weights. Learning rate and initial values were chosen on folds of the training digits; a run looks at the
held-out digits once, after its last epoch. Everything is seeded: the same command on the same torch gives the same
figures.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils import parametrize

from neurocompile.models.digits import (
    TIMESTEPS,
    DigitsNet,
    load_digits_split,
    paper_network,
    spikingjelly_network,
    to_sequence,
)

NETWORKS: dict[str, Callable[[], DigitsNet]] = {"paper": paper_network, "spikingjelly": spikingjelly_network}
ALL: tuple[tuple[str, int | None], ...] = (("paper", None), ("spikingjelly", None), ("paper", 4), ("paper", 2))
BITS = (8, 4, 2)
CHECKPOINTS = Path(__file__).parent / "checkpoints"
BATCH = 64
EXAMPLES = 64
EPOCHS = 60
LEARNING_RATE = 0.03
WEIGHT_DECAY = 5e-4


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


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image [N, 1, H, W] moved by -1, 0 or 1 pixels down and across, zeros moving in."""
    height, width = images.shape[2:]
    windows = pad(images, (1, 1, 1, 1)).unfold(2, height, 1).unfold(3, width, 1)  # [N, 1, 3, 3, H, W]
    down, across = torch.randint(3, (2, len(images)), generator=generator)
    return windows[torch.arange(len(images)), :, down, across]


def train(network: DigitsNet, x: Tensor, y: Tensor, *, epochs: int, seed: int) -> None:
    """Trains `network` in place on images x [N, 1, 8, 8] with labels y [N]; leaves it in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    whole = len(x) - len(x) % BATCH  # a last batch of few images would spoil the batch norms' statistics
    network.train()
    for epoch in range(epochs):
        total = 0.0
        order = torch.randperm(len(x), generator=generator)[:whole]
        for rows in torch.split(order, BATCH):
            functional.reset_net(network)
            loss = cross_entropy(network(to_sequence(shifted(x[rows], generator))), y[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item() * len(rows)
        schedule.step()
        print(f"epoch {epoch + 1}/{epochs}  loss {total / whole:.4f}", file=sys.stderr)
    functional.reset_net(network)
    network.eval()


@torch.no_grad()
def evaluate(network: DigitsNet, x: Tensor, y: Tensor) -> tuple[float, dict[str, float]]:
    """Accuracy on images x [N, 1, 8, 8] with labels y [N], and spikes per neuron and time step of each neuron layer."""
    rates: dict[str, float] = {}

    def record(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _module, _inputs, spikes: rates.update({name: spikes.mean().item()})

    hooks = [m.register_forward_hook(record(n)) for n, m in network.named_children() if n.startswith("neuron")]
    functional.reset_net(network)
    accuracy = (network(to_sequence(x)).argmax(1) == y).float().mean().item()
    functional.reset_net(network)
    for hook in hooks:
        hook.remove()
    return accuracy, rates


def summary(network: DigitsNet, x_test: Tensor, y_test: Tensor) -> dict[str, object]:
    """What the held-out digits say about a trained network, with its size and the versions it was trained with."""
    accuracy, firing_rates = evaluate(network, x_test, y_test)
    return {
        "accuracy": round(accuracy, 6),
        "held_out": len(y_test),
        "timesteps": TIMESTEPS,
        "firing_rates": {name: round(rate, 6) for name, rate in firing_rates.items()},
        "negative_gammas": {n: int((m.weight < 0).sum()) for n, m in zip(firing_rates, network.mpbns())},
        "weights": sum(module.weight.numel() for module in with_weights(network)),
        "torch": version("torch"),
        "spikingjelly": version("spikingjelly"),
    }


def recipe(kind: str, bits: int | None, epochs: int, seed: int) -> tuple[str, str]:
    """The name of a network and the command that trains it alone."""
    name = "digits" + ("" if kind == "paper" else f"-{kind}") + (f"-{bits}bit" if bits else "")
    options = f"--network {kind}" + (f" --bits {bits}" if bits else "") + f" --epochs {epochs} --seed {seed}"
    return name, f"python -m neurocompile.models.train_digits {options}"


def main(arguments: list[str] | None = None) -> None:
    """Command line: see `--help`."""
    parser = argparse.ArgumentParser(prog="python -m neurocompile.models.train_digits", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--network", choices=NETWORKS, help="train only this one (default with --bits: paper)")
    parser.add_argument("--bits", type=int, choices=BITS, help="train it, then fine-tune it with weights of this width")
    parser.add_argument("--output", type=Path, default=CHECKPOINTS, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of training, and of fine-tuning (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    from neurocompile import save

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    options.output.mkdir(parents=True, exist_ok=True)
    x_train, y_train, x_test, y_test = map(torch.from_numpy, load_digits_split())
    example = to_sequence(x_train[:EXAMPLES]).contiguous()
    only = options.network is not None or options.bits is not None
    trained: dict[str, DigitsNet] = {}
    for kind, bits in [(options.network or "paper", options.bits)] if only else ALL:
        start = time.perf_counter()
        if kind not in trained:
            torch.manual_seed(options.seed)
            trained[kind] = NETWORKS[kind]()
            train(trained[kind], x_train, y_train, epochs=options.epochs, seed=options.seed)
        network = copy.deepcopy(trained[kind])
        if bits is not None:
            with quantized_weights(network, bits):
                train(network, x_train, y_train, epochs=options.epochs, seed=options.seed)
        name, command = recipe(kind, bits, options.epochs, options.seed)
        facts = {
            "name": name,
            "command": command,
            "seed": options.seed,
            "epochs": options.epochs,
            "fine_tuning_epochs": options.epochs if bits else 0,
            "weight_bits": bits or 32,
            **summary(network, x_test, y_test),
        }
        save(network, options.output / f"{name}.pt", example, layout="TN")
        (options.output / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
        print(f"{name}: {facts['accuracy']:.2%} of {len(y_test)} held-out digits", flush=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
