"""neurocompile: trained spiking neural networks, compiled for neuromorphic chips and checked against PyTorch.

The public names are resolved when they are first used, so that ``import neurocompile`` loads neither torch nor NumPy.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurocompile.api import check, compile, demo, explore, export, inspect, load, simulate, targets, validate, zoo
    from neurocompile.frontends.pytorch import equation, host, membrane, neuron, save
    from neurocompile.program import Program
    from neurocompile.reports.targets import TargetsReport

__version__ = "0.1.0"

_HOMES = {
    "Program": "neurocompile.program",
    "check": "neurocompile.api",
    "compile": "neurocompile.api",
    "demo": "neurocompile.api",
    "equation": "neurocompile.frontends.pytorch",
    "explore": "neurocompile.api",
    "export": "neurocompile.api",
    "host": "neurocompile.frontends.pytorch",
    "inspect": "neurocompile.api",
    "load": "neurocompile.api",
    "report": "neurocompile.api",
    "membrane": "neurocompile.frontends.pytorch",
    "neuron": "neurocompile.frontends.pytorch",
    "save": "neurocompile.frontends.pytorch",
    "simulate": "neurocompile.api",
    "validate": "neurocompile.api",
    "zoo": "neurocompile.api",
}

__all__ = [
    "Program",
    "__version__",
    "check",
    "compile",
    "demo",
    "equation",
    "explore",
    "export",
    "host",
    "inspect",
    "load",
    "membrane",
    "neuron",
    "report",
    "save",
    "simulate",
    "targets",
    "validate",
    "zoo",
]


class _TargetsPackage(ModuleType):
    """``neurocompile.targets``, which is a package and, called, the verb of the same name.

    Python binds a package to its name in its parent once anything imports it: no function of ours would stay there.
    """

    def __call__(self, name: str | None = None, **options: Any) -> TargetsReport:
        """:func:`neurocompile.api.targets`."""
        from neurocompile.api import targets

        return targets(name, **options)


class _Package(ModuleType):
    """This package, which makes ``targets`` callable as soon as Python binds it here."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "targets" and isinstance(value, ModuleType):
            value.__class__ = _TargetsPackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "targets":
        return import_module("neurocompile.targets")
    if name not in _HOMES:
        raise AttributeError(f"module 'neurocompile' has no attribute {name!r}")
    from neurocompile.extras import needing

    with needing(f"neurocompile.{name}"):
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
