"""MPBN ResNet-20 for images of 32 x 32 pixels (Guo et al., ICCV 2023; the residual network of He et al., CVPR 2016)."""

from spikingjelly.activation_based import layer
from torch import Tensor, nn

from neurocompile.models.mpbn import MPBNLIF, NeuronFactory

__all__ = ["ResNet20", "ResidualBlock"]


class ResidualBlock(nn.Module):
    """Two convolutions, and a skip that is added to the current of the second."""

    def __init__(self, inputs: int, outputs: int, stride: int, neuron: NeuronFactory) -> None:
        super().__init__()
        self.conv1 = layer.Conv2d(inputs, outputs, 3, stride, 1, bias=False, step_mode="m")
        self.bn1 = layer.BatchNorm2d(outputs, step_mode="m")
        self.neuron1 = neuron(out_channels=outputs)
        self.conv2 = layer.Conv2d(outputs, outputs, 3, 1, 1, bias=False, step_mode="m")
        self.bn2 = layer.BatchNorm2d(outputs, step_mode="m")
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(
                layer.Conv2d(inputs, outputs, 1, stride, bias=False, step_mode="m"),
                layer.BatchNorm2d(outputs, step_mode="m"),
            )
        self.neuron2 = neuron(out_channels=outputs)

    def forward(self, x_seq: Tensor) -> Tensor:
        """Spikes [T, N, inputs, H, W] -> spikes [T, N, outputs, H / stride, W / stride]."""
        y = self.neuron1(self.bn1(self.conv1(x_seq)))
        fired: Tensor = self.neuron2(self.bn2(self.conv2(y)) + self.skip(x_seq))
        return fired


class ResNet20(nn.Module):
    """Nineteen convolutions in three stages of three blocks, average pooling, one linear layer, read by its mean.

    ``widths`` are the channels of the stages: (16, 32, 64), or (128, 256, 512) as in the MPBN authors' code.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (16, 32, 64),
        classes: int = 10,
        channels: int = 3,
        neuron: NeuronFactory = MPBNLIF,
    ) -> None:
        super().__init__()
        self.conv = layer.Conv2d(channels, widths[0], 3, 1, 1, bias=False, step_mode="m")
        self.bn = layer.BatchNorm2d(widths[0], step_mode="m")
        self.neuron = neuron(out_channels=widths[0])
        blocks, inputs = [], widths[0]
        for stage, width in enumerate(widths):
            for number in range(3):
                blocks.append(ResidualBlock(inputs, width, 2 if stage and not number else 1, neuron))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = layer.AdaptiveAvgPool2d(1, step_mode="m")
        self.flatten = layer.Flatten(step_mode="m")
        self.fc = layer.Linear(inputs, classes, step_mode="m")

    def forward(self, x_seq: Tensor) -> Tensor:
        """Images [T, N, channels, 32, 32] -> scores [N, classes]."""
        x_seq = self.blocks(self.neuron(self.bn(self.conv(x_seq))))
        scores: Tensor = self.fc(self.flatten(self.pool(x_seq))).mean(0)
        return scores
