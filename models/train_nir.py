"""Trains small networks in snnTorch and in Norse that tell digits: `python -m neurocompile.models.train_nir`.

Writes `digits-snntorch` or `digits-norse`: NAME.nir, by the framework's own exporter, and NAME.json (what it reaches
there, how the file is to be read and how to repeat it). It wants an environment that has the framework and nir (`make
test-peers` makes one); `--data` alone wants neither, and writes what the networks are given.

    digits-snntorch     64, 48 and 10 neurons; Leaky, reset_mechanism="zero"
    digits-norse        64, 48 and 10 neurons; LIFBoxCell

A digit is shown as spikes (`digits_spikes`), and the class is the neuron of the last layer that fires most. Trained in
float32 by Adam with a learning rate that falls to 0 as a cosine; run and written in float64, where a spike is a matter
of the equation. What is chosen here was chosen on a fold of the training digits; a run looks at the held-out digits
once, after its last epoch. Everything is seeded.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neurocompile.cli.guard import guarded
from neurocompile.extras import needing
from neurocompile.files import pack_arrays, write_file
from neurocompile.models.handwriting import ORDER, digits_spikes, load_digits_split

CHECKPOINTS = Path(__file__).parent / "checkpoints"
PIXELS, HIDDEN, CLASSES = 64, 48, 10
BATCH = 64
PATH = click.Path(path_type=Path)

Step = Callable[[Any, Tensor, Any], tuple[Tensor, Any]]
"""One step of a layer of neurons: module, its input and its state (None: the first step) -> its spikes, its state."""


@dataclass(frozen=True)
class Framework:
    """How a network is made of a framework's neurons, trained, run and written; `dialect` is how its file is read."""

    dialect: str
    packages: tuple[str, ...]
    learning_rate: float
    network: Callable[[torch.dtype], nn.Module]
    step: Step
    graph: Callable[[nn.Module, Tensor], Any]


def chain(neurons: Callable[[int], nn.Module], kind: Callable[..., nn.Module] = nn.Sequential) -> nn.Module:
    """Weights and neurons in turns."""
    return kind(nn.Linear(PIXELS, HIDDEN), neurons(HIDDEN), nn.Linear(HIDDEN, CLASSES), neurons(CLASSES))


def snntorch() -> Framework:
    """Leaky of beta 0.9 and threshold 1."""
    with needing():
        import snntorch as snn
        from snntorch import surrogate
        from snntorch.export_nir import export_to_nir
    slope = surrogate.fast_sigmoid(slope=2)

    def network(dtype: torch.dtype) -> nn.Module:
        def neurons(width: int) -> nn.Module:
            leaky: nn.Module = snn.Leaky(
                beta=torch.full((width,), 0.9, dtype=dtype), threshold=torch.ones(width, dtype=dtype),
                spike_grad=lambda margin: slope(margin).to(margin.dtype),  # which gives float32 by itself
                reset_mechanism="zero", init_hidden=True,
            )  # fmt: skip
            return leaky

        return chain(neurons).to(dtype)

    def step(part: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if state is None:
            part.reset_mem()
        return part(x), True

    def graph(net: nn.Module, frame: Tensor) -> Any:
        for part in net.children():
            getattr(part, "reset_mem", lambda: None)()
        return export_to_nir(net, frame, ignore_dims=[0])

    return Framework("snntorch-zero", ("snntorch", "nir", "nirtorch"), 5e-3, network, step, graph)


def norse() -> Framework:
    """LIFBoxCell that keeps 0.8 of its membrane: weights start five times as large, since it takes 0.2 of its input."""
    with needing():
        import norse.torch as nt

    def network(dtype: torch.dtype) -> nn.Module:
        def neurons(width: int) -> nn.Module:
            told = {"tau_mem_inv": 200.0, "v_th": 1.0, "v_leak": 0.0, "v_reset": 0.0}
            each = {name: torch.full((width,), value, dtype=dtype) for name, value in told.items()}
            cell: nn.Module = nt.LIFBoxCell(nt.LIFBoxParameters(**each))
            return cell

        net = chain(neurons, nt.SequentialState).to(dtype)
        for values in net.parameters():
            values.data *= 5
        return net

    packages = ("norse", "nir", "nirtorch")
    return Framework("norse-1.1", packages, 2e-2, network, lambda part, x, state: part(x, state), nt.to_nir)


FRAMEWORKS = {"snntorch": snntorch, "norse": norse}


def run(framework: Framework, net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The spikes [N, T, neurons] of each layer, from input to output, for spikes x [N, T, 64]."""
    states: dict[str, Any] = {}
    fired: dict[str, list[Tensor]] = {}
    for frame in x.unbind(1):
        y = frame
        for name, part in net.named_children():
            if isinstance(part, nn.Linear):
                y = part(y)
            else:
                y, states[name] = framework.step(part, y, states.get(name))
                fired.setdefault(name, []).append(y)
    return {name: torch.stack(spikes, 1) for name, spikes in fired.items()}


def counts(fired: dict[str, Tensor]) -> Tensor:
    """How often each class fired [N, 10]."""
    *_, last = fired.values()
    return last.sum(1)


def train(framework: Framework, shown: Tensor, y: Tensor, *, epochs: int, seed: int) -> nn.Module:
    """A network trained on spikes [N, T, 64] with labels y [N], its weights in float64."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = framework.network(torch.float32)
    optimizer = torch.optim.Adam(net.parameters(), framework.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.split(torch.randperm(len(y), generator=generator), BATCH):
            loss = cross_entropy(counts(run(framework, net, shown[rows])), y[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item() * len(rows)
        schedule.step()
        print(f"epoch {epoch + 1}/{epochs}  loss {total / len(y):.4f}", file=sys.stderr)
    exact = framework.network(torch.float64)
    with torch.no_grad():
        for mine, trained in zip(exact.parameters(), net.parameters()):
            mine.copy_(trained)
    return exact


def summary(framework: Framework, net: nn.Module, fired: dict[str, Tensor], y: Tensor) -> dict[str, object]:
    """What its spikes for the held-out digits say about a trained network, with its size and the versions."""
    return {
        "accuracy": round((counts(fired).argmax(1) == y).double().mean().item(), 6),
        "held_out": len(y),
        "timesteps": len(ORDER),
        "dialect": framework.dialect,
        "firing_rates": {name: round(spikes.mean().item(), 6) for name, spikes in fired.items()},
        "weights": sum(part.weight.numel() for part in net.children() if isinstance(part, nn.Linear)),
        **{package: version(package) for package in ("torch", *framework.packages)},
    }


@click.command(help=__doc__)
@click.option("--framework", "name", type=click.Choice(list(FRAMEWORKS)), help="Train a network in it.")
@click.option("--output", type=PATH, default=CHECKPOINTS, metavar="DIR", help="Where to (default: models/checkpoints).")
@click.option("--epochs", type=click.IntRange(1), default=40, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--record", "recorded", type=PATH, metavar="X.npz", help="Write its layers' spikes for held-out digits.")
@click.option("--data", type=PATH, metavar="X.npz", help="Write the held-out digits as spikes, and their labels.")
def _command(name: str | None, output: Path, epochs: int, seed: int, recorded: Path | None, data: Path | None) -> None:
    if name is None and data is None:
        raise click.UsageError("nothing is to be done: --framework trains a network, --data writes the digits")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    x_train, y_train, x_test, y_test = load_digits_split()
    if data is not None:
        write_file(data, pack_arrays({"x": digits_spikes(x_test), "y": y_test}))
    if name is None:
        return
    framework = FRAMEWORKS[name]()
    with needing():
        import nir
    output.mkdir(parents=True, exist_ok=True)
    shown, y, x_held, y_held = map(
        torch.from_numpy, (digits_spikes(x_train), y_train, digits_spikes(x_test).astype(np.float64), y_test)
    )
    net = train(framework, shown, y, epochs=epochs, seed=seed)
    with torch.no_grad():
        fired = run(framework, net, x_held)
    facts = {
        "name": f"digits-{name}",
        "command": f"python -m neurocompile.models.train_nir --framework {name} --epochs {epochs} --seed {seed}",
        "seed": seed,
        "epochs": epochs,
        **summary(framework, net, fired, y_held),
    }
    written = io.BytesIO()  # HDF5 takes no file that is locked
    nir.write(written, framework.graph(net, x_held[:1, 0]))
    write_file(output / f"digits-{name}.nir", written.getvalue())
    (output / f"digits-{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    if recorded is not None:
        spikes = {layer: each.numpy().astype(np.uint8) for layer, each in fired.items()}
        write_file(recorded, pack_arrays(spikes))
    print(f"digits-{name}: {facts['accuracy']:.2%} of {len(y_held)} held-out digits")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see `--help`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(guarded(_command, given, "python -m neurocompile.models.train_nir", "train_nir"))


if __name__ == "__main__":
    main()
