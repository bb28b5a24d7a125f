"""The layers of the MPBN paper (Guo et al., ICCV 2023); equation numbers are the paper's."""

from collections.abc import Callable

from spikingjelly.activation_based import layer
from torch import nn

from neurocompile.vocabulary.mpbn import MPBNLIF, StrictRectangle

__all__ = [
    "MPBNLIF",
    "LayerNeuron",
    "NeuronFactory",
    "StrictRectangle",
    "channel_wise",
    "conv_bn_mpbn",
    "element_wise",
    "linear_bn_mpbn",
]

# Called with the shape of a layer, [C] or [C, H, W].
LayerNeuron = Callable[[tuple[int, ...]], nn.Module]


def channel_wise(shape: tuple[int, ...]) -> MPBNLIF:
    """Neurons for a layer [C] or [C, H, W] that share one norm a channel (Eqs. 7 to 10)."""
    return MPBNLIF(out_features=shape[0]) if len(shape) == 1 else MPBNLIF(out_channels=shape[0])


def element_wise(shape: tuple[int, ...]) -> MPBNLIF:
    """Neurons for a layer [C] or [C, H, W], each with a norm of its own (Eq. 13)."""
    return MPBNLIF(element_wise_shape=tuple(shape))


# Called with out_channels=C or out_features=C, as MPBNLIF and SpikingJelly's MPBNLIFNode are.
NeuronFactory = Callable[..., nn.Module]


def conv_bn_mpbn(
    in_channels: int, out_channels: int, *, stride: int = 1, neuron: NeuronFactory = MPBNLIF
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """3x3 convolution, batch norm, neuron (Eqs. 6 to 8): [T, N, C_in, H, W] -> [T, N, C_out, H/stride, W/stride]."""
    return (
        layer.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False, step_mode="m"),
        layer.BatchNorm2d(out_channels, step_mode="m"),
        neuron(out_channels=out_channels),
    )


def linear_bn_mpbn(
    in_features: int, out_features: int, *, neuron: NeuronFactory = MPBNLIF
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Fully connected layer, batch norm, neuron (Eqs. 6 to 8): [T, N, C_in] -> [T, N, C_out]."""
    return (
        layer.Linear(in_features, out_features, bias=False, step_mode="m"),
        layer.BatchNorm1d(out_features, step_mode="m"),
        neuron(out_features=out_features),
    )
