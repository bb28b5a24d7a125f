"""The residual networks of the MPBN paper (Guo et al., ICCV 2023), for CIFAR, CIFAR10-DVS and ImageNet.

The blocks are those of He et al. (CVPR 2016) with the neuron behind the addition. The paper gives V_th = 0.5, tau =
0.25, the time steps and the names of the networks; the sizes are those of the authors' code: yfguo91/MPBN,
models/resnet.py.
"""

from collections.abc import Sequence
from typing import Literal

from spikingjelly.activation_based import layer
from torch import Tensor, nn

from neurocompile.models.configuration import Configuration
from neurocompile.models.mpbn import LayerNeuron, channel_wise, element_wise

__all__ = [
    "CONFIGURATIONS",
    "CifarResNet",
    "ImageNetResNet",
    "ResNet18",
    "ResNet19",
    "ResNet20",
    "ResNet34",
    "ResidualBlock",
]

Shape = tuple[int, int, int]


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    conv: nn.Module = layer.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, step_mode="m")
    return conv


def _bn(channels: int) -> nn.Module:
    bn: nn.Module = layer.BatchNorm2d(channels, step_mode="m")
    return bn


def _halved(size: int) -> int:
    """What a window of odd size n with padding n // 2 and stride 2 makes of a side."""
    return (size + 1) // 2


class ResidualBlock(nn.Module):
    """Two convolutions, and a skip that is added to the current of the second; ``shape`` [C, H, W] is its output's."""

    def __init__(self, inputs: int, shape: Shape, stride: int, neuron: LayerNeuron) -> None:
        super().__init__()
        outputs = shape[0]
        self.conv1 = _conv(inputs, outputs, stride=stride)
        self.bn1 = _bn(outputs)
        self.neuron1 = neuron(shape)
        self.conv2 = _conv(outputs, outputs)
        self.bn2 = _bn(outputs)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(_conv(inputs, outputs, 1, stride), _bn(outputs))
        self.neuron2 = neuron(shape)

    def forward(self, x_seq: Tensor) -> Tensor:
        """Spikes [T, N, inputs, H * stride, W * stride] -> spikes [T, N, C, H, W]."""
        y = self.neuron1(self.bn1(self.conv1(x_seq)))
        fired: Tensor = self.neuron2(self.bn2(self.conv2(y)) + self.skip(x_seq))
        return fired


def _stages(blocks: Sequence[int], widths: Sequence[int], shape: Shape, neuron: LayerNeuron) -> nn.Sequential:
    """Stages of residual blocks on an input of ``shape``; each stage but the first halves the sides."""
    found: list[nn.Module] = []
    inputs, height, width = shape
    for stage, (channels, count) in enumerate(zip(widths, blocks, strict=True)):
        if stage:
            height, width = _halved(height), _halved(width)
        for number in range(count):
            stride = 2 if stage and not number else 1
            found.append(ResidualBlock(inputs, (channels, height, width), stride, neuron))
            inputs = channels
    return nn.Sequential(*found)


class CifarResNet(nn.Module):
    """A 3x3 convolution, stages of residual blocks, average pooling, one linear layer, read by its mean (Eq. 3).

    Args:
        blocks: of each stage.
        widths: the channels of each stage.
        image: the shape [C, H, W] of the input.
        classes: how many scores.
        neuron: makes the neurons of a layer of a given shape.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int],
        image: Shape = (3, 32, 32),
        classes: int = 10,
        neuron: LayerNeuron = channel_wise,
    ) -> None:
        super().__init__()
        channels, *sides = image
        shape = (widths[0], sides[0], sides[1])
        self.conv = _conv(channels, widths[0])
        self.bn = _bn(widths[0])
        self.neuron = neuron(shape)
        self.blocks = _stages(blocks, widths, shape, neuron)
        self.pool = layer.AdaptiveAvgPool2d(1, step_mode="m")
        self.flatten = layer.Flatten(step_mode="m")
        self.fc = layer.Linear(widths[-1], classes, step_mode="m")

    def forward(self, x_seq: Tensor) -> Tensor:
        """Images [T, N, C, H, W] -> scores [N, classes]."""
        x_seq = self.blocks(self.neuron(self.bn(self.conv(x_seq))))
        scores: Tensor = self.fc(self.flatten(self.pool(x_seq))).mean(0)
        return scores


class ResNet20(CifarResNet):
    """Three stages of three blocks: 19 convolutions and a linear layer.

    ``widths`` are the channels of the stages: (16, 32, 64) as in He et al., or (128, 256, 512) as in the authors' code.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (16, 32, 64),
        image: Shape = (3, 32, 32),
        classes: int = 10,
        neuron: LayerNeuron = channel_wise,
    ) -> None:
        super().__init__((3, 3, 3), widths, image, classes, neuron)


class ResNet19(CifarResNet):
    """Stages of three, three and two blocks: 17 convolutions and, as in the authors' code, one linear layer."""

    def __init__(
        self,
        widths: tuple[int, int, int] = (128, 256, 512),
        image: Shape = (3, 32, 32),
        classes: int = 10,
        neuron: LayerNeuron = channel_wise,
    ) -> None:
        super().__init__((3, 3, 2), widths, image, classes, neuron)


class ImageNetResNet(nn.Module):
    """A stem of 7x7 and 3x3 pooling, four stages of residual blocks, average pooling, one linear layer, its mean.

    Args:
        blocks: of each stage.
        widths: the channels of each stage.
        image: the shape [C, H, W] of the input.
        classes: how many scores.
        neuron: makes the neurons of a layer of a given shape.
        pool: of the stem: "avg" as in the authors' code, or "max" as in He et al.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        image: Shape = (3, 224, 224),
        classes: int = 1000,
        neuron: LayerNeuron = channel_wise,
        pool: Literal["avg", "max"] = "avg",
    ) -> None:
        super().__init__()
        channels, *sides = image
        height, width = map(_halved, sides)
        self.conv = _conv(channels, widths[0], 7, 2)
        self.bn = _bn(widths[0])
        self.neuron = neuron((widths[0], height, width))
        self.stem_pool = {"avg": layer.AvgPool2d, "max": layer.MaxPool2d}[pool](3, 2, 1, step_mode="m")
        self.blocks = _stages(blocks, widths, (widths[0], _halved(height), _halved(width)), neuron)
        self.pool = layer.AdaptiveAvgPool2d(1, step_mode="m")
        self.flatten = layer.Flatten(step_mode="m")
        self.fc = layer.Linear(widths[-1], classes, step_mode="m")

    def forward(self, x_seq: Tensor) -> Tensor:
        """Images [T, N, C, H, W] -> scores [N, classes]."""
        spikes = self.blocks(self.stem_pool(self.neuron(self.bn(self.conv(x_seq)))))
        scores: Tensor = self.fc(self.flatten(self.pool(spikes))).mean(0)
        return scores


class ResNet18(ImageNetResNet):
    """Four stages of two blocks."""

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (64, 128, 256, 512),
        image: Shape = (3, 224, 224),
        classes: int = 1000,
        neuron: LayerNeuron = channel_wise,
        pool: Literal["avg", "max"] = "avg",
    ) -> None:
        super().__init__((2, 2, 2, 2), widths, image, classes, neuron, pool)


class ResNet34(ImageNetResNet):
    """Stages of three, four, six and three blocks."""

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (64, 128, 256, 512),
        image: Shape = (3, 224, 224),
        classes: int = 1000,
        neuron: LayerNeuron = channel_wise,
        pool: Literal["avg", "max"] = "avg",
    ) -> None:
        super().__init__((3, 4, 6, 3), widths, image, classes, neuron, pool)


_CODE = "yfguo91/MPBN, models/resnet.py"
_WIDE, _NARROW = (128, 256, 512), (16, 32, 32)
_CIFAR, _DVS, _IMAGENET, _DIGITS = (3, 32, 32), (2, 48, 48), (3, 224, 224), (1, 8, 8)

# Time steps: Guo et al., Tables 2 (CIFAR-10), 4 (ImageNet) and 5 (CIFAR10-DVS); element-wise: Table 6.
CONFIGURATIONS: dict[str, Configuration] = {
    "mpbn-resnet20": Configuration(ResNet20, _CIFAR, 4, "He et al., CVPR 2016, section 4.2"),
    "mpbn-resnet20-wide": Configuration(lambda: ResNet20(_WIDE), _CIFAR, 4, _CODE),
    "mpbn-resnet20-element-wise": Configuration(
        lambda: ResNet20(_WIDE, neuron=element_wise), _CIFAR, 4, f"{_CODE}; norms: Eq. 13"
    ),
    "mpbn-resnet20-dvs": Configuration(lambda: ResNet20(_WIDE, _DVS), _DVS, 10, f"{_CODE}; frames: section 5.1"),
    "mpbn-resnet19": Configuration(ResNet19, _CIFAR, 2, _CODE),
    "mpbn-resnet19-dvs": Configuration(lambda: ResNet19(image=_DVS), _DVS, 10, f"{_CODE}; frames: section 5.1"),
    "mpbn-resnet18": Configuration(ResNet18, _IMAGENET, 4, _CODE),
    "mpbn-resnet34": Configuration(ResNet34, _IMAGENET, 4, _CODE),
    "mpbn-resnet20-digits": Configuration(lambda: ResNet20(_NARROW, _DIGITS), _DIGITS, 4, "our size"),
    "mpbn-resnet20-digits-element-wise": Configuration(
        lambda: ResNet20(_NARROW, _DIGITS, neuron=element_wise), _DIGITS, 4, "our size"
    ),
    "mpbn-resnet19-digits": Configuration(lambda: ResNet19((8, 16, 32), _DIGITS), _DIGITS, 4, "our size"),
    "mpbn-resnet18-digits": Configuration(lambda: ResNet18((8, 8, 16, 16), _DIGITS, 10), _DIGITS, 4, "our size"),
    "mpbn-resnet34-digits": Configuration(lambda: ResNet34((8, 8, 16, 16), _DIGITS, 10), _DIGITS, 4, "our size"),
}
