"""Inputs and outputs between the layouts that forwards have and ``[N, T, ...]``."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import base
from torch import nn

from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.frontends.pytorch.axes import Axes, Layout, axes_of, from_layout, to_layout
from neurocompile.ir.ops import Array
from neurocompile.vocabulary.mpbn import MPBNLIF

__all__ = ["arrange", "arranged_shape", "in_order", "likely_layouts", "separate", "to_network_time"]


def likely_layouts(module: nn.Module) -> tuple[Layout, ...]:
    """The layouts to try for a module that nobody gave one for, the likelier first."""
    multi_step = any(
        getattr(m, "step_mode", "s") == "m" or isinstance(m, base.MultiStepModule | MPBNLIF) for m in module.modules()
    )
    return ("TN", "N") if multi_step else ("loop", "TN")


def in_order(module: nn.Module, named: Mapping[str, Any]) -> dict[str, Any]:
    """What is given for each argument of forward, in their order if it goes by their names."""
    arguments = list(inspect.signature(module.forward).parameters)
    if not set(named) <= set(arguments):
        return dict(named)
    return {name: named[name] for name in arguments if name in named}


def arranged_shape(shape: tuple[int, ...], layout: Layout, batch: int, timesteps: int) -> tuple[int, ...]:
    """The shape of an input in a layout."""
    sizes = {"T": timesteps, "N": batch, "TN": batch * timesteps}
    rest = iter(shape)
    return tuple(sizes[name] if name in sizes else next(rest) for name in axes_of(len(shape), layout))


def arrange(x: Array, layout: Layout) -> list[torch.Tensor]:
    """``x[N, T, ...]`` as forward takes it: one tensor, or one for each step."""
    tensor = torch.from_numpy(np.ascontiguousarray(x, np.float64))
    if layout == "loop":
        return [part.contiguous() for part in tensor.unbind(1)]
    if layout != "N":
        return [to_layout(tensor, layout).contiguous()]
    if not bool((tensor == tensor[:, :1]).all()):
        what = "the model repeats one input over time, but the data change over time"
        raise BadInput(Problem(what, fix="give x as [N, ...]"))
    return [tensor[:, 0].contiguous()]


def separate(x: torch.Tensor, layout: Layout, timesteps: int | None) -> Array:
    """An example in the layout of forward as ``[n, T, ...]``, or ``[n, ...]`` if it is the same at every step."""
    if layout in ("loop", "N"):
        return np.asarray(x.detach().cpu().numpy())
    if layout == "fold" and (not timesteps or len(x) % timesteps):
        what = "the batch axis does not hold a whole number of steps"
        raise UsageError(Problem(what, "example_input", str(len(x)), f"a multiple of timesteps ({timesteps})"))
    array = np.asarray(from_layout(x, layout, timesteps or 1).detach().cpu().numpy())
    return array[:, 0] if np.array_equal(array, np.broadcast_to(array[:, :1], array.shape)) else array


def to_network_time(value: torch.Tensor, axes: Axes, timesteps: int) -> torch.Tensor:
    """A tensor of a trace as ``[N, T, ...]``, or ``[N, ...]`` if it has no time."""
    if "TN" in axes or "NT" in axes:
        at = axes.index("TN" if "TN" in axes else "NT")
        batch = value.shape[at] // timesteps
        sizes = (timesteps, batch) if axes[at] == "TN" else (batch, timesteps)
        value = value.unflatten(at, sizes)
        axes = (*axes[:at], *axes[at], *axes[at + 1 :])
    if "T" not in axes:
        return value.movedim(axes.index("N"), 0)
    return value.movedim((axes.index("N"), axes.index("T")), (0, 1))
