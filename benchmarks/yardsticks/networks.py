"""The networks of the yardsticks as plain lists of layers: facts that others published, and small ones of our own.

Read by both sides, so that they count the same network: also in environments that have neither torch nor this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

__all__ = ["LOIHI2", "NXTF", "SMALL", "Network", "Part", "neurons", "shapes"]


@dataclass(frozen=True)
class Part:
    """A layer of neurons and what feeds it: a full matrix, or a kernel where it has one.

    Attributes:
        size: its channels, or neurons.
        kernel: of a convolution along each axis; () for a full matrix.
        stride: of the convolution, along each axis.
        padding: on both sides of each axis.
        depthwise: each channel reads its own.
        recurrent: it also reads itself, by another full matrix.
        pool: the weights of the kernel are all the same, and each channel reads its own.
    """

    size: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    depthwise: bool = False
    recurrent: bool = False
    pool: bool = False

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        """Channels, then places, if it reads neurons of the shape ``given``."""
        if not self.kernel:
            return (self.size,)
        steps = zip(given[1:], self.kernel, self.stride, self.padding)
        return (self.size, *((n + 2 * pad - kernel) // stride + 1 for n, kernel, stride, pad in steps))


@dataclass(frozen=True)
class Network:
    """A network and what is known of it.

    Attributes:
        name: by which it is asked for.
        what: its layers in words.
        given: the shape of its inputs, channels first.
        parts: its layers of neurons.
        theirs: how many cores it takes for others.
        at_most: that is only how many the chips have that it takes.
        by_layer: that, layer by layer, if they tell.
        neurons: how many it has, by their count.
        source: who says so.
        input_neurons: the inputs are neurons of the chip, too.
        compartments: of each neuron.
    """

    name: str
    what: str
    given: tuple[int, ...]
    parts: tuple[Part, ...]
    theirs: int | None = None
    at_most: bool = False
    by_layer: tuple[int, ...] = ()
    neurons: int | None = None
    source: str = ""
    input_neurons: bool = False
    compartments: int = 1


def shapes(network: Network) -> list[tuple[int, ...]]:
    """The shape of each layer."""
    found = [network.given]
    for part in network.parts:
        found.append(part.shape(found[-1]))
    return found[1:]


def _conv(size: int, kernel: int = 3, stride: int = 1, padding: int | None = None, axes: int = 2) -> Part:
    pad = kernel // 2 if padding is None else padding
    return Part(size, (kernel,) * axes, (stride,) * axes, (pad,) * axes)


def _depthwise(size: int, stride: int = 1) -> Part:
    return Part(size, (3, 3), (stride, stride), (1, 1), depthwise=True)


def _pool(size: int, window: int) -> Part:
    return Part(size, (window, window), (window, window), (0, 0), depthwise=True, pool=True)


def _mobilenet() -> tuple[Part, ...]:
    parts = [_conv(32, stride=2)]
    width = 32
    for size, stride in [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ]:
        parts += [_depthwise(width, stride), _conv(size, 1)]
        width = size
    return (*parts, _pool(1024, 4), Part(1000))


def _cifar() -> tuple[Part, ...]:
    parts = [_conv(32, stride=2)]
    width = 32
    for size, stride in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1)]:
        parts += [_depthwise(width, stride), _conv(size, 1)]
        width = size
    return (*parts, _pool(256, 2), Part(10))


NXTF = (
    Network(
        "nxtf-mobilenet-v1",
        "MobileNet v1, width 1, 128x128x3",
        (3, 128, 128),
        _mobilenet(),
        theirs=2048,
        neurons=1_648_616 + 49_152,
        at_most=True,
        source="NxTF: 16 chips, arXiv:2101.04261",
        input_neurons=True,
    ),
    Network(
        "nxtf-cifar",
        "CIFAR-10 network, soft reset",
        (3, 32, 32),
        _cifar(),
        theirs=157,
        neurons=76_810 + 3_072,
        source="NxTF: output of tutorial b",
        input_neurons=True,
        compartments=2,
    ),
)
"""NxTF's: pools are layers of neurons, as there. Under a stride of 2 the rim that pads is at the other side there."""

LOIHI2 = (
    Network(
        "pilotnet-sdnn",
        "PilotNet, 200x66x3",
        (3, 200, 66),
        (
            Part(24, (3, 3), (2, 2), (0, 0)),
            Part(36, (3, 3), (2, 2), (0, 0)),
            Part(48, (3, 3), (2, 2), (0, 0)),
            Part(64, (3, 3), (1, 2), (0, 1)),
            Part(64, (3, 3), (1, 1), (0, 0)),
            Part(100),
            Part(50),
            Part(10),
            Part(1),
        ),
        theirs=61,
        by_layer=(25, 13, 3, 3, 2, 12, 1, 1, 1),
        source="Lava: compiler's log in tutorial pilotnet_sdnn",
    ),
    Network(
        "yolo-kp",
        "YOLO-KP, 448x448x3",
        (3, 448, 448),
        (
            _conv(16, stride=2),
            _conv(32, stride=2),
            _conv(64, stride=2),
            _conv(128, stride=2),
            _conv(256),
            _conv(256, stride=2),
            _conv(512),
            _conv(256, 1),
            _conv(512),
            _conv(48, 1),
        ),
        theirs=574,
        by_layer=(224, 112, 56, 28, 56, 16, 32, 14, 32, 4),
        source="Lava: compiler's log in tutorial yolo_kp",
    ),
)

SMALL = (
    Network("dense", "64-48-10", (64,), (Part(48), Part(10))),
    Network("dense-wide", "1024-1024-512", (1024,), (Part(1024), Part(512))),
    Network("recurrent", "128-512 (recurrent)-10", (128,), (Part(512, recurrent=True), Part(10))),
    Network("conv-digits", "8x8x1: 8@8, 16@4 (stride 2), 10", (1, 8, 8), (_conv(8), _conv(16, stride=2), Part(10))),
    Network(
        "conv-mnist",
        "28x28x1: 8@26, 16@12 (stride 2), 10",
        (1, 28, 28),
        (_conv(8, padding=0), _conv(16, stride=2, padding=0), Part(10)),
    ),
    Network(
        "conv-cifar",
        "32x32x3: 32@30, 64@14 (stride 2), 64@6 (stride 2), 10",
        (3, 32, 32),
        (_conv(32, padding=0), _conv(64, stride=2, padding=0), _conv(64, stride=2, padding=0), Part(10)),
    ),
    Network(
        "conv-wide",
        "16x16x3: 64@14, 96@6 (stride 2), 10",
        (3, 16, 16),
        (_conv(64, padding=0), _conv(96, stride=2, padding=0), Part(10)),
    ),
    Network(
        "conv-deep",
        "8x8x64: 128@8, 128@4 (stride 2), 10",
        (64, 8, 8),
        (_conv(128), _conv(128, stride=2), Part(10)),
    ),
    Network(
        "conv1d",
        "128x2, one axis: 16@63 (4 taps, stride 2), 32@30 (4 taps, stride 2), 10",
        (2, 128),
        (Part(16, (4,), (2,), (0,)), Part(32, (4,), (2,), (0,)), Part(10)),
    ),
    Network(
        "depthwise",
        "12x12x16: 3x3 in each channel, 1x1 to 24, 10",
        (16, 12, 12),
        (_depthwise(16), _conv(24, 1), Part(10)),
    ),
    Network("wide-readout", "16x16x16: 1x1 to 32, 10", (16, 16, 16), (_conv(32, 1), Part(10))),
)
"""Whose inputs are spikes that arrive from outside."""


def neurons(network: Network) -> int:
    """How many neurons it has on the chip."""
    return sum(map(prod, shapes(network))) + network.input_neurons * prod(network.given)
