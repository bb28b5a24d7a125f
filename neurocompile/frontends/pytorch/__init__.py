"""PyTorch and SpikingJelly: live modules and the files they are kept in."""

from neurocompile.frontends.pytorch.files import load_model, save
from neurocompile.frontends.pytorch.model import LAYOUTS, Layout, TorchModel
from neurocompile.frontends.pytorch.neurons import equation, membrane, neuron
from neurocompile.frontends.pytorch.onhost import host
from neurocompile.frontends.pytorch.reference import Reference

__all__ = [
    "LAYOUTS",
    "Layout",
    "Reference",
    "TorchModel",
    "equation",
    "host",
    "load_model",
    "membrane",
    "neuron",
    "save",
]
