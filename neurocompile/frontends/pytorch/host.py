"""What becomes a host region: classes that users mark, and what torch has that no chip computes.

A region is one module or function of the traced graph. It is exported as ONNX from float64 (from float32, where ONNX
Runtime lacks an operation in float64), with the batch first and time second, however the model's forward has them.
"""

from __future__ import annotations

import logging
import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from neurocompile.backends.onnx import HostSession
from neurocompile.errors import NeurocompileError, Problem, UnsupportedModel
from neurocompile.frontends.pytorch.axes import Axes, features
from neurocompile.frontends.pytorch.lowering import Lowering, Refused, Value, flat, shown
from neurocompile.frontends.pytorch.onhost import Carries, OnHost, arranged, batch_first, carries_of, time_of
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
                                 "matmul", "bmm", "sin", "cos", "sqrt", "pow")  # fmt: skip


def host_module(low: Lowering, module: Any, *args: Any, **kwargs: Any) -> Value:
    """A marked module, or one of :data:`HOST_MODULES`."""
    kind = module.region.kind if isinstance(module, OnHost) else type(module).__name__
    return _region(low, module, kind, carries_of(module), args, kwargs)


def host_call(function: Callable[..., Any], kind: str) -> Callable[..., Value]:
    """A handler for a function or a method."""

    def handler(low: Lowering, *args: Any, **kwargs: Any) -> Value:
        return _region(low, function, kind, "real", args, kwargs)

    return handler


@dataclass(frozen=True)
class _Held:
    """Where a tensor stands among the arguments of a call."""

    number: int


class _Call(nn.Module):
    """A call as a module of tensors with the batch first and time second."""

    def __init__(self, function: Any, arguments: Any, axes: Sequence[Axes], steps: int) -> None:
        super().__init__()
        self.function = function
        self.arguments = arguments
        self.axes = list(axes)
        self.steps = steps
        self.result_axes: Axes = ()
        self.kind = torch.float64

    def natural(self, *tensors: torch.Tensor) -> Any:
        """The call itself, on tensors as forward has them."""
        args, kwargs = _filled(self.arguments, tensors)
        return self.function(*args, **kwargs)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        given = [arranged(x.to(self.kind), axes) for x, axes in zip(tensors, self.axes)]
        return batch_first(self.natural(*given), self.result_axes, self.steps).to(self.kind)


def _region(low: Lowering, function: Any, kind: str, carries: Carries, args: Any, kwargs: Any) -> Value:
    values = [value for value in flat((list(args), kwargs)) if isinstance(value, Value)]
    result = low.result
    if not isinstance(result, torch.Tensor):
        raise Refused(f"{kind} gives a {type(result).__name__}", "a host region gives one tensor: wrap it in a module")
    if any("NT" in value.axes for value in values):
        raise Refused(f"{kind} reads axes {shown(values[0].axes)}", "keep time and batch apart there")
    reads = tuple(_read(low, value) for value in values)
    axes = [value.axes for value in values]
    places = _with_places((args, kwargs), iter(range(len(values))))
    call = _Call(function, places, axes, low.build.timesteps)
    call.result_axes = _result_axes(call, values, low)
    timed = "T" in call.result_axes or "TN" in call.result_axes
    shape = tuple(int(n) for n in features(call.result_axes, result.shape))
    examples = [batch_first(value.example, value.axes, low.build.timesteps) for value in values]
    name = low.build.fresh(low.where)
    if isinstance(function, OnHost):  # it was exported when the model was saved
        onnx, precision, macs = function.region.model, function.region.precision, function.region.macs
    else:
        onnx, precision = _exported(low, kind, call, examples)
        macs = _macs(call, examples) * (low.build.timesteps if low.loop else 1)
    low.build.hosts[name] = HostRegion(
        name=name,
        kind=kind,
        reads=reads,
        shape=shape,
        timed=timed or low.loop,
        carries=carries,
        model=onnx,
        precision=precision,
        per_step=low.loop,
        macs=macs,
    )
    low.build.host_axes[name] = (tuple(axes), call.result_axes)
    return low.out(name, call.result_axes)


def _macs(call: _Call, examples: Sequence[torch.Tensor]) -> int:
    """Multiplications with additions of a sample, those of matrices and convolutions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(*examples)
    return int(counter.get_total_flops() // 2 // len(examples[0]))


def _read(low: Lowering, value: Value) -> HostRead:
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
        source = low.emit(Integrator(), source, part="membrane")
    how = value.read or ("sequence" if timed else "last")
    return HostRead(low.emit(Output(how), source, part="reads"), "chip", value.features, timed)


def _with_places(args: Any, numbers: Any) -> Any:
    """Arguments with a place for each value of the network."""
    if isinstance(args, Value):
        return _Held(next(numbers))
    if isinstance(args, tuple | list):
        return type(args)(_with_places(item, numbers) for item in args)
    if isinstance(args, dict):
        return {key: _with_places(item, numbers) for key, item in args.items()}
    return args


def _filled(args: Any, tensors: Sequence[torch.Tensor]) -> Any:
    if isinstance(args, _Held):
        return tensors[args.number]
    if isinstance(args, tuple | list):
        return type(args)(_filled(item, tensors) for item in args)
    if isinstance(args, dict):
        return {key: _filled(item, tensors) for key, item in args.items()}
    return args


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


# -- ONNX --------------------------------------------------------------------------------------------------------------


def _exported(
    low: Lowering, kind: str, call: _Call, examples: Sequence[torch.Tensor]
) -> tuple[bytes, Literal["float64", "float32"]]:
    """A call as ONNX, and in which precision: float64 if ONNX Runtime has all of it."""
    problem = ""
    for precision, dtype in (("float64", torch.float64), ("float32", torch.float32)):
        moved = call
        moved.kind = dtype
        inner = call.function if isinstance(call.function, nn.Module) else None
        try:
            if inner is not None:
                inner.to(dtype)
            model = _onnx(moved, [x.to(dtype) for x in examples])
            trial = HostRegion(
                "trial", kind, tuple(HostRead(str(k), "input", (), False) for k in range(len(examples))), (), False,
                "real", model, precision,  # type: ignore[arg-type]
            )  # fmt: skip
            _check(trial, call, [torch.cat((x, x)) for x in examples])
            return model, precision  # type: ignore[return-value]
        except NeurocompileError as error:
            problem = problem or error.problems[0].what
        except Exception as error:
            reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            problem = problem or f"torch.onnx cannot export it: {reason[0]}"
        finally:
            if inner is not None:
                inner.double()
            call.kind = torch.float64
    what, fix = f"{kind} would be a host region, and {problem}", "write it otherwise"
    raise UnsupportedModel(Problem(what, low.where, fix=fix))


def _onnx(call: _Call, examples: Sequence[torch.Tensor]) -> bytes:
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                call.eval(),
                tuple(examples),
                dynamo=True,
                verbose=False,
                dynamic_shapes=(tuple({0: torch.export.Dim.DYNAMIC} for _ in examples),),
                input_names=[f"x{k}" for k in range(len(examples))],
                output_names=["y"],
            )
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # where the source lay on the machine that exported it
        node.doc_string = None
    return program.model_proto.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _check(region: HostRegion, call: _Call, inputs: Sequence[torch.Tensor]) -> None:
    """Hold the ONNX against torch on twice as many samples."""
    with torch.no_grad():
        expected = call(*(x.to(call.kind) for x in inputs)).double().numpy()
    found = HostSession(region)([x.double().numpy() for x in inputs])
    tolerance = 1e-9 if region.precision == "float64" else 1e-4
    size = max(1.0, float(np.abs(expected).max(initial=0)))
    if found.shape != expected.shape or float(np.abs(found - expected).max(initial=0)) > tolerance * size:
        raise RuntimeError("its ONNX computes something else")
