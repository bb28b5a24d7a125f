"""The networks that ``zoo`` and ``demo`` show. They use all that is below, verbs too, and so are found by name here.

Installed packages add theirs as entry points ``neurocompile.networks`` and ``neurocompile.demos``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from neurocompile.ir.ops import Array
from neurocompile.registry import Table
from neurocompile.reports.zoo import Measured

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

__all__ = ["DEMOS", "NETWORKS", "Demo", "Network", "networks"]


class Network(Protocol):
    """What is known of a network without building it, and what can be done with it."""

    @property
    def name(self) -> str:
        """By which it is asked for."""

    @property
    def paper(self) -> str:
        """Whose network it is."""

    @property
    def layout(self) -> Literal["TN", "N"]:
        """How forward takes time and batch."""

    @property
    def timesteps(self) -> int:
        """T."""

    @property
    def source(self) -> str:
        """Where its sizes were published, or "our size"."""

    @property
    def size(self) -> Literal["paper", "small"]:
        """What is "small" trains on a laptop; the others are as the "paper" has them."""

    @property
    def samples(self) -> Callable[[int, Generator], tuple[Tensor, ...]]:
        """Gives so many made-up inputs in the layout of its forward."""

    def synthetic(self, seed: int = 0, samples: int = 4) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The network with random weights that fires as a trained one does, in eval mode, and inputs for it."""

    def firing_rates(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, float]:
        """The share of places and steps that fire, of each layer of neurons of what ``synthetic`` gave."""

    def measure(self, seed: int = 0) -> Measured:
        """What it takes and costs, from PyTorch to the chips."""


@dataclass(frozen=True)
class Demo:
    """A trained network, and data that it has not seen.

    Attributes:
        model: opens its model file.
        data: samples and their labels.
    """

    model: Callable[[], AbstractContextManager[Path]]
    data: Callable[[], tuple[Array, Array]]


NETWORKS: Table[Mapping[str, Network]] = Table("neurocompile.networks", {"zoo": "neurocompile.models.zoo:ZOO"})
"""Collections of networks, each by name."""

DEMOS: Table[Demo] = Table("neurocompile.demos", {"digits": "neurocompile.models.digits:DEMO"})
"""What is shown."""


def networks() -> dict[str, Network]:
    """The networks of all collections, by name."""
    return {name: network for collection in NETWORKS for name, network in NETWORKS[collection].items()}
