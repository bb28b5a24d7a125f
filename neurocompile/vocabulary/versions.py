"""What differs between versions of SpikingJelly: 0.0.0.0.14, which most people have, lacks some of 2.x's classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib.metadata import version
from types import ModuleType
from typing import Any

from spikingjelly.activation_based import layer, neuron, surrogate
from torch import nn

from neurocompile.errors import Problem, ToolFailed

__all__ = ["classes", "modernized", "named", "of_spikingjelly"]

_HOMES = (layer, neuron, surrogate)


def classes(home: ModuleType, *names: str) -> tuple[type[nn.Module], ...]:
    """Those of the classes that the installed version has."""
    return tuple(getattr(home, name) for name in names if hasattr(home, name))


def named(home: ModuleType, name: str) -> Any:
    """A class that only 2.x has.

    Raises:
        ToolFailed: where an older version is installed.
    """
    if not hasattr(home, name):
        what = f"this network has SpikingJelly's {name}, which the installed version lacks"
        raise ToolFailed(
            Problem(what, "spikingjelly", version("spikingjelly"), ">= 2.0", "pip install 'spikingjelly>=2'")
        )
    return getattr(home, name)


def of_spikingjelly() -> Iterator[tuple[type[nn.Module], str]]:
    """SpikingJelly's layers, neurons and surrogate functions, each with the name that 0.0.0.0.14 pickles it by.

    There each of the three is one module; 2.x splits them, and a class pickles by the module that it is written in.
    """
    for home in _HOMES:
        for name, kind in vars(home).items():
            if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__.startswith("spikingjelly."):
                yield kind, f"{home.__name__}.{name}"


def modernized(loaded: Any) -> Any:
    """What a file of 0.0.0.0.14 held, with the attributes that 2.x gives its modules when it makes them.

    Args:
        loaded: a module, or what holds some.
    """
    for module in _modules(loaded):
        own = vars(module)
        if isinstance(module, neuron.BaseNode):
            own.setdefault("_neuron_precision", None)  # it computes in the precision of its input
            own.setdefault("v_seq", None)
        if isinstance(module, surrogate.SurrogateFunctionBase) and "_sg_param_names" not in own:
            taken = inspect.signature(type(module)).parameters
            own["_sg_param_names"] = tuple(name for name in taken if name != "spiking" and hasattr(module, name))
    return loaded


def _modules(held: Any) -> Iterator[nn.Module]:
    if isinstance(held, nn.Module):
        yield from held.modules()
    elif isinstance(held, dict | list | tuple):
        for each in held.values() if isinstance(held, dict) else held:
            yield from _modules(each)
