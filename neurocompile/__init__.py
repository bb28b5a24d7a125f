"""neurocompile: trained spiking neural networks, compiled for neuromorphic chips and checked against PyTorch.

The public names are resolved when they are first used, so that ``import neurocompile`` loads neither torch nor NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurocompile.api import compile, load, simulate, validate
    from neurocompile.frontends.pytorch import equation, host, membrane, neuron, save
    from neurocompile.program import Program

__version__ = "0.1.0"

__all__ = [
    "Program",
    "__version__",
    "compile",
    "equation",
    "host",
    "load",
    "membrane",
    "neuron",
    "save",
    "simulate",
    "validate",
]

_HOMES = {
    "Program": "neurocompile.program",
    "compile": "neurocompile.api",
    "load": "neurocompile.api",
    "simulate": "neurocompile.api",
    "validate": "neurocompile.api",
    "equation": "neurocompile.frontends.pytorch",
    "host": "neurocompile.frontends.pytorch",
    "membrane": "neurocompile.frontends.pytorch",
    "neuron": "neurocompile.frontends.pytorch",
    "save": "neurocompile.frontends.pytorch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'neurocompile' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
