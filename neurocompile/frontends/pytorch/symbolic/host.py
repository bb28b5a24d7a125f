"""What becomes a host region: classes that users mark, and what torch has that no chip computes.

A region is one module or function of the traced graph. It is exported as ONNX from float64 (from float32, where ONNX
Runtime lacks an operation in float64), with the batch first and time second, however the model's forward has them.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from neurocompile.backends.onnx import HostSession
from neurocompile.errors import NeurocompileError, Problem, ToolFailed, UnsupportedModel
from neurocompile.frontends.pytorch.axes import Axes, features
from neurocompile.frontends.pytorch.onhost import Carries, OnHost, arranged, batch_first, carries_of, time_of
from neurocompile.frontends.pytorch.symbolic.lowering import HostCall, Lowering, Refused, Value, flat, shown
from neurocompile.ir.host import HostRead, HostRegion
from neurocompile.ir.ops import Array, Input, Integrator, Neuron, Output

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


@dataclass(frozen=True)
class _Held:
    """Where a tensor stands among the arguments of a call."""

    number: int


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
        args, kwargs = _filled(self.arguments, tensors)
        return self.function(*args, **kwargs)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        given = [
            arranged(x.long() if whole else x.to(self.kind), axes)
            for x, axes, whole in zip(tensors, self.axes, self.whole)
        ]
        with _TensorsForNumbers(self._grids):
            result = self.natural(*given)
        return batch_first(result, self.result_axes, self.steps).to(self.kind)

    def in_float32(self) -> _Call:
        """A copy that computes in float32."""
        copied = copy.deepcopy(self)
        copied.kind = torch.float32
        copied.arguments = _moved(copied.arguments)
        if isinstance(copied.function, nn.Module):
            copied.function.float()
        return copied


class _TensorsForNumbers(TorchFunctionMode):
    """Numbers in arithmetic are tensors of the precision of what they meet: torch.onnx would write them as float32.

    ``grids`` has the tensors that were made of numbers alone, by what made them: torch.onnx is given their values.
    """

    def __init__(self, grids: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._grids = grids

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for every function of a tensor, and for those that make one."""
        kwargs = kwargs or {}
        given = (*args, *kwargs.values())
        if not any(isinstance(x, float) and float(np.float32(x)) != x for x in given):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "").strip("_")
        if name in _GRIDS:
            key = f"{name} {args} {kwargs}"
            if not torch.compiler.is_exporting():
                self._grids[key] = func(*args, **kwargs)
            known = self._grids.get(key)
            return func(*args, **kwargs) if known is None else torch.tensor(known.tolist(), dtype=known.dtype)
        if name in _FULL:
            values = [1.0 if isinstance(x, float) else x for x in args]
            ones = func(*values, **{key: 1.0 if key == "fill_value" else x for key, x in kwargs.items()})
            (number,) = (x for x in given if isinstance(x, float))
            return ones * torch.tensor(number, dtype=ones.dtype)
        kind = next((x.dtype for x in given if isinstance(x, torch.Tensor) and x.is_floating_point()), None)
        if name not in _TAKES_TENSORS or kind is None:
            return func(*args, **kwargs)

        def tensor(x: Any) -> Any:
            return torch.tensor(x, dtype=kind) if type(x) in (int, float) else x

        return func(*map(tensor, args), **{key: x if key == "alpha" else tensor(x) for key, x in kwargs.items()})


_TAKES_TENSORS = frozenset({
    "add", "radd", "sub", "rsub", "mul", "rmul", "div", "rdiv", "truediv", "rtruediv", "true_divide", "pow", "rpow",
    "remainder", "fmod", "mod", "clamp", "clip", "clamp_min", "clamp_max", "where", "masked_fill", "gt", "ge", "lt",
    "le", "eq", "ne",
})  # fmt: skip
_FULL = ("full", "full_like", "new_full")
_GRIDS = ("linspace", "arange")


def _region(low: Lowering, function: Any, kind: str, carries: Carries, args: Any, kwargs: Any) -> Value:
    values = [value for value in flat((list(args), kwargs)) if isinstance(value, Value)]
    result = low.result
    if not isinstance(result, torch.Tensor):
        raise Refused(f"{kind} gives a {type(result).__name__}", "a host region gives one tensor: wrap it in a module")
    if any("NT" in value.axes for value in values):
        raise Refused(f"{kind} reads axes {shown(values[0].axes)}", "keep time and batch apart there")
    name = low.build.fresh("output.layer" if low.where == "output" else low.where)
    reads = tuple(_read(low, value, name) for value in values)
    places = _with_places((args, kwargs), iter(range(len(values))))
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
        macs = _macs(call, examples) * (low.build.timesteps if low.loop else 1)
        region = replace(_exported(low, region, call, examples), macs=macs)
    low.build.hosts[name] = region
    low.build.host_calls[low.call] = HostCall(name, tuple(call.axes), call.result_axes)
    return low.out(name, call.result_axes)


def _macs(call: _Call, examples: Sequence[torch.Tensor]) -> int:
    """Multiplications with additions of a sample, those of matrices and convolutions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(*examples)
    return int(counter.get_total_flops() // 2 // len(examples[0]))


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


def _moved(args: Any) -> Any:
    """Arguments with tensors in float32."""
    if isinstance(args, torch.Tensor):
        return args.float() if args.is_floating_point() else args
    if isinstance(args, tuple | list):
        return type(args)(map(_moved, args))
    if isinstance(args, dict):
        return {key: _moved(item) for key, item in args.items()}
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


def _exported(low: Lowering, region: HostRegion, call: _Call, examples: Sequence[torch.Tensor]) -> HostRegion:
    """A region with its ONNX, in float64 if ONNX Runtime has all of it."""
    trials = _trials(call, examples)
    if not all(_same_again(call, trial) for trial in trials):
        fix = "a host region keeps no state, changes nothing that it reads, and draws no random numbers: make these an "
        raise Refused(f"{region.kind} gives other numbers when it is called again", fix + "input of the network")
    if not all(_samples_apart(call, trial) for trial in trials):
        what = f"what {region.kind} gives for a sample depends on the others"
        raise Refused(what, "a host region treats every sample alike: check which axis it works along")
    problem = ""
    for precision in ("float64", "float32"):
        made = replace(region, precision=precision)
        try:
            moved = call if precision == "float64" else call.in_float32()
            made = replace(made, model=_onnx(moved, [x.to(moved.kind) for x in examples]))
            for trial in trials:
                _check(made, moved, trial)
            return made
        except ToolFailed:
            raise
        except NeurocompileError as error:
            problem = problem or error.problems[0].what
        except Exception as error:
            reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            problem = problem or f"torch.onnx cannot export it: {reason[0]}"
    what, fix = f"{region.kind} would be a host region, and {problem}", "write it otherwise"
    raise UnsupportedModel(Problem(what, low.where, fix=fix))


@torch.no_grad()
def _trials(call: _Call, examples: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """What a call is held to: twice as many samples as in the examples, and, if it takes them, random numbers."""
    numbers = torch.Generator().manual_seed(0)
    found = [[torch.cat((x, x)) for x in examples]]
    for low, high in ((-1.0, 1.0), (0.0, 1.0)):
        drawn = [low + (high - low) * torch.rand(x.shape, generator=numbers, dtype=torch.float64) for x in found[0]]
        whole = [torch.rand(x.shape, generator=numbers, dtype=torch.float64) < 0.5 for x in found[0]]
        trial = [b.double() if is_whole else a for a, b, is_whole in zip(drawn, whole, call.whole)]
        try:
            if torch.isfinite(call(*trial)).all():
                return [*found, trial]
        except Exception:
            continue  # it takes indices, say
    return found


@torch.no_grad()
def _same_again(call: _Call, trial: Sequence[torch.Tensor]) -> bool:
    return bool(_near(call(*trial).numpy(), call(*trial).numpy(), 0.0).all())


@torch.no_grad()
def _samples_apart(call: _Call, trial: Sequence[torch.Tensor]) -> bool:
    """Whether a call gives the first samples what it gives them among others."""
    few = len(trial[0]) // 2
    return bool(_near(call(*(x[:few] for x in trial)).numpy(), call(*trial)[:few].numpy(), 1e-9).all())


def _onnx(call: _Call, examples: Sequence[torch.Tensor]) -> bytes:
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        nowhere = io.StringIO()  # onnxscript 0.6 prints what it did
        silent = contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere)
        with warnings.catch_warnings(), silent[0], silent[1], torch.no_grad():
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
        logging.disable(before)
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # where the source lay on the machine that exported it
        node.doc_string = None
    return program.model_proto.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _check(region: HostRegion, call: _Call, inputs: Sequence[torch.Tensor]) -> None:
    """Hold the ONNX against torch, on these samples and on one alone."""
    with torch.no_grad():
        expected = call(*(x.to(call.kind) for x in inputs)).double().numpy()
    once = replace(region, per_step=False, timed=region.timed and not region.per_step)
    session = HostSession(once, call.steps)
    exact = region.precision == "float64"
    for part in (slice(None), slice(0, 1)):
        found = session([x[part].double().numpy() for x in inputs])
        near = _near(found, expected[part], 1e-9 if exact else 1e-4)
        # Where it decides on a number, another rounding decides otherwise now and then.
        if near.mean() < (1.0 if exact or region.carries == "real" else 0.999):
            raise RuntimeError("its ONNX computes something else")


def _near(a: Array, b: Array, tolerance: float) -> Array:
    size = np.abs(b[np.isfinite(b)]).max(initial=1.0)
    return np.isclose(a, b, 0, tolerance * size, equal_nan=True)
