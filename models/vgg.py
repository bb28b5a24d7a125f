"""VGG-16 of the MPBN paper (Guo et al., ICCV 2023; the network of Simonyan and Zisserman, ICLR 2015).

The file that holds the authors' VGG (models/vggcifar.py) is not in yfguo91/MPBN. Their models/spike_model.py carries
convolutions, linear layers and average pooling over time, not max-pooling: so the pools are averages. The convolutions
are configuration D of Simonyan and Zisserman; the single linear layer behind them is our size.
"""

from collections.abc import Sequence
from typing import Literal

from spikingjelly.activation_based import layer
from torch import Tensor, nn

from neurocompile.models.configuration import Configuration
from neurocompile.models.mpbn import LayerNeuron, channel_wise, element_wise

__all__ = ["CONFIGURATIONS", "VGG", "VGG16"]

Shape = tuple[int, int, int]


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each with batch norm and neurons, and a pool behind each stage; a linear layer.

    The linear layer never fires and is read by its mean (Eq. 3 of the MPBN paper).

    Args:
        stages: the channels and the number of convolutions of each.
        image: the shape [C, H, W] of the input.
        classes: how many scores.
        neuron: makes the neurons of a layer of a given shape.
        pool: "avg", or "max" of spikes.
    """

    def __init__(
        self,
        stages: Sequence[tuple[int, int]],
        image: Shape = (3, 32, 32),
        classes: int = 10,
        neuron: LayerNeuron = channel_wise,
        pool: Literal["avg", "max"] = "avg",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, height, width = image
        for channels, count in stages:
            for _ in range(count):
                layers += [
                    layer.Conv2d(inputs, channels, 3, padding=1, bias=False, step_mode="m"),
                    layer.BatchNorm2d(channels, step_mode="m"),
                    neuron((channels, height, width)),
                ]
                inputs = channels
            layers.append({"avg": layer.AvgPool2d, "max": layer.MaxPool2d}[pool](2, 2, step_mode="m"))
            height, width = height // 2, width // 2
        self.features = nn.Sequential(*layers)
        self.flatten = layer.Flatten(step_mode="m")
        self.fc = layer.Linear(inputs * height * width, classes, step_mode="m")

    def forward(self, x_seq: Tensor) -> Tensor:
        """Images [T, N, C, H, W] -> scores [N, classes]."""
        scores: Tensor = self.fc(self.flatten(self.features(x_seq))).mean(0)
        return scores


class VGG16(VGG):
    """Thirteen convolutions in five stages of 64, 128, 256, 512 and 512 channels."""

    def __init__(
        self,
        image: Shape = (3, 32, 32),
        classes: int = 10,
        neuron: LayerNeuron = channel_wise,
        pool: Literal["avg", "max"] = "avg",
    ) -> None:
        super().__init__(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), image, classes, neuron, pool)


_CIFAR, _DIGITS = (3, 32, 32), (1, 8, 8)
_PUBLISHED = "Simonyan and Zisserman, ICLR 2015, configuration D; head: our size"

# Time steps: Guo et al., Table 2.
CONFIGURATIONS: dict[str, Configuration] = {
    "mpbn-vgg16": Configuration(VGG16, _CIFAR, 4, _PUBLISHED),
    "mpbn-vgg16-element-wise": Configuration(lambda: VGG16(neuron=element_wise), _CIFAR, 4, _PUBLISHED),
    "mpbn-vgg-digits": Configuration(lambda: VGG(((16, 2), (32, 2)), _DIGITS), _DIGITS, 4, "our size"),
}
