"""NeuroBench's own package on networks that come along, as PyTorch runs them, beside our figures by its names.

``python -m benchmarks.neurobench [--samples N] [--json]``, in the environment that ``make peers-neurobench`` makes;
docs/counts.md holds what it printed and says where the two differ. Three networks of SpikingJelly's modules (the
demo's, a VGG, a ResNet) and a dense one of snnTorch's, trained on digits, on digits that were held out. Of our two
programs the one of 16 bits fires nearly as PyTorch does; that of 8 bits is what ``export`` makes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import neurocompile
from neurocompile.frontends import load_model
from neurocompile.frontends.pytorch.pickles import unpickle
from neurocompile.frontends.pytorch.symbolic.plain import module_of
from neurocompile.ir.ops import Array, Linear
from neurocompile.models import train_nir
from neurocompile.models.handwriting import ORDER, digits_spikes, load_digits_split
from neurocompile.reports.plain import plain
from neurocompile.vocabulary.mpbn import MPBNLIF

SPIKINGJELLY = ("digits", "mpbn-vgg-digits", "mpbn-resnet20-digits")
SNNTORCH = "digits-snntorch"
BITS = (16, 8)
CHECKPOINTS = train_nir.CHECKPOINTS
STATIC = ("Footprint", "ConnectionSparsity", "ParameterCount")
WORKLOAD = ("ActivationSparsity", "SynapticOperations", "MembraneUpdates")
ROWS = (*STATIC, "ActivationSparsity", "Effective_MACs", "Effective_ACs", "Dense", "MembraneUpdates")


def network(name: str) -> tuple[nn.Module, Array, dict[str, Any]]:
    """A trained network in float32, all held-out digits ``[N, T, ...]`` as it is given them, how to compile it."""
    images = load_digits_split()[2]
    if name != SNNTORCH:
        module = module_of(unpickle(CHECKPOINTS / f"{name}.pt", trust=False)).eval()
        timesteps = load_model(CHECKPOINTS / f"{name}.pt").timesteps
        return module, np.repeat(images[:, None], timesteps, 1), {}
    told = {"dialect": "snntorch-zero", "timesteps": len(ORDER)}
    graph = load_model(CHECKPOINTS / f"{name}.nir", **told).graph
    module = train_nir.snntorch().network(torch.float32).eval()
    with torch.no_grad():
        for mine, node in zip((part for part in module if isinstance(part, nn.Linear)), graph.of(Linear), strict=True):
            mine.weight.copy_(torch.tensor(node.op.weight))
            if node.op.bias is not None:
                mine.bias.copy_(torch.tensor(node.op.bias))
    return module, digits_spikes(images), told


def theirs(module: nn.Module, x: Array) -> dict[str, float]:
    """NeuroBench's figures; those of the run in float64, in which its sums of ones are exact."""
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics import static, workload
    from neurobench.models import NeuroBenchModel
    from snntorch import SpikingNeuron

    class Runs(NeuroBenchModel):
        """A network, sample by sample from rest, over samples ``[N, T, ...]``."""

        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def __net__(self) -> nn.Module:
            return self.net

        def __call__(self, batch: Tensor) -> Tensor:
            with torch.no_grad():
                if not isinstance(self.net, nn.Sequential):  # of SpikingJelly's modules, over [T, N, ...]
                    functional.reset_net(self.net)
                    scores: Tensor = self.net(batch.transpose(0, 1))
                    return scores
                for part in self.net:
                    getattr(part, "reset_mem", lambda: None)()
                return torch.stack([self.net(frame) for frame in batch.unbind(1)], 1).sum(1)

    def figures(net: nn.Module, given: Array, kinds: list[list[Any]]) -> dict[str, Any]:
        model = Runs(net)
        for kind in (MPBNLIF, SpikingNeuron):
            model.add_activation_module(kind)
        samples = torch.from_numpy(given).to(next(net.parameters()).dtype)
        data = DataLoader(TensorDataset(samples, torch.zeros(len(samples))), batch_size=50)
        return dict(Benchmark(model, data, [], [], kinds).run(quiet=True))

    found = figures(module, x[:1], [[getattr(static, name) for name in STATIC], []])
    found |= figures(module.double(), x, [[], [getattr(workload, name) for name in WORKLOAD]])
    return dict(_flat(found))


def ours(name: str, x: Array, told: dict[str, Any], bits: int) -> dict[str, float]:
    """Our figures of the same network in integers of so many bits."""
    file: Path = CHECKPOINTS / (f"{name}.nir" if name == SNNTORCH else f"{name}.pt")
    program = neurocompile.compile(file, bits=bits, carries="spikes" if name == SNNTORCH else None, **told)
    return dict(_flat(plain(neurocompile.simulate(program, x, spikes=False).neurobench)))


def _flat(found: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in found.items():
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield key, value


@click.command()
@click.option("--samples", default=450, show_default=True, help="Of the held-out digits.")
@click.option("--seed", default=0, help="Nothing here is random; for the common form of benchmarks.")
@click.option("--json", "as_json", is_flag=True)
def main(samples: int, seed: int, as_json: bool) -> None:
    """Both, network by network."""
    rows = {}
    for name in (*SPIKINGJELLY, SNNTORCH):
        module, x, told = network(name)
        mine = {f"{bits} bits": ours(name, x[:samples], told, bits) for bits in BITS}
        rows[name] = {"NeuroBench": theirs(module, x[:samples]), **mine}
    if as_json:
        about = {"seed": seed, "samples": samples, "neurobench": version("neurobench")}
        print(json.dumps({**about, "rows": rows}, indent=1))
        return
    for name, columns in rows.items():
        print(f"{name:22}" + "".join(f"{column:>16}" for column in columns))
        for row in ROWS:
            print(f"  {row:20}" + "".join(f"{found[row]:16,.4f}" for found in columns.values()))


if __name__ == "__main__":
    main()
