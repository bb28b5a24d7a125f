"""Random networks of which the host computes parts: before, between and behind layers of the chip."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

import neurocompile
from tests.random_networks.blocks import BLOCKS, Build
from tests.random_networks.modules import STEMS, Network, calibrate, inputs
from tests.random_networks.spellings import Draw

__all__ = ["random_hosted_network"]


@neurocompile.host
class Squash(nn.Module):
    """Each step for itself: numbers to numbers."""

    def forward(self, x_seq: Tensor) -> Tensor:
        return torch.sigmoid(2 * x_seq) - 0.25


@neurocompile.host
class Centered(nn.Module):
    """Of the whole sequence: what differs from its mean."""

    def forward(self, x_seq: Tensor) -> Tensor:
        return torch.tanh(x_seq - x_seq.mean(0, keepdim=True))


@neurocompile.host(carries="spikes")
class Generate(nn.Module):
    """The mean over time, as a train of spikes."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.register_buffer("levels", (torch.arange(timesteps) + 0.37) / timesteps)

    def forward(self, x_seq: Tensor) -> Tensor:
        level = self.levels.to(x_seq.dtype).view(-1, *(1 for _ in x_seq.shape[1:]))
        return (torch.sigmoid(x_seq.mean(0)).unsqueeze(0) > level).to(x_seq.dtype)


@neurocompile.host
class Chances(nn.Module):
    """What reads the network."""

    def forward(self, x_seq: Tensor) -> Tensor:
        return torch.softmax(x_seq.mean(0), -1)


def random_hosted_network(source: random.Random, wanted: str = "") -> Network:
    """Draw one; blocks and neurons are those of networks without a host, always over ``[T, N, ...]``."""
    draw = Draw(source)
    timesteps = draw.pick((1, 2, 3, 4, 5))
    b = Build(draw, True, timesteps, wanted)
    shape = first = STEMS[draw.pick(("flat", "flat", "1-d", "2-d"))](draw)
    parts: list[nn.Module] = []
    kinds: dict[str, Any] = {"Squash": Squash, "Centered": Centered, "Generate": lambda: Generate(timesteps)}
    places = sorted({draw.whole(0, 3), draw.whole(1, 3)})
    for place in range(4):
        if place in places and place < 3:
            kind = draw.pick(tuple(kinds))
            draw.mark(f"host: {kind}{' first' if not parts else ''}")
            parts.append(kinds[kind]())
        if place < draw.whole(1, 3) and (block := BLOCKS[draw.pick(("plain", "plain", *BLOCKS))](b, shape)):
            shape = b.shape_after(block, shape)
            parts.append(block)
    if len(shape) > 1:
        parts.append(b.flatten(shape))
        shape = (int(torch.tensor(shape).prod()),)
    parts.append(b.linear(shape[0], 3)[0])
    if 3 in places:
        draw.mark("host: behind")
        parts.append(Chances())
    module = nn.Sequential(*parts).double().eval()
    network = Network(
        module, {"input": first}, timesteps, "TN", None if 3 in places else draw.pick(("mean", "last")),
        inputs(draw, {"input": first}, timesteps, "TN", draw.whole(2, 3)), frozenset(),
    )  # fmt: skip
    network.sequence = 3 not in places
    calibrate(network, b.feeding)
    for cast in b.casts:
        cast.remove()
    network.cases = frozenset(draw.cases)
    return network
