"""PyTorch and SpikingJelly: live modules and the files they are kept in."""

from neurocompile.frontends.base import Frontend, Layout
from neurocompile.frontends.pytorch.axes import LAYOUTS
from neurocompile.frontends.pytorch.files import from_live, is_module, load, save
from neurocompile.frontends.pytorch.layouts import separate
from neurocompile.frontends.pytorch.model import TorchModel
from neurocompile.frontends.pytorch.neurons import equation, is_registered, membrane, neuron
from neurocompile.frontends.pytorch.onhost import host

__all__ = [
    "LAYOUTS",
    "Layout",
    "TorchModel",
    "equation",
    "frontend",
    "host",
    "is_registered",
    "membrane",
    "neuron",
    "save",
    "separate",
]

# Whatever no other frontend knows is read as a torch file: it says what is wrong with it.
frontend = Frontend(lambda path: True, load, is_module, from_live)
