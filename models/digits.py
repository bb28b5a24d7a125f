"""Small spiking convolutional networks for scikit-learn's handwritten digits (8x8 pixels, 10 classes)."""

from collections.abc import Iterator
from importlib import resources
from typing import Any

from spikingjelly.activation_based import layer
from spikingjelly.activation_based import neuron as sj
from torch import Tensor, nn

from neurocompile.models.handwriting import load_digits_split
from neurocompile.models.mpbn import NeuronFactory, conv_bn_mpbn, linear_bn_mpbn
from neurocompile.verbs.networks import Demo
from neurocompile.vocabulary.mpbn import MPBNLIF
from neurocompile.vocabulary.versions import classes, named

__all__ = [
    "DEMO",
    "INITIAL_BETA",
    "TIMESTEPS",
    "DigitsNet",
    "load_digits_split",
    "paper_network",
    "spikingjelly_network",
    "to_sequence",
]

TIMESTEPS = 4
INITIAL_BETA = -0.8  # of MPBN: normalized membranes start 1.3 standard deviations below V_th = 0.5, so few fire


class DigitsNet(nn.Module):
    """Three convolutions and two linear layers, each but the last followed by batch norm and MPBN neurons.

    The first layer turns pixels into spikes; the last one never fires, its output is averaged over time (Eq. 3 of
    the MPBN paper). `neuron` makes the neurons, called with out_channels=C or out_features=C.
    """

    def __init__(self, neuron: NeuronFactory = MPBNLIF) -> None:
        super().__init__()
        self.conv1, self.bn1, self.neuron1 = conv_bn_mpbn(1, 16, neuron=neuron)
        self.conv2, self.bn2, self.neuron2 = conv_bn_mpbn(16, 32, neuron=neuron)
        self.pool2 = layer.AvgPool2d(2, step_mode="m")
        self.conv3, self.bn3, self.neuron3 = conv_bn_mpbn(32, 32, neuron=neuron)
        self.pool3 = layer.AvgPool2d(2, step_mode="m")
        self.flatten = layer.Flatten(step_mode="m")
        self.fc4, self.bn4, self.neuron4 = linear_bn_mpbn(32 * 2 * 2, 64, neuron=neuron)
        self.fc5 = layer.Linear(64, 10, step_mode="m")
        for normalization in self.mpbns():
            nn.init.constant_(normalization.bias, INITIAL_BETA)

    def mpbns(self) -> Iterator[nn.BatchNorm1d | nn.BatchNorm2d]:
        """The batch norms inside the neurons, from input to output."""
        kinds: tuple[type[Any], ...] = (MPBNLIF, *classes(sj, "MPBNLIFNode"))
        return (node.vbn for node in self.children() if isinstance(node, kinds))

    def forward(self, x_seq: Tensor) -> Tensor:
        """Images [T, N, 1, 8, 8] -> scores [N, 10]."""
        x_seq = self.neuron1(self.bn1(self.conv1(x_seq)))
        x_seq = self.pool2(self.neuron2(self.bn2(self.conv2(x_seq))))
        x_seq = self.pool3(self.neuron3(self.bn3(self.conv3(x_seq))))
        x_seq = self.neuron4(self.bn4(self.fc4(self.flatten(x_seq))))
        scores: Tensor = self.fc5(x_seq).mean(0)
        return scores


def paper_network() -> DigitsNet:
    """The network with the paper's neurons; every fourth MPBN gamma starts at -1, where the comparison flips."""
    network = DigitsNet()
    for normalization in network.mpbns():
        nn.init.constant_(normalization.weight[::4], -1.0)
    return network


def spikingjelly_network() -> DigitsNet:
    """The network with SpikingJelly's MPBN neurons: decay 1 - 1/tau = 0.25, reset of the normalized membrane to 0.

    They keep their membrane between calls; `spikingjelly.activation_based.functional.reset_net` clears it.
    """

    def neuron(**size: int) -> nn.Module:
        kind = named(sj, "MPBNLIFNode")
        node: nn.Module = kind(tau=4 / 3, v_threshold=0.5, v_reset=0.0, step_mode="m", **size)
        return node

    return DigitsNet(neuron)


def to_sequence(images: Tensor, timesteps: int = TIMESTEPS) -> Tensor:
    """The same images at every time step: [N, ...] -> [T, N, ...]."""
    return images.expand(timesteps, *images.shape)


DEMO = Demo(
    model=lambda: resources.as_file(resources.files("neurocompile.models") / "checkpoints" / "digits.pt"),
    data=lambda: load_digits_split()[2:],
)
"""What ``neurocompile demo`` shows: the bundled MPBN network, and the digits that it was not trained on."""
