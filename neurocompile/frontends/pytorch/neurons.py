"""Neuron classes whose equation users give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from neurocompile.errors import Problem, UnsupportedModel, UsageError
from neurocompile.frontends.pytorch.axes import LAYOUTS, Layout, from_layout, to_layout
from neurocompile.ir.interpret import step
from neurocompile.ir.ops import Array, Integrator, Neuron

__all__ = [
    "Recorded",
    "equation",
    "is_membrane",
    "is_registered",
    "layout_of",
    "membrane",
    "neuron",
    "numpy_of",
    "registered_equation",
    "with_arrays",
]

Shape = tuple[int, ...]
Class = TypeVar("Class", bound=type[nn.Module])


@dataclass(frozen=True)
class _Registration:
    """What a user said of a neuron class."""

    lowering: Callable[[Any], Neuron | Integrator]
    layout: Layout | None


_registered: dict[type[nn.Module], _Registration] = {}

equation = Neuron
"""The neuron equation, for :func:`neuron`: every field is a number or an array that broadcasts to the layer."""

membrane = Integrator
"""The equation of a class that never fires and gives its membrane: ``y = decay * y + gain * x + bias``."""


def neuron(lowering: Callable[[Any], Neuron | Integrator], *, layout: Layout | None = None) -> Callable[[Class], Class]:
    """Register a neuron class of your own: ``@neurocompile.neuron(lambda m: neurocompile.equation(threshold=...))``.

    The class's forward must take and return one tensor, keep its state between calls in single-step mode, and start
    anew after ``spikingjelly.activation_based.functional.reset_net``, which calls its ``reset()``, if it has one. When
    a model is saved or compiled, class and equation are run on the same random currents and held against each other.

    Args:
        lowering: is given the module (in eval mode, parameters as they are) and returns its equation; a class that
            never fires and gives its membrane returns ``neurocompile.membrane(decay=..., gain=...)``.
        layout: how forward takes time: "TN" [T, N, ...], "NT" [N, T, ...], "N..T" [N, ..., T], "NCT.." [N, C, T, ...],
            "fold" [T * N, ...], "loop" (one step [N, ...] a call). None: [T, N, ...], or one step a call in a model
            of one step; a class with SpikingJelly's ``step_mode`` does as that says.

    Raises:
        UsageError: if the layout is none of these.
    """
    if layout is not None and (layout not in LAYOUTS or layout == "N"):
        known = ", ".join(known for known in LAYOUTS if known != "N")
        raise UsageError(Problem("a neuron cannot have this layout", "neurocompile.neuron", str(layout), known))

    def register(cls: Class) -> Class:
        _registered[cls] = _Registration(lowering, layout)
        return cls

    return register


def is_registered(module: nn.Module) -> bool:
    """Whether this module's class was registered with :func:`neuron` (or stands for one in a loaded file)."""
    return type(module) in _registered or isinstance(module, Recorded)


def layout_of(module: nn.Module) -> Layout | None:
    """How a registered class takes time; None if that was not said."""
    if isinstance(module, Recorded):
        return module.layout
    return _registered[type(module)].layout if type(module) in _registered else None


def is_membrane(module: nn.Module) -> bool:
    """Whether a registered class gives its membrane."""
    if isinstance(module, Recorded):
        return isinstance(module.op, Integrator)
    return type(module) in _registered and isinstance(_registered[type(module)].lowering(module), Integrator)


class Recorded(nn.Module):
    """Stands for a neuron of a registered class in a model that was loaded: it computes its equation."""

    def __init__(self, class_name: str, op: Neuron | Integrator, layout: Layout | None) -> None:
        super().__init__()
        self.class_name = class_name
        self.op = op
        self.layout = layout
        self._state: dict[str, Array] = {}

    def reset(self) -> None:
        """Start anew."""
        self._state = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the equation gives for currents in the layout of the class."""
        if self.layout in (None, "TN") and self._in_time(x):
            return torch.stack([self._step(part) for part in x])
        if self.layout in (None, "loop"):
            return self._step(x)
        steps = from_layout(x, self.layout, self.timesteps).unbind(1)
        return to_layout(torch.stack([self._step(part) for part in steps], 1), self.layout)

    timesteps = 1

    def _in_time(self, x: torch.Tensor) -> bool:
        return self.layout == "TN" or x.shape[0] == self.timesteps

    def _step(self, x: torch.Tensor) -> torch.Tensor:
        made, self._state = step(self.op, x.double().numpy(), self._state)
        return torch.from_numpy(np.ascontiguousarray(made))


def registered_equation(module: nn.Module, shape: Shape, where: str) -> Neuron | Integrator:
    """What a user's function says of a module, held against the shape of the layer.

    Raises:
        UnsupportedModel: if it says what no equation can hold.
    """
    if isinstance(module, Recorded):
        return module.op
    try:
        op = _registered[type(module)].lowering(module)
    except Exception as error:
        what = f"the function given to neurocompile.neuron failed: {type(error).__name__}: {error}"
        raise _refused(where, module, what, "let it use what the module has in eval mode") from error
    if not isinstance(op, Neuron | Integrator):
        what = f"the function given to neurocompile.neuron returned a {type(op).__name__}"
        raise _refused(where, module, what, "let it return neurocompile.equation(...)")
    op = with_arrays(op)
    assert isinstance(op, Neuron | Integrator)
    for name, value in vars(op).items():
        fits = not isinstance(value, np.ndarray) or _broadcasts(value.shape, shape)
        if not fits:
            what = f"its {name} of shape {list(value.shape)} does not broadcast to the layer's shape {list(shape)}"
            fix = "give one number, one a channel (shaped [C, 1, 1] for a layer [C, H, W]), or one a neuron"
            raise _refused(where, module, what, fix)
    return op


def _broadcasts(inner: Shape, outer: Shape) -> bool:
    return len(inner) <= len(outer) and all(a in (1, b) for a, b in zip(inner[::-1], outer[::-1]))


def with_arrays(op: Any) -> Any:
    """The same equation with each number that may differ from neuron to neuron as a float64 array."""
    arrays = {
        f.name: np.asarray(numpy_of(value), bool if f.name == "flip" else np.float64)
        for f in fields(op)
        if str(f.type).startswith("Array") and (value := getattr(op, f.name)) is not None
    }
    return replace(op, **arrays)


def numpy_of(value: Any) -> Any:
    """A tensor as an array of float64; what is none as it is."""
    return value.detach().cpu().double().numpy() if isinstance(value, torch.Tensor) else value


def _refused(where: str, module: nn.Module, what: str, fix: str) -> UnsupportedModel:
    return UnsupportedModel(Problem(what, f"{where} ({type(module).__name__})", fix=fix))
