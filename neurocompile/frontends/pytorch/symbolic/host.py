"""What becomes a host region: classes that users mark, and what torch has that no chip computes.

A region is one module or function of the traced graph. It is exported as ONNX from float64 (from float32, where ONNX
Runtime lacks an operation in float64), with the batch first and time second, however the model's forward has them.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from neurocompile.frontends.pytorch.axes import Axes, features
from neurocompile.frontends.pytorch.exporting import TensorsForNumbers, exported, filled, macs, moved, with_places
from neurocompile.frontends.pytorch.onhost import Carries, OnHost, arranged, batch_first, carries_of, time_of
from neurocompile.frontends.pytorch.symbolic.lowering import HostCall, Lowering, Refused, Value, flat, shown
from neurocompile.ir.host import HostRead, HostRegion
from neurocompile.ir.ops import Input, Integrator, Neuron, Output

__all__ = ["HOST_FUNCTIONS", "HOST_METHODS", "HOST_MODULES", "host_call", "host_module"]

HOST_MODULES: tuple[type[nn.Module], ...] = (
    nn.Tanh,
    nn.Sigmoid,
    nn.Softmax,
    nn.LogSoftmax,
    nn.ReLU,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
    nn.ELU,
    nn.Hardtanh,
    nn.Softplus,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.Embedding,
)
"""What torch has and no chip: each such module of a model is a host region."""

HOST_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    torch.tanh,
    torch.sigmoid,
    torch.softmax,
    torch.relu,
    torch.exp,
    torch.log,
    torch.sqrt,
    torch.clamp,
    torch.abs,
    torch.argmax,
    torch.argmin,
    torch.matmul,
    torch.bmm,
    torch.sin,
    torch.cos,
    operator.matmul,
    operator.pow,
    F.tanh,
    F.sigmoid,
    F.softmax,
    F.log_softmax,
    F.relu,
    F.gelu,
    F.silu,
    F.layer_norm,
    F.group_norm,
    F.embedding,
)

HOST_METHODS: tuple[str, ...] = ("tanh", "sigmoid", "softmax", "relu", "exp", "log", "clamp", "abs", "argmax", "argmin",
                                 "matmul", "bmm", "sin", "cos", "sqrt", "pow", "long", "int")  # fmt: skip


def host_module(low: Lowering, module: Any, *args: Any, **kwargs: Any) -> Value:
    """A marked module, or one of :data:`HOST_MODULES`."""
    kind = module.region.kind if isinstance(module, OnHost) else type(module).__name__
    return _region(low, module, kind, carries_of(module), args, kwargs)


def host_call(function: Callable[..., Any], kind: str) -> Callable[..., Value]:
    """A handler for a function or a method."""

    def handler(low: Lowering, *args: Any, **kwargs: Any) -> Value:
        return _region(low, function, kind, "real", args, kwargs)

    return handler


class _Call(nn.Module):
    """A call as a module of tensors with the batch first and time second.

    ``whole[k]`` says that the call takes whole numbers there (indices).
    """

    def __init__(self, function: Any, arguments: Any, values: Sequence[Value], steps: int) -> None:
        super().__init__()
        self.function = function
        self.arguments = arguments
        self.axes = [value.axes for value in values]
        self.whole = [not value.example.is_floating_point() for value in values]
        self.steps = steps
        self.result_axes: Axes = ()
        self.kind = torch.float64
        self._grids: dict[str, torch.Tensor] = {}

    def natural(self, *tensors: torch.Tensor) -> Any:
        """The call itself, on tensors as forward has them."""
        args, kwargs = filled(self.arguments, tensors)
        return self.function(*args, **kwargs)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        given = [
            arranged(x.long() if whole else x.to(self.kind), axes)
            for x, axes, whole in zip(tensors, self.axes, self.whole)
        ]
        with TensorsForNumbers(self._grids):
            result = self.natural(*given)
        return batch_first(result, self.result_axes, self.steps).to(self.kind)

    def in_float32(self) -> _Call:
        """A copy that computes in float32."""
        copied = copy.deepcopy(self)
        copied.kind = torch.float32
        copied.arguments = moved(copied.arguments)
        if isinstance(copied.function, nn.Module):
            copied.function.float()
        return copied


def _region(low: Lowering, function: Any, kind: str, carries: Carries, args: Any, kwargs: Any) -> Value:
    values = [value for value in flat((list(args), kwargs)) if isinstance(value, Value)]
    result = low.result
    if not isinstance(result, torch.Tensor):
        raise Refused(f"{kind} gives a {type(result).__name__}", "a host region gives one tensor: wrap it in a module")
    if any("NT" in value.axes for value in values):
        raise Refused(f"{kind} reads axes {shown(values[0].axes)}", "keep time and batch apart there")
    name = low.build.fresh("output.layer" if low.where == "output" else low.where)
    reads = tuple(_read(low, value, name) for value in values)
    places = with_places((args, kwargs), iter(range(len(values))), Value)
    call = _Call(function, places, values, low.build.timesteps)
    call.result_axes = _result_axes(call, values, low)
    timed = "T" in call.result_axes or "TN" in call.result_axes
    examples = [batch_first(value.example, value.axes, low.build.timesteps) for value in values]
    region = HostRegion(
        name=name,
        kind=kind,
        reads=reads,
        shape=tuple(int(n) for n in features(call.result_axes, result.shape)),
        timed=timed or low.loop,
        carries=carries,
        model=b"",
        per_step=low.loop,
    )
    if isinstance(function, OnHost):  # it was exported when the model was saved
        known = function.region
        region = replace(region, model=known.model, precision=known.precision, macs=known.macs)
    else:
        work = macs(call, examples) * (low.build.timesteps if low.loop else 1)
        region = replace(exported(low.where, region, call, examples), macs=work)
    low.build.hosts[name] = region
    low.build.host_calls[low.call] = HostCall(name, tuple(call.axes), call.result_axes)
    return low.out(name, call.result_axes)


def _read(low: Lowering, value: Value, reader: str) -> HostRead:
    """What a region reads, as an Output of the chip where it comes from there."""
    build = low.build
    timed = low.loop or (value.read is None and ("T" in value.axes or "TN" in value.axes))
    if value.node in build.hosts:
        region = build.hosts[value.node]
        if region.shape == value.features and value.read is None and region.timed == timed:
            return HostRead(value.node, "host", region.shape, timed)
        build.feed(value.node)
    node = build.nodes[value.node]
    if isinstance(node.op, Input) and node.name not in build.hosts and value.read is None:
        return HostRead(value.node, "input", value.features, timed)
    source = value.node
    direct = isinstance(node.op, Integrator) or (isinstance(node.op, Neuron) and np.all(node.op.amplitude == 1))
    if not direct:
        source = build.emit(f"{reader}.membrane", Integrator(), source)
    how = value.read or ("sequence" if timed else "last")
    return HostRead(build.emit(f"{reader}.reads", Output(how), source), "chip", value.features, timed)


# -- axes --------------------------------------------------------------------------------------------------------------


def _longer(value: Value, name: str, steps: int) -> torch.Tensor:
    """The example with one sample or one step more."""
    x = value.example
    folded = value.axes.index("TN") if "TN" in value.axes else None
    if folded is not None:
        x = x.unflatten(folded, (steps, -1))
        at = folded + (name == "N")
    elif name in value.axes:
        at = value.axes.index(name)
    else:
        return x  # type: ignore[no-any-return]
    x = torch.cat((x, x.narrow(at, 0, 1)), at)
    return x if folded is None else x.flatten(folded, folded + 1)


def _result_axes(call: _Call, values: Sequence[Value], low: Lowering) -> Axes:
    """The names of the axes of a result, found by giving one sample more, and one step more."""
    base, steps = tuple(low.result.shape), low.build.timesteps
    changed: dict[str, list[int]] = {}
    for name in ("N", "T"):
        if not any(name in value.axes or "TN" in value.axes for value in values):
            continue
        try:
            with torch.no_grad():
                shape = tuple(call.natural(*(_longer(value, name, steps) for value in values)).shape)
        except Exception:
            continue  # it was made for so many steps
        if len(shape) == len(base):
            changed[name] = [i for i, (a, b) in enumerate(zip(base, shape)) if a != b]
    if len(changed.get("N", [])) != 1:
        what = f"no axis of its result {list(base)} is the batch"
        raise Refused(what, "a host region treats every sample alike, and gives one result for each")
    axes = ["F"] * len(base)
    axes[changed["N"][0]] = "N"
    given = time_of(call.function)
    time = changed.get("T", _where_time_was(values, base, steps)) if given is None else [given % len(base)]
    if not time and changed["N"] == [1] and base[0] == steps and not low.loop:
        time = [0]  # what stands before the batch can be nothing else
    if len(time) > 1:
        raise Refused(f"its result {list(base)} has time in several axes", "keep time in one axis")
    for at in time:
        axes[at] = "T" if axes[at] == "F" else "TN"
    return tuple(axes)


def _where_time_was(values: Sequence[Value], base: Sequence[int], steps: int) -> list[int]:
    """The axis of time in the result of a call that was made for so many steps: where it was, if it still fits."""
    timed = next((value for value in values if "T" in value.axes or "TN" in value.axes), None)
    if timed is None or len(timed.axes) != len(base):
        return []
    folded = "TN" in timed.axes
    at = timed.axes.index("TN" if folded else "T")
    return [at] if folded or base[at] == steps else []
