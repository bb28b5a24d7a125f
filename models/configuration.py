"""What a named network of the papers is: how it is made, what it reads, where its sizes come from."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

__all__ = ["Configuration"]


@dataclass(frozen=True)
class Configuration:
    """A network as it is trained and compiled.

    Attributes:
        make: gives the network, untrained; its forward takes [T, N, *image] and returns scores [N, classes].
        image: the shape [C, H, W] of an image, or of a frame of events.
        timesteps: T.
        source: where the sizes were published, or "our size".
    """

    make: Callable[[], nn.Module]
    image: tuple[int, int, int]
    timesteps: int
    source: str
