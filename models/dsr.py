"""The networks of DSR (Meng et al., CVPR 2022): PreAct-ResNet-18 for images, VGG-11 for frames of events.

V is the membrane, I the input current, s the spikes. The neurons are SpikingJelly's DSRIFNode and DSRLIFNode: one
trained threshold V_th a layer, firing where V >= alpha * V_th (Eq. 20), less V_th after a spike (Eq. 3c). What a layer
sends on is V_th * s for IF (Eq. 7) and V_th * s / dt for LIF (Eq. 8). The last layer fires, too, behind a batch norm.
Sizes and settings are those of the authors' code: qymeng94/DSR, cifar/modules/preresnet.py and vgg.py,
cifar/main_single_gpu.py and README.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spikingjelly.activation_based import layer
from spikingjelly.activation_based import neuron as sj
from torch import Tensor, nn

from neurocompile.models.configuration import Configuration
from neurocompile.vocabulary.readout import WeightedRate
from neurocompile.vocabulary.versions import named

__all__ = ["CONFIGURATIONS", "IF", "LIF", "VGG11", "MeanRate", "PreActBlock", "PreActResNet18", "WeightedRate"]

Shape = tuple[int, int, int]


class MeanRate(nn.Module):
    """The spike representation of IF neurons (section 3.4): r(s) = 1/N sum_n V_th s[n]."""

    def forward(self, x_seq: Tensor) -> Tensor:
        """What neurons sent, [T, N, ...] -> its mean over time [N, ...]."""
        rate: Tensor = x_seq.mean(0)
        return rate


@dataclass(frozen=True)
class IF:
    """Integrate-and-fire neurons, V[n] = V[n-1] + I[n] (Eq. 4), with the settings of the authors' README."""

    timesteps: int = 20
    v_threshold: float = 6.0
    alpha: float = 0.5
    lower_bound: float = 0.01

    def neuron(self) -> nn.Module:
        """The neurons of one layer, [T, N, ...] -> [T, N, ...]."""
        kind = named(sj, "DSRIFNode")
        node: nn.Module = kind(self.timesteps, self.v_threshold, self.alpha, True, 1.0, self.lower_bound)
        return node

    def readout(self) -> nn.Module:
        """What is read from the last layer."""
        return MeanRate()


@dataclass(frozen=True)
class LIF:
    """Leaky neurons, V[n] = lambda V[n-1] + (1 - lambda) I[n] with lambda = exp(-dt / tau) (Eq. 5).

    The settings are the defaults of the authors' main_single_gpu.py.
    """

    timesteps: int = 20
    v_threshold: float = 0.3
    tau: float = 1.0
    delta_t: float = 0.05
    alpha: float = 0.3
    lower_bound: float = 0.0005

    def neuron(self) -> nn.Module:
        """The neurons of one layer, [T, N, ...] -> [T, N, ...]."""
        node: nn.Module = named(sj, "DSRLIFNode")(
            self.timesteps, self.v_threshold, self.tau, self.delta_t, self.alpha, True, 1.0, self.lower_bound
        )
        return node

    def readout(self) -> nn.Module:
        """What is read from the last layer."""
        return WeightedRate(math.exp(-self.delta_t / self.tau))


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Module:
    conv: nn.Module = layer.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias, step_mode="m")
    return conv


def _bn(channels: int) -> nn.Module:
    bn: nn.Module = layer.BatchNorm2d(channels, step_mode="m")
    return bn


class PreActBlock(nn.Module):
    """Norm and neuron before each of two convolutions (He et al., ECCV 2016).

    The skip starts behind the first neuron and is added to the current of the second convolution; it is a convolution
    of 1x1 where the shape changes. ``neuron`` makes the neurons of one layer.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, neuron: Callable[[], nn.Module], bias: bool = True
    ) -> None:
        super().__init__()
        self.bn1 = _bn(inputs)
        self.neuron1 = neuron()
        self.conv1 = _conv(inputs, outputs, stride=stride, bias=bias)
        self.bn2 = _bn(outputs)
        self.neuron2 = neuron()
        self.conv2 = _conv(outputs, outputs, bias=bias)
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else _conv(inputs, outputs, 1, stride, bias)

    def forward(self, x_seq: Tensor) -> Tensor:
        """Currents [T, N, inputs, H, W] -> currents [T, N, outputs, H / stride, W / stride]."""
        spikes = self.neuron1(self.bn1(x_seq))
        y = self.conv2(self.neuron2(self.bn2(self.conv1(spikes))))
        added: Tensor = y + self.skip(spikes)
        return added


class PreActResNet18(nn.Module):
    """Stages of two pre-activation blocks, then norm, neurons, average pooling, neurons, a linear layer, norm, neurons.

    Args:
        model: the neurons, and how the last layer is read.
        widths: the channels of the stages; each but the first halves the sides.
        channels: of the image.
        classes: how many scores.
    """

    def __init__(
        self,
        model: IF | LIF = LIF(),
        widths: Sequence[int] = (64, 128, 256, 512),
        channels: int = 3,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.conv = _conv(channels, widths[0], bias=False)
        blocks: list[nn.Module] = []
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for number in range(2):
                blocks.append(PreActBlock(inputs, width, 2 if stage and not number else 1, model.neuron))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.bn = _bn(inputs)
        self.neuron = model.neuron()
        self.pool = layer.AdaptiveAvgPool2d(1, step_mode="m")
        self.pooled_neuron = model.neuron()
        self.flatten = layer.Flatten(step_mode="m")
        self.fc = layer.Linear(inputs, classes, step_mode="m")
        self.fc_bn = layer.BatchNorm1d(classes, step_mode="m")
        self.last_neuron = model.neuron()
        self.readout = model.readout()

    def forward(self, x_seq: Tensor) -> Tensor:
        """Images [T, N, channels, H, W] -> scores [N, classes]."""
        spikes = self.pooled_neuron(self.pool(self.neuron(self.bn(self.blocks(self.conv(x_seq))))))
        scores: Tensor = self.readout(self.last_neuron(self.fc_bn(self.fc(self.flatten(spikes)))))
        return scores


class VGG11(nn.Module):
    """Stages of 3x3 convolutions with norm, neurons and dropout, an average pool behind each; a linear layer last.

    A pool to ``head`` stands before the linear layer (where it is larger than what comes in, it repeats it: the
    authors' 7x7 from 1x1), a norm and neurons behind it.

    Args:
        model: the neurons, and how the last layer is read.
        stages: the channels of the convolutions of each.
        channels: of a frame; two for events of either polarity.
        head: the sides (h, w) of what the linear layer reads.
        classes: how many scores.
        dropout: behind each layer of neurons, in training.
    """

    def __init__(
        self,
        model: IF | LIF = LIF(),
        stages: Sequence[Sequence[int]] = ((64,), (128,), (256, 256), (512, 512), (512, 512)),
        channels: int = 2,
        head: tuple[int, int] = (7, 7),
        classes: int = 10,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for stage in stages:
            for outputs in stage:
                layers += [_conv(inputs, outputs), _bn(outputs), model.neuron(), nn.Dropout(dropout)]
                inputs = outputs
            layers.append(layer.AvgPool2d(2, 2, step_mode="m"))
        self.features = nn.Sequential(*layers)
        self.pool = layer.AdaptiveAvgPool2d(head, step_mode="m")
        self.flatten = layer.Flatten(step_mode="m")
        self.fc = layer.Linear(inputs * head[0] * head[1], classes, step_mode="m")
        self.fc_bn = layer.BatchNorm1d(classes, step_mode="m")
        self.last_neuron = model.neuron()
        self.readout = model.readout()

    def forward(self, x_seq: Tensor) -> Tensor:
        """Frames [T, N, channels, H, W] -> scores [N, classes]."""
        features = self.flatten(self.pool(self.features(x_seq)))
        scores: Tensor = self.readout(self.last_neuron(self.fc_bn(self.fc(features))))
        return scores


_CIFAR, _DVS, _DIGITS, _EVENTS = (3, 32, 32), (2, 48, 48), (1, 8, 8), (2, 16, 16)
_RESNET, _VGG = "qymeng94/DSR, cifar/modules/preresnet.py", "qymeng94/DSR, cifar/modules/vgg.py"
# With 8 steps, the settings that the authors give for few steps (README.md, "Low Latency Setting").
_FEW_IF, _FEW_LIF = IF(8), LIF(8, v_threshold=0.6, delta_t=0.1, alpha=0.5, lower_bound=0.001)

CONFIGURATIONS: dict[str, Configuration] = {
    "dsr-preact-resnet18-if": Configuration(lambda: PreActResNet18(IF()), _CIFAR, 20, _RESNET),
    "dsr-preact-resnet18-lif": Configuration(lambda: PreActResNet18(LIF()), _CIFAR, 20, _RESNET),
    "dsr-vgg11-if": Configuration(lambda: VGG11(IF()), _DVS, 20, _VGG),
    "dsr-vgg11-lif": Configuration(lambda: VGG11(LIF()), _DVS, 20, _VGG),
    "dsr-preact-digits-if": Configuration(lambda: PreActResNet18(_FEW_IF, (16, 32), 1), _DIGITS, 8, "our size"),
    "dsr-preact-digits-lif": Configuration(lambda: PreActResNet18(_FEW_LIF, (16, 32), 1), _DIGITS, 8, "our size"),
    "dsr-vgg-digits-if": Configuration(lambda: VGG11(_FEW_IF, ((16,), (32, 32)), 1, (2, 2)), _DIGITS, 8, "our size"),
    "dsr-vgg-digits-lif": Configuration(lambda: VGG11(_FEW_LIF, ((16,), (32, 32)), 1, (2, 2)), _DIGITS, 8, "our size"),
    "dsr-vgg11-digits-events-if": Configuration(
        lambda: VGG11(IF(8, v_threshold=2.0), ((32,), (32,), (32, 32), (64, 64)), 2, (1, 1)), _EVENTS, 8, "our size"
    ),
}
