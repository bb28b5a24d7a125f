"""The state of a live module: kept and put back, cleared, and held in float64 for as long as something looks at it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import nn

__all__ = ["forget", "in_float64"]

_FORGETS = ("reset_mem", "reset_hidden", "reset_state", "reset_states", "n_reset")


@contextmanager
def in_float64(model: nn.Module) -> Iterator[Callable[[], None]]:
    """The module itself, in float64, on the CPU, in fresh state; afterwards it is as it was.

    What it gives restores that state, to be called before each run.
    """
    before = [_Kept(module) for module in model.modules()]
    data = {p: p.data for p in model.parameters()}
    default, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        forget(model)
        for module in model.modules():
            if getattr(module, "v_seq", None) is not None:
                setattr(module, "v_seq", None)  # noqa: B010 (a state, no submodule)
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else _double(buffer)
        for p, tensor in data.items():
            p.data = _double(tensor)
        start = [_Kept(module) for module in model.modules()]
        values = {p: p.data.clone() for p in data}

        def again() -> None:
            for kept in start:
                kept.restore()
            for p, tensor in values.items():
                p.data = tensor.clone()

        yield again
    finally:
        for kept in before:
            kept.restore()
        for p, tensor in data.items():
            p.data = tensor
        torch.set_default_dtype(default)
        torch.set_grad_enabled(grad)


def forget(model: nn.Module) -> None:
    """Let modules clear what they remember, by ``reset()`` or what else they call it."""
    functional.reset_net(model)
    for module in model.modules():
        for name in _FORGETS:
            method = getattr(module, name, None)
            # A method of the class may be one of all its instances: what other models remember is theirs.
            if isinstance(method, types.MethodType) and method.__self__ is module and not _required(method):
                method()


def _required(method: Callable[..., Any]) -> bool:
    """Whether a method cannot be called without arguments."""
    given = inspect.signature(method).parameters.values()
    return any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in given)


def _double(x: torch.Tensor) -> torch.Tensor:
    x = x.detach().cpu()
    return x.double() if x.is_floating_point() else x.clone()


class _Kept:
    """What a module holds: its attributes, the contents of its lists and dictionaries, the numbers of its states."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes = {key: _contents(value) for key, value in module.__dict__.items()}

    def restore(self) -> None:
        """Put everything back, into the same objects."""
        own = self.module.__dict__
        for key in [key for key in own if key not in self.attributes]:
            del own[key]
        for key, contents in self.attributes.items():
            own[key] = _put_back(contents)


def _contents(value: Any) -> tuple[Any, Any]:
    """An object and what is in it."""
    if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
        return value, value.detach().clone()
    if isinstance(value, dict):
        return value, [(key, _contents(item)) for key, item in value.items()]
    if isinstance(value, list):
        return value, [_contents(item) for item in value]
    if isinstance(value, set):
        return value, list(value)
    return value, None


def _put_back(contents: tuple[Any, Any]) -> Any:
    value, inside = contents
    if isinstance(value, torch.Tensor) and inside is not None:
        if value.shape == inside.shape and value.dtype == inside.dtype:
            value.detach().copy_(inside)
            return value
        return inside.clone()
    if isinstance(value, dict):
        items = [(key, _put_back(item)) for key, item in inside]
        value.clear()
        value.update(items)
    elif isinstance(value, list):
        value[:] = [_put_back(item) for item in inside]
    elif isinstance(value, set):
        value.clear()
        value.update(inside)
    return value
