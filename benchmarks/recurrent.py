"""A recurrent network whose neurons hear pixels in sixteenths and their own spikes, at 8, 4, 3 and 2 bits.

``python -m benchmarks.recurrent [--epochs N] [--seed S] [--json]``. It reads digits row by row, so that it needs what
it remembers; nothing of it is bundled: it is trained when it is needed, in less than a minute. docs/quantization.md
holds what it printed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import click
import numpy as np
import torch
from spikingjelly.activation_based import functional, surrogate
from spikingjelly.activation_based.neuron import LIFNode
from torch import Tensor, nn

import neurocompile
from neurocompile.compiler import Options, compile_graph
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.ir import interpret
from neurocompile.models.digits import load_digits_split
from neurocompile.simulator import simulate_integers

__all__ = ["Rows", "accuracies", "as_rows", "main", "trained"]

STEPS = PIXELS = 8
_BATCH = 64
_SAMPLES = 8


class Rows(nn.Module):
    """Rows of an image [T, N, 8], one a step, into leaky neurons that hear each other: scores [N, 10]."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.into, self.own = nn.Linear(PIXELS, width), nn.Linear(width, width, bias=False)
        self.neurons = LIFNode(
            tau=2.0, decay_input=False, surrogate_function=surrogate.ATan(), detach_reset=True, step_mode="s"
        )
        self.out = nn.Linear(width, 10)

    def forward(self, rows: Tensor) -> Tensor:
        """The mean over the steps of what the readout hears."""
        spikes = torch.zeros(rows.shape[1], self.own.out_features, dtype=rows.dtype)
        scores = torch.zeros(rows.shape[1], self.out.out_features, dtype=rows.dtype)
        for row in rows:
            spikes = self.neurons(self.into(row) + self.own(spikes))
            scores = scores + self.out(spikes)
        return scores / len(rows)


def as_rows(images: Any) -> Any:
    """Images [N, 1, 8, 8] as samples of rows [N, T, 8]."""
    return np.asarray(images).reshape(-1, STEPS, PIXELS)


def trained(epochs: int, seed: int) -> Rows:
    """The network after so many epochs of the training digits: Adam, a learning rate that falls from 0.003 to 0."""
    torch.manual_seed(seed)
    x, y, _, _ = load_digits_split()
    rows, labels = torch.as_tensor(as_rows(x)).float(), torch.as_tensor(np.asarray(y)).long()
    network = Rows()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(rows)).split(_BATCH):
            functional.reset_net(network)
            loss = nn.functional.cross_entropy(network(rows[batch].transpose(0, 1)), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    functional.reset_net(network)
    return network.eval()


def accuracies(network: Rows, target: str, options: Options, samples: int = 450) -> tuple[float, float]:
    """On held-out digits: of the folded graph in float64, and of the target's integers."""
    known, _, x, y = load_digits_split()
    model = TorchModel.from_module(network, {"rows": (PIXELS,)}, STEPS, "TN")
    few = {"rows": as_rows(known)[:_SAMPLES].astype(np.float64)}
    program = compile_graph(model.graph, target, STEPS, options, calibration=few)
    given = {"rows": as_rows(x)[:samples].astype(np.float64)}
    real = interpret(program.real, given, STEPS).outputs["output"]
    whole = simulate_integers(program.integer, program.arithmetic, program.integers(given)[0]).outputs["output"]
    labels = np.asarray(y)[:samples]
    return float((real.argmax(1) == labels).mean()), float((whole.argmax(1) == labels).mean())


@click.command()
@click.option("--epochs", default=30, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(epochs: int, seed: int, as_json: bool) -> None:
    """Train it, and compile it for targets with and without exponents."""
    network = trained(epochs, seed)
    rows: list[dict[str, Any]] = []
    for bits in (8, 4, 3, 2):
        for scale in ("max", "auto"):
            options = replace(Options(), bits=bits, method=scale)  # type: ignore[arg-type]
            for target in ("generic", "loihi2"):
                real, whole = accuracies(network, target, options)
                rows.append({"target": target, "bits": bits, "scale": scale, "float": real, "integers": whole})
    if as_json:
        print(json.dumps({"seed": seed, "neurocompile": neurocompile.__version__, "rows": rows}, indent=1))
        return
    print("| target | bits | scale | float | integers |\n|---|---|---|---|---|")
    for row in rows:
        print("| {target} | {bits} | {scale} | {float:.2%} | {integers:.2%} |".format(**row))


if __name__ == "__main__":
    main()
