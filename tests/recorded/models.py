"""Writers of models and data; each is a function that gives the function that writes a file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import neurocompile
from tests.cli.helpers import small_net
from tests.networks import arranged, random_network
from tests.recorded.case import Given

__all__ = ["arrays", "bytes_of", "pickled", "random_model", "saved", "small"]


def saved(name: str, make: Callable[[], nn.Module], *shape: int, **options: Any) -> Given:
    """A model as neurocompile.save writes it, with a random example of a shape."""

    def write(path: Path) -> None:
        torch.manual_seed(0)
        net = make().eval()
        torch.manual_seed(1)
        neurocompile.save(net, path, torch.rand(*shape), **options)

    return Given(name, write)


def small(name: str = "m.pt", **options: Any) -> Given:
    """4 inputs, 6 and 3 neurons, 5 steps."""
    return saved(name, small_net, 5, 8, 4, **options)


def pickled(name: str, make: Callable[[], Any]) -> Given:
    """What torch.save writes."""

    def write(path: Path) -> None:
        torch.manual_seed(0)
        torch.save(make(), path)

    return Given(name, write)


def bytes_of(name: str, content: bytes) -> Given:
    """A file of any bytes."""
    return Given(name, lambda path: path.write_bytes(content))


def arrays(name: str, *shape: int, labels: int = 0, seed: int = 3, **others: Any) -> Given:
    """x of a shape, labels y below a number, and other arrays."""

    def write(path: Path) -> None:
        draw = np.random.default_rng(seed)
        found = {"x": draw.random(shape)} if shape else {}
        if labels:
            found["y"] = draw.integers(0, labels, shape[0])
        np.savez(path, **found, **others)

    return Given(name, write)


def random_model(seed: int, wanted: str = "") -> tuple[Given, Given]:
    """A random network of torch and SpikingJelly as ``m.pt``, and inputs for it as ``x.npz``."""

    def model(path: Path) -> None:
        network = random_network(random.Random(seed), wanted)
        given = {name: x[:, 0] if network.layout == "loop" else x for name, x in network.inputs.items()}
        example = {
            name: torch.from_numpy(x) if network.layout == "loop" else arranged(x, network.layout)
            for name, x in given.items()
        }
        dtype = next(network.module.parameters()).dtype
        neurocompile.save(
            network.module,
            path,
            {name: x.to(dtype) for name, x in example.items()},
            layout=network.layout,  # type: ignore[arg-type]
            timesteps=network.timesteps,
            readout=network.read,  # type: ignore[arg-type]
            carries=network.carries,  # type: ignore[arg-type]
        )

    def data(path: Path) -> None:
        np.savez(path, **random_network(random.Random(seed), wanted).inputs)

    return Given("m.pt", model), Given("x.npz", data)
