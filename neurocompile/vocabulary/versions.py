"""What differs between versions of SpikingJelly: 0.0.0.0.14, which most people have, lacks some of 2.x's classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from types import ModuleType
from typing import Any

from spikingjelly.activation_based import layer, neuron, surrogate
from torch import nn

from neurocompile.errors import Problem, ToolFailed

__all__ = ["classes", "modernized", "named", "of_spikingjelly"]

_HOMES = (layer, neuron, surrogate)


def classes(home: ModuleType, *names: str) -> tuple[type[Any], ...]:
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


def of_spikingjelly(names: Iterable[str] = ()) -> dict[str, type[nn.Module]]:
    """SpikingJelly's layers, neurons and surrogate functions, by the names under which a file may have them.

    A class pickles by the module that it is written in. In 0.0.0.0.14 layers, neurons and surrogate functions are one
    module each; 2.x splits them. A class is known by its own name, wherever below these a version has it.

    Args:
        names: those of a file, of any version.
    """
    own = {
        f"{home.__name__}.{name}": kind
        for home in _HOMES
        for name, kind in vars(home).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__.startswith("spikingjelly.")
        # FlexSN compiles what it is given, so it stays outside.
        if "flexsn" not in kind.__module__
    }
    found = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in own.values()} | own
    for name in names:
        kind = own.get(".".join([*name.split(".")[:3], name.rpartition(".")[2]]))
        if kind is not None:
            found[name] = kind
    return found


def modernized(loaded: Any) -> Any:
    """What a file held, with the attributes that the installed version gives a module when it makes one.

    Args:
        loaded: a module, or what holds some.
    """
    fresh = {name: value for name, value in vars(neuron.IFNode()).items() if isinstance(value, str | int | None)}
    for module in _modules(loaded):
        own = vars(module)
        if isinstance(module, neuron.BaseNode):
            own.update({name: value for name, value in fresh.items() if name not in own})
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
