"""SpikingJelly's containers: what they do with time, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from spikingjelly.activation_based import layer as sj_layer
from torch import nn

from neurocompile.frontends.pytorch.symbolic.lowering import Lowering, Refused, Value, shown
from neurocompile.frontends.pytorch.symbolic.trace import trace_module
from neurocompile.ir.ops import Concat


def _inside(low: Lowering, module: nn.Module, path: str, values: Sequence[Value], loop: bool) -> Value:
    """Lower a module that a container holds, as if it were a model of its own, under its path."""
    traced = trace_module(module, tuple(value.example for value in values))
    prefix = f"{low.prefix}{path}." if path else low.prefix
    result = Lowering(low.build, traced, prefix, loop, low.tables).run(values)
    if not isinstance(result, Value):
        raise Refused("what it holds cannot be lowered (see the other messages)")
    return result


def _path(low: Lowering) -> str:
    return low.where.removeprefix(low.prefix)


def _one_step(low: Lowering, x: Value, time: int) -> Value:
    if x.axes[time] != "T" or x.read is not None:
        raise Refused(f"it reads axes {shown(x.axes)}", f"its axis {time} must be time")
    axes = tuple(name for i, name in enumerate(x.axes) if i != time % len(x.axes))
    return replace(x, axes=axes, example=x.example.select(time, 0))


def _sequential(module: Any) -> nn.Sequential:
    held = nn.Sequential()
    for name, child in module.named_children():
        held.add_module(name, child)
    return held


def multi_step(low: Lowering, module: Any, x: Value, time: int = 0) -> Value:
    """Each step on its own, one after the other: what it holds is lowered as single-step."""
    x = low.settled(x)
    result = low.result
    y = _inside(low, _sequential(module), _path(low), [_one_step(low, x, time)], loop=True)
    low.result = result
    axes = ("T", *y.axes) if time == 0 else (*y.axes, "T")
    return low.out(y.node, axes)


def seq_to_ann(low: Lowering, module: Any, x: Value) -> Value:
    """All steps as one batch: what it holds keeps no state."""
    x = low.settled(x)
    if x.axes[:2] != ("T", "N"):
        raise Refused(f"it reads axes {shown(x.axes)}", "give it [T, N, ...]")
    folded = replace(x, axes=("TN", *x.axes[2:]), example=x.example.flatten(0, 1))
    result = low.result
    y = _inside(low, _sequential(module), _path(low), [folded], loop=False)
    low.result = result
    return low.out(y.node, ("T", "N", *y.axes[1:]), x.read)


def t_last(low: Lowering, module: Any, x: Value) -> Value:
    """Either of these with time as the last axis."""
    return multi_step(low, module, x, time=-1)


def step_mode_container(low: Lowering, module: Any, x: Value) -> Value:
    """One of these, as its step_mode and ``stateful`` say."""
    if module.step_mode == "m":
        return multi_step(low, module, x) if module.stateful else seq_to_ann(low, module, x)
    return _inside(low, _sequential(module), _path(low), [low.settled(x)], low.loop)


def feedback(low: Lowering, module: Any, *inputs: Value) -> Value:
    """y[t] = inner(x[t], ..., y[t - 1]), with y[-1] = 0."""
    values, result, where, path = [low.settled(x) for x in inputs], low.result, low.where, _path(low)
    steps = [_one_step(low, x, 0) for x in values]
    fed_back = low.build.promised(f"{where}.y", module.shape)
    zeros = torch.zeros(len(steps[0].example), *module.shape, dtype=torch.float64)
    last = Value(fed_back, ("N", *("F",) * len(module.shape)), zeros)
    y = low.settled(_inside(low, module.inner, f"{path}.inner", [*steps, last], True))
    if y.axes[:1] != ("N",) or y.features != module.shape:
        what = f"what it gives has axes {shown(y.axes)} of {list(y.features)}, not a batch of {list(module.shape)}"
        raise Refused(what, "state its shape, without the batch")
    low.build.keep_promise(fed_back, y.node)
    low.where, low.result = where, result
    return low.out(y.node, ("T", *y.axes))


class _Merge(nn.Module):
    """An element-wise function as a module, to be traced."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, y: torch.Tensor, x: torch.Tensor) -> Any:
        return self.function(y, x)


def recurrent(low: Lowering, module: Any, x: Value) -> Value:
    """y[t] = sub_module(merge(x[t], y[t - 1])), with y[-1] = 0."""
    x, result, where, path = low.settled(x), low.result, low.where, _path(low)
    multi_step = module.step_mode == "m"
    if not multi_step and not low.loop:
        raise Refused(
            "a single-step container in a multi-step model", 'set step_mode="m", or export with --layout loop'
        )
    step = _one_step(low, x, 0) if multi_step else x
    element_wise = isinstance(module, sj_layer.ElementWiseRecurrentContainer)
    shape = step.features if element_wise else (module.sub_module_out_features,)
    if not element_wise and len(step.features) != 1:
        raise Refused(f"its input has shape {list(step.features)}", "flatten it to [N, features]")
    fed_back = low.build.promised(f"{where}.y", shape)
    last = replace(step, node=fed_back, example=torch.zeros(len(step.example), *shape, dtype=torch.float64))
    if element_wise:
        merged = _inside(low, _Merge(module.element_wise_function), f"{path}.element_wise_function", [last, step], True)
    else:
        both = low.build.emit(f"{where}.cat", Concat(0), step.node, fed_back)
        joined = replace(step, node=both, example=torch.cat((step.example, last.example), -1))
        merged = _inside(low, nn.Sequential().append(module.rc), f"{path}.rc", [joined], True)
    y = _inside(low, _named(module.sub_module), f"{path}", [merged], True)
    low.build.keep_promise(fed_back, y.node)
    low.where, low.result = where, result
    return low.out(y.node, ("T", *y.axes) if multi_step else y.axes)


def _named(sub_module: nn.Module) -> nn.Module:
    held = nn.Sequential()
    held.add_module("sub_module", sub_module)
    return held
