"""Modules that are called as one whole: neuron classes that users register, and what a host computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import functional
from torch import nn

from neurocompile.frontends.pytorch.axes import LAYOUTS, Axes, Layout, axes_of, shown_layout
from neurocompile.frontends.pytorch.neurons import Recorded, is_registered, layout_of, registered_equation
from neurocompile.frontends.pytorch.onhost import is_host
from neurocompile.frontends.pytorch.operations import Lowering
from neurocompile.frontends.pytorch.operations.hostcalls import module_on_host
from neurocompile.frontends.pytorch.registration import check_equation
from neurocompile.frontends.pytorch.trace import Call, Trace
from neurocompile.frontends.pytorch.values import Refused, Value, shown
from neurocompile.ir.ops import Neuron

__all__ = ["again_of", "is_whole", "taken_axes", "whole_modules"]


def is_whole(module: nn.Module) -> bool:
    """Whether a module is recorded as one call."""
    return is_registered(module) or is_host(module)


def whole_modules(
    trace: Trace, modules: Mapping[str, nn.Module]
) -> tuple[dict[str, Callable[..., Value]], dict[str, Callable[..., Value]]]:
    """What lowers the calls of registered neurons, and of what a host computes, by their names in the trace."""
    neurons: dict[str, Callable[..., Value]] = {}
    regions: dict[str, Callable[..., Value]] = {}
    for name, module in modules.items():
        trace.leaves[name] = _Again(module)
        if is_registered(module):
            neurons[name] = _registered(module)
        else:
            regions[name] = module_on_host(module)
    return neurons, regions


def again_of(module: nn.Module) -> Callable[..., Any]:
    """What runs a module as a part of a trace."""
    return _Again(module)


class _Again:
    """A module that is run as a part of a trace; its state is cleared before each run."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        out = self.module(*args, **kwargs)
        return out.double() if isinstance(out, torch.Tensor) and out.is_floating_point() else out

    def reset_state(self) -> None:
        """Called before each run of the trace."""
        functional.reset_net(self.module)


def _registered(module: nn.Module) -> Callable[..., Value]:
    """What lowers the calls of a neuron of a registered class."""

    def handler(low: Lowering, call: Call, x: Value | torch.Tensor) -> Value:
        if isinstance(x, torch.Tensor):
            x = _known(low, module, x)
        layout = _time_of(module, x)
        op = registered_equation(module, x.features, call.leaf)
        count = low.counts.get(call.leaf, 0)
        if not isinstance(module, Recorded) and not count:
            check_equation(module, op, layout, x.features, low.timesteps, call.leaf)
        low.counts[call.leaf] = count + len(x.steps)
        binary = isinstance(op, Neuron) and bool((op.amplitude == 1).all())
        made = tuple(low.terms.registered(term, call.leaf, op, count + k, binary) for k, term in enumerate(x.steps))
        return Value(x.axes, x.shape, made if x.timed else made[0])

    return handler


def taken_axes(module: nn.Module, rank: int) -> Axes:
    """The axes of what a registered neuron takes, which has so many."""
    layout = layout_of(module) or ("TN" if getattr(module, "step_mode", "s") == "m" else "loop")
    return axes_of(rank - (1 if layout in ("loop", "N", "fold") else 2), layout)


def _known(low: Lowering, module: nn.Module, x: torch.Tensor) -> Value:
    """Numbers that come of no input, as what a registered neuron reads: at the first steps of a delay, say."""
    axes = taken_axes(module, x.dim())
    numbers, at = x.detach().double().numpy(), axes.index("N") if "N" in axes else None
    if at is None or not (numbers == numbers.take([0], at)).all():
        raise Refused("a registered neuron reads numbers that differ from sample to sample, and come of no input")
    features = tuple(n for name, n in zip(axes, x.shape) if name == "F")
    alike = numbers.take(0, at)
    steps = np.moveaxis(alike, [n for n in axes if n != "N"].index("T"), 0) if "T" in axes else None
    content = (
        low.terms.constant(alike, features)
        if steps is None
        else tuple(low.terms.constant(each, features) for each in steps)
    )
    return Value(axes, tuple(x.shape), content)


def _time_of(module: nn.Module, x: Value) -> Layout:
    """How a registered neuron takes time, checked against what it reads; "loop" for one step a call."""
    layout = layout_of(module)
    if layout is None:
        multi_step = getattr(module, "step_mode", "m" if x.timed else "s") == "m"
        layout = "TN" if multi_step else "loop"
    if layout == "loop":
        if x.timed or x.axes[0] != "N":
            what = f"a single-step neuron reads axes {shown(x.axes)}: it would take them for one step"
            raise Refused(what, "call it once a step, or register the layout that its forward takes")
    elif x.axes != axes_of(len(x.features), layout):
        what = f"it is registered as a neuron that takes {shown_layout(layout)}, and reads axes {shown(x.axes)}"
        fits = [known for known in LAYOUTS if x.axes == axes_of(len(x.features), known) and known != "N"]
        fix = f"give it {shown_layout(layout)}"
        raise Refused(
            what, fix + (f', or register it with layout="{fits[0]}" if that is what it takes' if fits else "")
        )
    return layout
