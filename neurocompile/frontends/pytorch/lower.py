"""A traced torch graph becomes a graph of the IR: what each layer and function means for one step of one sample."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import layer as sj_layer
from torch import fx, nn

from neurocompile.errors import BadInput, NeurocompileError, Problem, UnsupportedModel
from neurocompile.frontends.pytorch.axes import Axes, MixedAxes, features, regroup
from neurocompile.frontends.pytorch.neurons import NEURONS, READOUTS, is_registered, lower_neuron, lower_readout
from neurocompile.frontends.pytorch.trace import run_node, trace_module
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import (
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Delay,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Op,
    Output,
    Pairs,
    Read,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)

__all__ = ["FUNCTIONS", "METHODS", "lower"]

# Above this many numbers a pooling with uneven windows is not written out as a matrix.
_LARGEST_MATRIX = 1 << 24


def lower(
    traced: fx.GraphModule,
    inputs: dict[str, torch.Tensor],
    axes: Axes,
    timesteps: int,
    *,
    loop: bool,
    read: Read | None,
    carries: str = "real",
) -> tuple[Graph, tuple[Axes, ...]]:
    """The graph of a traced, prepared module, and the axes of what its forward returns.

    Args:
        traced: from :func:`neurocompile.frontends.pytorch.trace.trace_module`.
        inputs: a float64 example for each argument of forward.
        axes: the names of the axes of every input.
        timesteps: the number of steps T.
        loop: whether forward computes one step and is called T times.
        read: how outputs that still have time are read; None for the mean.
        carries: "real", or "spikes" if the inputs are 0 or 1.

    Raises:
        UnsupportedModel: with everything in the model that cannot be lowered exactly.
    """
    build = _Build(timesteps)
    values = []
    for name, tensor in inputs.items():
        shape = features(axes, tensor.shape)
        build.emit(name, Input(shape, "spikes" if carries == "spikes" else "real"))
        values.append(_Value(name, axes, tensor))
    results = _Lowering(build, traced, "", loop).run(values)
    if not build.problems:
        for number, result in enumerate(_flat(results)):
            _emit_output(build, result, "output" if number == 0 else f"output.{number + 1}", read)
    if build.problems:
        raise UnsupportedModel(build.problems)
    return Graph(build.nodes.values()), tuple(value.axes for value in _flat(results))


@dataclass(frozen=True)
class _Value:
    """A tensor of the traced graph: its node, the names of its axes, its value on the example.

    ``read`` is set once time was taken out of it: the node still emits a value each step, to be read so.
    """

    node: str
    axes: Axes
    example: Any
    read: Read | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.example.shape)

    @property
    def features(self) -> tuple[int, ...]:
        return features(self.axes, self.shape)


class _Unknown:
    """The result of something that was reported already."""


class _Refused(Exception):
    """Something that this operation, used so, cannot be lowered for."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


class _Build:
    """The nodes so far, and the problems so far."""

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps
        self.nodes: dict[str, Node] = {}
        self.problems: list[Problem] = []
        self.stateful: set[str] = set()

    def emit(self, stem: str, op: Op, *inputs: str) -> str:
        name, number = stem, 2
        while name in self.nodes:
            name, number = f"{stem}.{number}", number + 1
        self.nodes[name] = Node(name, op, inputs)
        return name


def _flat(results: Any) -> list[Any]:
    if isinstance(results, tuple | list):
        return [leaf for item in results for leaf in _flat(item)]
    if isinstance(results, dict):
        return [leaf for item in results.values() for leaf in _flat(item)]
    return [results]


def _emit_output(build: _Build, value: Any, name: str, read: Read | None) -> None:
    if not isinstance(value, _Value):
        build.problems.append(Problem("forward returns something that is not computed from its input", name))
        return
    node = value.node
    if not isinstance(build.nodes[node].op, Integrator):
        node = build.emit(f"{name}.integrator", Integrator(), node)
    build.emit(name, Output(value.read or read or "mean"), node)


class _Lowering:
    """One traced module; containers are lowered by a lowering of their own for what they hold."""

    def __init__(self, build: _Build, traced: fx.GraphModule, prefix: str, loop: bool) -> None:
        self.build = build
        self.traced = traced
        self.prefix = prefix
        self.loop = loop
        self.where = ""
        self.result: Any = None

    # -- walking -------------------------------------------------------------------------------------------------------

    def run(self, inputs: Sequence[_Value]) -> Any:
        values: dict[fx.Node, Any] = {}
        given = iter(inputs)
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(given)
                continue
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            if node.op == "output":
                return args[0]
            values[node] = self._node(node, args, kwargs)
        raise AssertionError("a torch.fx graph without an output")

    def _node(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        self.where = self.prefix + (str(node.target) if node.op == "call_module" else node.name)
        module = self.traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        handler = self._handler(node, module)
        flat = _flat((list(args), kwargs))
        if any(isinstance(value, _Unknown) for value in flat):
            if handler is None:
                self._report(node, module, _unsupported(node, module))
            return _Unknown()
        try:
            self.result = run_node(self.traced, node, *_examples((args, kwargs)))
        except BadInput as error:
            self.build.problems += error.problems
            return _Unknown()
        if not any(isinstance(value, _Value) for value in flat):
            return self.result
        if node.op == "call_function" and node.target is getattr and args[1] in ("shape", "ndim", "dtype", "device"):
            return self.result
        try:
            if handler is None:
                raise _unsupported(node, module)
            return handler(self, *args, **kwargs) if module is None else handler(self, module, *args, **kwargs)
        except (_Refused, MixedAxes) as error:
            self._report(node, module, error if isinstance(error, _Refused) else _Refused(str(error), _FIX_MIXED))
        except NeurocompileError as error:
            self.build.problems += [replace(p, where=self._place(node, module)) for p in error.problems]
        return self._stand_in(flat)

    def _handler(self, node: fx.Node, module: nn.Module | None) -> Callable[..., Any] | None:
        if module is not None:
            if is_registered(module):
                return _spiking_neuron
            return next(
                (_MODULES[kind] for kind in type(module).__mro__ if kind in _MODULES and _plain(module, kind)), None
            )
        if node.op == "call_method":
            return METHODS.get(str(node.target))
        return FUNCTIONS.get(node.target)  # type: ignore[arg-type]

    def _place(self, node: fx.Node, module: nn.Module | None) -> str:
        return f"{self.where} ({type(module).__name__})" if module is not None else self.where

    def _report(self, node: fx.Node, module: nn.Module | None, error: _Refused) -> None:
        self.build.problems.append(Problem(error.what, self._place(node, module), fix=error.fix))

    def _stand_in(self, flat: list[Any]) -> Any:
        """A made-up value after something unsupported, so that what comes after it is checked too."""
        value = next(v for v in flat if isinstance(v, _Value))
        if not isinstance(self.result, torch.Tensor) or self.result.ndim != len(value.axes):
            return _Unknown()
        shape = features(value.axes, self.result.shape)
        return _Value(self.build.emit(f"{self.where}.unsupported", Input(shape)), value.axes, self.result, value.read)

    # -- emitting ------------------------------------------------------------------------------------------------------

    def emit(self, op: Op, *inputs: str, part: str = "") -> str:
        return self.build.emit(f"{self.where}.{part}" if part else self.where, op, *inputs)

    def out(self, node: str, axes: Axes, read: Read | None = None) -> _Value:
        return _Value(node, axes, self.result, read)

    def settled(self, x: _Value, module: Any = None) -> _Value:
        """The value as a layer sees it: axes of size one have become features, or the one step of T = 1."""
        axes = list(x.axes)
        if axes[0] == "1" and "N" in axes and "T" not in axes and self.build.timesteps == 1 and not self.loop:
            axes[0] = "T"
        settled = tuple("F" if name == "1" else name for name in axes)
        if settled == x.axes:
            return x
        value = replace(x, axes=settled)
        if value.features == x.features:
            return value
        return replace(value, node=self.emit(Reshape(value.features), x.node, part="reshape"))

    def layer_input(self, x: _Value, module: Any, rank: int | None = None, any_lead: bool = False) -> _Value:
        """Check that a layer's leading axes are what it takes for batch (and time), the rest its features."""
        x = self.settled(x)
        lead = 2 if getattr(module, "step_mode", "s") == "m" else 1
        if any_lead:
            lead = len(x.axes) - len(x.features)
        elif lead == 2 and x.axes[:2] != ("T", "N"):
            raise _Refused(
                f"a multi-step layer reads axes {_shown(x.axes)}", 'give it [T, N, ...], or set step_mode="s"'
            )
        if x.axes[lead:] != ("F",) * (len(x.axes) - lead) or any(name == "F" for name in x.axes[:lead]):
            raise _Refused(f"it reads axes {_shown(x.axes)}", "time and batch must come before the channels here")
        if rank is not None and len(x.features) != rank:
            raise _Refused(f"it reads a layer of shape {list(x.features)}, where {rank} axes are supported")
        return x

    def affine(self, x: _Value, op: Any, *, bias: Any = None, **fields: Any) -> str:
        """Emit an operation with a bias, which a sum over time (taken later) counts T times: so a T-th of it."""
        if x.read in ("max", "max-abs"):
            raise _Refused(f"a layer after the {x.read} over time cannot be moved before it", "read the maximum last")
        if bias is not None and x.read == "sum":
            bias = bias / self.build.timesteps
        return self.emit(op(**fields, **({} if bias is None else {"shift" if op is Scale else "bias": bias})), x.node)

    def scaled(self, x: _Value, scale: Any = 1.0, shift: Any = None) -> _Value:
        scale = np.asarray(scale, np.float64)
        shift = None if shift is None else np.asarray(shift, np.float64)
        return self.out(self.affine(x, Scale, bias=shift, scale=scale), x.axes, x.read)


_FIX_MIXED = "keep time and batch apart from the features: reshape only one of them at a time"


def _shown(axes: Axes) -> str:
    return "[" + ", ".join({"F": "feature"}.get(name, name) for name in axes) + "]"


def _examples(args: Any) -> Any:
    """The same arguments with each value replaced by its example."""
    if isinstance(args, _Value):
        return args.example
    if isinstance(args, tuple | list):
        return type(args)(_examples(item) for item in args)
    if isinstance(args, dict):
        return {key: _examples(item) for key, item in args.items()}
    if isinstance(args, slice):
        return slice(*map(_examples, (args.start, args.stop, args.step)))
    return args


def _unsupported(node: fx.Node, module: nn.Module | None) -> _Refused:
    if module is None:
        name = node.target if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
        return _Refused(f"{name} is not supported", "see the table of supported operations in the README")
    bases = [kind.__name__ for kind in (*NEURONS, *READOUTS) if isinstance(module, kind)]
    if bases or hasattr(module, "surrogate_function"):
        derived = f", which derives from {bases[0]}," if bases else ""
        what = f"the neuron {type(module).__name__}{derived} may compute something of its own"
        return _Refused(what, "give its equation with the decorator neurocompile.neuron")
    return _Refused(f"{type(module).__name__} is not supported", "replace it, or leave it outside the exported model")


def _plain(module: nn.Module, kind: type) -> bool:
    """Whether a module computes what ``kind`` does: it is one, or SpikingJelly's wrapper directly around one."""
    cls = type(module)
    return cls is kind or (cls.__mro__[1] is kind and cls.__module__.startswith("spikingjelly.activation_based.layer"))


def _array(tensor: torch.Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().double().numpy()


def _tuple(value: Any, rank: int) -> tuple[int, ...]:
    return (int(value),) * rank if isinstance(value, int) else tuple(int(v) for v in value)


# -- layers with weights -----------------------------------------------------------------------------------------------


def _linear(low: _Lowering, module: Any, x: _Value) -> _Value:
    x = low.layer_input(x, module, rank=1, any_lead=True)
    return low.out(low.affine(x, Linear, weight=_array(module.weight), bias=_array(module.bias)), x.axes, x.read)


def _conv_fields(module: Any, rank: int) -> dict[str, Any]:
    if getattr(module, "padding_mode", "zeros") != "zeros":
        raise _Refused(f"padding_mode {module.padding_mode!r} is not supported", "train with zero padding")
    bias = _array(module.bias)
    return {
        "weight": _array(module.weight),
        "bias": None if bias is None else bias.reshape(-1, *(1,) * rank),
        "stride": _tuple(module.stride, rank),
        "dilation": _tuple(module.dilation, rank),
        "groups": module.groups,
    }


def _conv(low: _Lowering, module: Any, x: _Value) -> _Value:
    rank = module.weight.ndim - 2
    x = low.layer_input(x, module, rank=rank + 1)
    fields = _conv_fields(module, rank)
    padding = _padding(module.padding, module.weight.shape[2:], fields["dilation"])
    return low.out(low.affine(x, Conv, **fields, padding=padding), x.axes, x.read)


def _conv_transpose(low: _Lowering, module: Any, x: _Value) -> _Value:
    rank = module.weight.ndim - 2
    x = low.layer_input(x, module, rank=rank + 1)
    pads = {"padding": _tuple(module.padding, rank), "output_padding": _tuple(module.output_padding, rank)}
    return low.out(low.affine(x, ConvTranspose, **_conv_fields(module, rank), **pads), x.axes, x.read)


def _padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> Pairs:
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if padding == "valid":
        padding = 0
    return tuple((p, p) for p in _tuple(padding, len(kernel)))


def _batch_norm(low: _Lowering, module: Any, x: _Value) -> _Value:
    x = low.layer_input(x, module)
    inverse = 1.0 / np.sqrt(_array(module.running_var) + module.eps)
    scale = inverse if module.weight is None else _array(module.weight) * inverse
    shift = -_array(module.running_mean) * scale + (0.0 if module.bias is None else _array(module.bias))
    each = (-1, *(1,) * (len(x.features) - 1))
    return low.scaled(x, scale.reshape(each), shift.reshape(each))


def _tdbn(low: _Lowering, module: Any, x: _Value) -> _Value:
    """Threshold-dependent batch norm: its weight was initialised with alpha * V_th, which is therefore in it already."""
    return _batch_norm(low, module, x)


# -- pooling and upsampling --------------------------------------------------------------------------------------------


def _pool_sizes(low: _Lowering, module: Any, x: _Value) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    rank = len(x.features) - 1
    kernel = _tuple(module.kernel_size, rank)
    stride = kernel if module.stride is None else _tuple(module.stride, rank)
    return kernel, stride, _tuple(module.padding, rank)


def _after(size: int, out: int, span: int, stride: int, padding: int) -> int:
    """Padding at the far end, so that the last of ``out`` windows fits (more than ``padding`` in ceil mode)."""
    return max((out - 1) * stride + span - size - padding, 0)


def _avg_pool(low: _Lowering, module: Any, x: _Value) -> _Value:
    x = low.layer_input(x, module)
    kernel, stride, padding = _pool_sizes(low, module, x)
    sizes, outs = x.features[1:], tuple(low.result.shape[-len(kernel) :])
    pads = tuple((p, _after(n, o, k, s, p)) for n, o, k, s, p in zip(sizes, outs, kernel, stride, padding))
    if x.read is not None:
        raise _Refused("pooling after time was taken out is not supported", "pool before the mean over time")
    y = low.emit(SumPool(kernel, stride, pads), x.node, part="sum")
    divisor = np.ones(())
    for n, o, k, s, p in zip(sizes, outs, kernel, stride, padding):
        first = np.arange(o) * s - p
        low_end, high_end = (-p, n + p) if module.count_include_pad else (0, n)
        divisor = divisor[..., None] * (np.minimum(first + k, high_end) - np.maximum(first, low_end))
    if getattr(module, "divisor_override", None):
        divisor = np.full_like(divisor, module.divisor_override)
    divisor = divisor.flat[0] if np.all(divisor == divisor.flat[0]) else divisor[None]
    return low.scaled(replace(x, node=y), 1.0 / divisor)


def _max_pool(low: _Lowering, module: Any, x: _Value) -> _Value:
    x = low.layer_input(x, module)
    kernel, stride, padding = _pool_sizes(low, module, x)
    dilation = _tuple(module.dilation, len(kernel))
    if module.return_indices or x.read is not None:
        raise _Refused("max-pooling with indices, or after time was taken out, is not supported")
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    outs = low.result.shape[-len(kernel) :]
    pads = tuple((p, _after(n, o, k, s, p)) for n, o, k, s, p in zip(x.features[1:], outs, spans, stride, padding))
    return low.out(low.emit(MaxPool(kernel, stride, pads, dilation), x.node), x.axes)


def _adaptive_avg_pool(low: _Lowering, module: Any, x: _Value) -> _Value:
    x = low.layer_input(x, module)
    channels, *sizes = x.features
    outs = tuple(low.result.shape[-len(sizes) :])
    if all(n % o == 0 for n, o in zip(sizes, outs)):
        kernel = tuple(n // o for n, o in zip(sizes, outs))
        y = low.emit(SumPool(kernel, kernel, ((0, 0),) * len(kernel)), x.node, part="sum")
        return low.scaled(replace(x, node=y), 1.0 / np.prod(kernel))
    matrix = np.ones((1, 1))
    for n, o in zip(sizes, outs):
        first = np.arange(o) * n // o
        last = -(-(np.arange(o) + 1) * n // o)
        inside = (np.arange(n) >= first[:, None]) & (np.arange(n) < last[:, None])
        matrix = np.kron(matrix, inside / inside.sum(1, keepdims=True))
    if channels**2 * matrix.size > _LARGEST_MATRIX:
        raise _Refused(
            f"uneven windows from {sizes} to {list(outs)} on {channels} channels", "pool to a size that divides"
        )
    weight = np.kron(np.eye(channels), matrix)
    y = low.emit(Reshape((weight.shape[1],)), x.node, part="flatten")
    y = low.emit(Linear(weight, stored=weight != 0), y)
    return low.out(low.emit(Reshape((channels, *outs)), y, part="unflatten"), x.axes, x.read)


def _upsample(low: _Lowering, module: Any, x: _Value) -> _Value:
    x = low.layer_input(x, module)
    if module.mode not in ("nearest", "nearest-exact"):
        raise _Refused(f"upsampling mode {module.mode!r} is not supported", 'use mode="nearest"')
    outs = low.result.shape[-(len(x.features) - 1) :]
    if any(o % n for n, o in zip(x.features[1:], outs)):
        raise _Refused(f"upsampling {list(x.features[1:])} to {list(outs)}", "use a whole factor")
    factors = tuple(int(o // n) for n, o in zip(x.features[1:], outs))
    return low.out(low.emit(Upsample(factors), x.node), x.axes, x.read)


def _voting(low: _Lowering, module: Any, x: _Value) -> _Value:
    x = low.layer_input(x, module, rank=1)
    (size,), votes = x.features, module.voting_size
    y = low.emit(Reshape((1, size)), x.node, part="reshape")
    y = low.emit(SumPool((votes,), (votes,), ((0, 0),)), y, part="sum")
    y = low.emit(Reshape((size // votes,)), y, part="flatten")
    return low.scaled(replace(x, node=y), 1.0 / votes)


# -- neurons -----------------------------------------------------------------------------------------------------------


def _check_time(low: _Lowering, module: Any, x: _Value) -> None:
    if x.read is not None:
        raise _Refused("a neuron after time was taken out", "let the neuron run over time, and take the mean last")
    multi_step = getattr(module, "step_mode", "m" if "T" in x.axes else "s") == "m"
    if multi_step and x.axes[:2] != ("T", "N"):
        raise _Refused(f"a multi-step neuron reads axes {_shown(x.axes)}", "give it [T, N, ...]")
    if not multi_step and (not low.loop or x.axes[0] != "N"):
        what = f"a single-step neuron reads axes {_shown(x.axes)}: it would take them for one step"
        raise _Refused(what, 'set step_mode="m", or export with --layout loop')
    if low.where in low.build.stateful:
        raise _Refused("a neuron that is called more than once would share its state", "give each place its own neuron")
    low.build.stateful.add(low.where)


def _spiking_neuron(low: _Lowering, module: Any, x: _Value) -> _Value:
    x = low.settled(x)
    _check_time(low, module, x)
    op: Neuron = lower_neuron(module, x.features, low.where)
    return low.out(low.emit(op, x.node), x.axes)


def _readout(low: _Lowering, module: Any, x: _Value) -> _Value:
    x = low.settled(x)
    if x.axes[:2] != ("T", "N") or x.read is not None:
        raise _Refused(f"it reads axes {_shown(x.axes)}", "give it [T, N, ...]")
    op, read = lower_readout(module)
    node = low.emit(op, x.node)
    if read == "sequence":  # a list of one membrane a step
        low.result = torch.stack(low.result)
        return low.out(node, x.axes)
    return low.out(node, x.axes[1:], read)


# -- SpikingJelly's containers -----------------------------------------------------------------------------------------


def _inside(low: _Lowering, module: nn.Module, path: str, values: Sequence[_Value], loop: bool) -> _Value:
    """Lower a module that a container holds, as if it were a model of its own, under its path."""
    traced = trace_module(module, tuple(value.example for value in values))
    prefix = f"{low.prefix}{path}." if path else low.prefix
    result = _Lowering(low.build, traced, prefix, loop).run(values)
    if not isinstance(result, _Value):
        raise _Refused("what it holds cannot be lowered (see the other messages)")
    return result


def _path(low: _Lowering) -> str:
    return low.where.removeprefix(low.prefix)


def _one_step(low: _Lowering, x: _Value, time: int) -> _Value:
    if x.axes[time] != "T" or x.read is not None:
        raise _Refused(f"it reads axes {_shown(x.axes)}", f"its axis {time} must be time")
    axes = tuple(name for i, name in enumerate(x.axes) if i != time % len(x.axes))
    return replace(x, axes=axes, example=x.example.select(time, 0))


def _sequential(module: Any) -> nn.Sequential:
    held = nn.Sequential()
    for name, child in module.named_children():
        held.add_module(name, child)
    return held


def _multi_step(low: _Lowering, module: Any, x: _Value, time: int = 0) -> _Value:
    x = low.settled(x)
    result = low.result
    y = _inside(low, _sequential(module), _path(low), [_one_step(low, x, time)], loop=True)
    low.result = result
    axes = ("T", *y.axes) if time == 0 else (*y.axes, "T")
    return low.out(y.node, axes)


def _seq_to_ann(low: _Lowering, module: Any, x: _Value) -> _Value:
    x = low.settled(x)
    if x.axes[:2] != ("T", "N"):
        raise _Refused(f"it reads axes {_shown(x.axes)}", "give it [T, N, ...]")
    folded = replace(x, axes=("TN", *x.axes[2:]), example=x.example.flatten(0, 1))
    result = low.result
    y = _inside(low, _sequential(module), _path(low), [folded], loop=False)
    low.result = result
    return low.out(y.node, ("T", "N", *y.axes[1:]), x.read)


def _t_last(low: _Lowering, module: Any, x: _Value) -> _Value:
    return _multi_step(low, module, x, time=-1)


def _step_mode_container(low: _Lowering, module: Any, x: _Value) -> _Value:
    if module.step_mode == "m":
        return _multi_step(low, module, x) if module.stateful else _seq_to_ann(low, module, x)
    return _inside(low, _sequential(module), _path(low), [low.settled(x)], low.loop)


class _Merge(nn.Module):
    """An element-wise function as a module, to be traced."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, y: torch.Tensor, x: torch.Tensor) -> Any:
        return self.function(y, x)


def _recurrent(low: _Lowering, module: Any, x: _Value) -> _Value:
    """y[t] = sub_module(merge(x[t], y[t - 1])), with y[-1] = 0."""
    x, result, where, path = low.settled(x), low.result, low.where, _path(low)
    multi_step = module.step_mode == "m"
    if not multi_step and not low.loop:
        raise _Refused(
            "a single-step container in a multi-step model", 'set step_mode="m", or export with --layout loop'
        )
    step = _one_step(low, x, 0) if multi_step else x
    element_wise = isinstance(module, sj_layer.ElementWiseRecurrentContainer)
    shape = step.features if element_wise else (module.sub_module_out_features,)
    if not element_wise and len(step.features) != 1:
        raise _Refused(f"its input has shape {list(step.features)}", "flatten it to [N, features]")
    fed_back = f"{where}.y"
    last = replace(step, node=fed_back, example=torch.zeros(len(step.example), *shape, dtype=torch.float64))
    if element_wise:
        merged = _inside(low, _Merge(module.element_wise_function), f"{path}.element_wise_function", [last, step], True)
    else:
        both = low.build.emit(f"{where}.cat", Concat(0), step.node, fed_back)
        joined = replace(step, node=both, example=torch.cat((step.example, last.example), -1))
        merged = _inside(low, nn.Sequential().append(module.rc), f"{path}.rc", [joined], True)
    y = _inside(low, _named(module.sub_module), f"{path}", [merged], True)
    low.build.emit(fed_back, Delay(shape), y.node)
    low.where, low.result = where, result
    return low.out(y.node, ("T", *y.axes) if multi_step else y.axes)


def _named(sub_module: nn.Module) -> nn.Module:
    held = nn.Sequential()
    held.add_module("sub_module", sub_module)
    return held


# -- shapes ------------------------------------------------------------------------------------------------------------


def _identity(low: _Lowering, x: _Value, *args: Any, **kwargs: Any) -> _Value:
    return x


def _identity_module(low: _Lowering, module: Any, x: _Value) -> _Value:
    return x


def _reshaped(low: _Lowering, x: _Value) -> _Value:
    """Any row-major reshape, told from the shapes before and after."""
    shape = tuple(low.result.shape)
    axes = regroup(x.axes, x.shape, shape, low.build.timesteps)
    to = features(axes, shape)
    return low.out(x.node if to == x.features else low.emit(Reshape(to), x.node), axes, x.read)


def _reshape_module(low: _Lowering, module: Any, x: _Value) -> _Value:
    return _reshaped(low, low.settled(x))


def _reshape_call(low: _Lowering, x: _Value, *args: Any, **kwargs: Any) -> _Value:
    return _reshaped(low, x)


def _permute(low: _Lowering, x: _Value, *dims: Any, **kwargs: Any) -> _Value:
    order = dims[0] if dims and isinstance(dims[0], tuple | list) else dims or kwargs["dims"]
    return _reordered(low, x, [d % len(x.axes) for d in order])


def _transpose(low: _Lowering, x: _Value, dim0: int, dim1: int) -> _Value:
    order = list(range(len(x.axes)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return _reordered(low, x, order)


def _movedim(low: _Lowering, x: _Value, source: int, destination: int) -> _Value:
    order = list(range(len(x.axes)))
    axis = order.pop(source)
    order.insert(destination % len(x.axes), axis)
    return _reordered(low, x, order)


def _reordered(low: _Lowering, x: _Value, order: Sequence[int]) -> _Value:
    kept = [i for i in order if x.axes[i] == "F"]
    if kept != sorted(kept) and any(x.shape[i] != 1 for i in kept):
        raise _Refused("it exchanges feature axes", "only time and batch may change places")
    return low.out(x.node, tuple(x.axes[i] for i in order), x.read)


def _repeat(low: _Lowering, x: _Value, *sizes: Any) -> _Value:
    """repeat and expand where they make the time axis out of one of size one."""
    new = len(low.result.shape) - len(x.axes)
    axes = ["1"] * new + list(x.axes)
    before = [1] * new + list(x.shape)
    for i, (old, size) in enumerate(zip(before, low.result.shape)):
        if size == old:
            continue
        if axes[i] == "1" and size == low.build.timesteps and "T" not in axes and not low.loop:
            axes[i] = "T"
        else:
            raise _Refused(f"it repeats axis {i} {size // old} times", "only a time axis may be made by repeating")
    if low.build.timesteps == 1 and axes[0] == "1" and not low.loop:
        axes[0] = "T"
    return low.out(x.node, tuple(axes), x.read)


def _stack(low: _Lowering, values: Any, dim: int = 0) -> _Value:
    if isinstance(values, _Value):  # the list of membranes of a non-spiking node
        return low.out(values.node, values.axes, values.read)
    same = all(isinstance(v, _Value) and v.node == values[0].node for v in values)
    if not same or len(values) != low.build.timesteps or "T" in values[0].axes or low.loop:
        raise _Refused("it stacks different tensors", "only one tensor may be stacked T times, to make the time axis")
    axes = list(values[0].axes)
    axes.insert(dim % (len(axes) + 1), "T")
    return low.out(values[0].node, tuple(axes))


def _cat(low: _Lowering, tensors: Sequence[Any], dim: int = 0, axis: int | None = None) -> _Value:
    values = [low.settled(value) for value in tensors if isinstance(value, _Value)]
    if len(values) != len(tensors) or any(v.axes != values[0].axes or v.read != values[0].read for v in values):
        raise _Refused("it concatenates values with different axes", "bring them all to [T, N, ...] first")
    at = (dim if axis is None else axis) % len(values[0].axes)
    if values[0].axes[at] != "F":
        raise _Refused(f"it concatenates along {values[0].axes[at]}", "only feature axes can be concatenated")
    feature = values[0].axes[:at].count("F")
    return low.out(low.emit(Concat(feature), *(v.node for v in values)), values[0].axes, values[0].read)


# -- arithmetic and time -----------------------------------------------------------------------------------------------


def _constant(low: _Lowering, x: _Value, other: Any) -> Any:
    """A number, or a tensor that broadcasts over the features alone, as an array for a Scale."""
    if not isinstance(other, torch.Tensor):
        return float(other)
    lead = len(x.axes) - len(x.features)
    shape = (1,) * (len(x.axes) - other.ndim) + tuple(other.shape)
    if other.ndim > len(x.axes) or any(size != 1 for size in shape[:lead]) or "F" in x.axes[:lead]:
        raise _Refused(
            f"a constant of shape {list(other.shape)} varies over time or batch", "let it vary over features only"
        )
    return _array(other).reshape(shape[lead:])


def _add(low: _Lowering, a: Any, b: Any, alpha: float = 1) -> _Value:
    if not isinstance(a, _Value):
        if alpha != 1:
            b = low.scaled(replace(low.settled(b), example=b.example), alpha)
        a, b, alpha = b, a, 1
    a = low.settled(a)
    if not isinstance(b, _Value):
        return low.scaled(a, 1.0, np.multiply(alpha, _constant(low, a, b)))
    b = low.settled(b)
    longer, shorter = (a, b) if len(a.axes) >= len(b.axes) else (b, a)
    constant_in_time = longer.axes == ("T", *shorter.axes) and not low.loop
    if a.features != b.features or a.read != b.read or (a.axes != b.axes and not constant_in_time):
        shapes = f"{_shown(a.axes)} of {list(a.features)} and {_shown(b.axes)} of {list(b.features)}"
        raise _Refused(f"it adds {shapes}", "both sides must have the same shape")
    right = b.node if alpha == 1 else low.emit(Scale(np.asarray(float(alpha))), b.node, part="scale")
    return low.out(low.emit(Add(), a.node, right), longer.axes, a.read)


def _sub(low: _Lowering, a: Any, b: Any, alpha: float = 1) -> _Value:
    if isinstance(a, _Value):
        return _add(low, a, b, alpha=-alpha)
    return low.scaled(low.settled(b), -alpha, _constant(low, b, a))


def _mul(low: _Lowering, a: Any, b: Any) -> _Value:
    if not isinstance(a, _Value):
        a, b = b, a
    if isinstance(b, _Value):
        raise _Refused("it multiplies two values of the network", "only a constant may be multiplied")
    a = low.settled(a)
    return low.scaled(a, _constant(low, a, b))


def _div(low: _Lowering, a: Any, b: Any) -> _Value:
    if not isinstance(a, _Value) or isinstance(b, _Value):
        raise _Refused("it divides by a value of the network", "only a constant may divide")
    a = low.settled(a)
    return low.scaled(a, 1.0 / np.asarray(_constant(low, a, b)))


def _neg(low: _Lowering, x: _Value) -> _Value:
    return low.scaled(low.settled(x), -1.0)


def _over(low: _Lowering, x: _Value, dim: Any, keepdim: bool, mean: bool) -> _Value:
    """mean or sum over time, over all places of each channel, or both."""
    if dim is None:
        raise _Refused("it takes everything together, the batch too", "name the axes: dim=0 for time")
    dims = {d % len(x.axes) for d in ([dim] if isinstance(dim, int) else dim)}
    names = {x.axes[d] for d in dims}
    places = [d for d in dims if x.axes[d] == "F"]
    feature_axes = [d for d, name in enumerate(x.axes) if name == "F"]
    if not names <= {"T", "F"} or (keepdim and "T" in names) or (places and sorted(places) != feature_axes[1:]):
        what = f"a mean or sum over axes {_shown(tuple(x.axes[d] for d in sorted(dims)))}"
        raise _Refused(what, "time, or all axes after the channels, can be taken together")
    read, node = x.read, x.node
    if places:
        if read is not None:
            raise _Refused("pooling after time was taken out is not supported", "pool before the mean over time")
        kernel = x.features[1:]
        node = low.emit(SumPool(kernel, kernel, ((0, 0),) * len(kernel)), node, part="sum")
        node = low.emit(Reshape((x.features[0],)), node, part="flatten")
        if mean:
            node = low.emit(Scale(np.asarray(1.0 / np.prod(kernel))), node, part="mean")
    if "T" in names:
        read = "mean" if mean else "sum"
    axes = tuple("1" if d in dims else name for d, name in enumerate(x.axes) if keepdim or d not in dims)
    return low.out(node, axes, read)


def _mean(low: _Lowering, x: _Value, *dims: int, dim: Any = None, keepdim: bool = False, **_: Any) -> _Value:
    return _over(low, x, _dims(dims, dim), keepdim, mean=True)


def _sum(low: _Lowering, x: _Value, *dims: int, dim: Any = None, keepdim: bool = False, **_: Any) -> _Value:
    return _over(low, x, _dims(dims, dim), keepdim, mean=False)


def _dims(dims: tuple[Any, ...], dim: Any) -> Any:
    if dims and isinstance(dims[-1], bool):
        raise _Refused("keepdim given by position", "give keepdim by name")
    if not dims:
        return dim
    return dims[0] if len(dims) == 1 else dims


def _getitem(low: _Lowering, x: _Value, index: Any) -> _Value:
    first = index[0] if isinstance(index, tuple) else index
    rest = index[1:] if isinstance(index, tuple) else ()
    last = isinstance(first, int) and first in (-1, low.build.timesteps - 1)
    if not last or x.axes[0] != "T" or x.read is not None or any(r != slice(None) for r in rest):
        raise _Refused(f"it takes the part {index} of a tensor", "only the last step, [-1], can be taken")
    return low.out(x.node, x.axes[1:], "last")


# -- the functional spellings ------------------------------------------------------------------------------------------


# -- the functional spellings: the same handlers, with the arguments under the names that the modules have -------------


def _f_linear(low: _Lowering, input: _Value, weight: Any, bias: Any = None) -> _Value:
    return _linear(low, SimpleNamespace(weight=weight, bias=bias), input)


def _f_conv(
    low: _Lowering, input: _Value, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> _Value:  # fmt: skip
    settings = SimpleNamespace(
        weight=weight, bias=bias, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return _conv(low, settings, input)


def _f_conv_transpose(
    low: _Lowering, input: _Value, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> _Value:  # fmt: skip
    settings = SimpleNamespace(
        weight=weight, bias=bias, stride=stride, padding=padding, output_padding=output_padding, dilation=dilation,
        groups=groups,
    )  # fmt: skip
    return _conv_transpose(low, settings, input)


def _f_batch_norm(
    low: _Lowering, input: _Value, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> _Value:  # fmt: skip
    if training:
        raise _Refused("batch_norm with training=True uses the statistics of the batch", "pass training=self.training")
    settings = SimpleNamespace(running_mean=running_mean, running_var=running_var, weight=weight, bias=bias, eps=eps)
    return _batch_norm(low, settings, input)


def _f_avg_pool(
    low: _Lowering, input: _Value, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: Any = None,
) -> _Value:  # fmt: skip
    settings = SimpleNamespace(
        kernel_size=kernel_size, stride=stride or None, padding=padding, count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )  # fmt: skip
    return _avg_pool(low, settings, input)


def _f_max_pool(
    low: _Lowering, input: _Value, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> _Value:  # fmt: skip
    settings = SimpleNamespace(
        kernel_size=kernel_size,
        stride=stride or None,
        padding=padding,
        dilation=dilation,
        return_indices=return_indices,
    )
    return _max_pool(low, settings, input)


def _f_adaptive_avg_pool(low: _Lowering, input: _Value, output_size: Any) -> _Value:
    return _adaptive_avg_pool(low, SimpleNamespace(), input)


def _f_interpolate(
    low: _Lowering, input: _Value, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *_: Any, **__: Any
) -> _Value:
    return _upsample(low, SimpleNamespace(mode=mode), input)


def _f_dropout(low: _Lowering, input: _Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> _Value:
    if training and p:
        raise _Refused("dropout with training=True is random", "pass training=self.training")
    return input


_MODULES: dict[type, Callable[..., _Value]] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.ConvTranspose1d: _conv_transpose,
    nn.ConvTranspose2d: _conv_transpose,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    sj_layer.ThresholdDependentBatchNorm1d: _tdbn,
    sj_layer.ThresholdDependentBatchNorm2d: _tdbn,
    sj_layer.ThresholdDependentBatchNorm3d: _tdbn,
    nn.AvgPool1d: _avg_pool,
    nn.AvgPool2d: _avg_pool,
    nn.MaxPool1d: _max_pool,
    nn.MaxPool2d: _max_pool,
    nn.AdaptiveAvgPool1d: _adaptive_avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive_avg_pool,
    nn.Upsample: _upsample,
    nn.UpsamplingNearest2d: _upsample,
    sj_layer.VotingLayer: _voting,
    nn.Flatten: _reshape_module,
    nn.Unflatten: _reshape_module,
    nn.Identity: _identity_module,
    nn.Dropout: _identity_module,
    nn.Dropout1d: _identity_module,
    nn.Dropout2d: _identity_module,
    nn.AlphaDropout: _identity_module,
    sj_layer.Dropout: _identity_module,
    sj_layer.Dropout2d: _identity_module,
    sj_layer.MultiStepContainer: _multi_step,
    sj_layer.SeqToANNContainer: _seq_to_ann,
    sj_layer.TLastMultiStepContainer: _t_last,
    sj_layer.TLastSeqToANNContainer: _t_last,
    sj_layer.StepModeContainer: _step_mode_container,
    sj_layer.ElementWiseRecurrentContainer: _recurrent,
    sj_layer.LinearRecurrentContainer: _recurrent,
    **dict.fromkeys(NEURONS, _spiking_neuron),
    **dict.fromkeys(READOUTS, _readout),
}

FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.linear: _f_linear,
    F.conv1d: _f_conv,
    F.conv2d: _f_conv,
    F.conv_transpose1d: _f_conv_transpose,
    F.conv_transpose2d: _f_conv_transpose,
    F.batch_norm: _f_batch_norm,
    F.avg_pool1d: _f_avg_pool,
    F.avg_pool2d: _f_avg_pool,
    F.max_pool1d: _f_max_pool,
    F.max_pool2d: _f_max_pool,
    torch.max_pool1d: _f_max_pool,
    torch.max_pool2d: _f_max_pool,
    F.adaptive_avg_pool1d: _f_adaptive_avg_pool,
    F.adaptive_avg_pool2d: _f_adaptive_avg_pool,
    F.interpolate: _f_interpolate,
    F.upsample: _f_interpolate,
    F.dropout: _f_dropout,
    F.dropout2d: _f_dropout,
    torch.flatten: _reshape_call,
    torch.reshape: _reshape_call,
    torch.unsqueeze: _reshape_call,
    torch.squeeze: _reshape_call,
    torch.unflatten: _reshape_call,
    torch.permute: _permute,
    torch.transpose: _transpose,
    torch.movedim: _movedim,
    torch.cat: _cat,
    torch.concat: _cat,
    torch.stack: _stack,
    torch.add: _add,
    operator.add: _add,
    operator.iadd: _add,
    torch.sub: _sub,
    operator.sub: _sub,
    operator.isub: _sub,
    torch.mul: _mul,
    operator.mul: _mul,
    operator.imul: _mul,
    torch.div: _div,
    operator.truediv: _div,
    operator.itruediv: _div,
    operator.neg: _neg,
    torch.mean: _mean,
    torch.sum: _sum,
    operator.getitem: _getitem,
}

METHODS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        ("flatten", "reshape", "view", "unflatten", "squeeze", "unsqueeze", "squeeze_", "unsqueeze_"), _reshape_call
    ),
    **dict.fromkeys(("contiguous", "clone", "detach", "float", "double", "to", "type_as", "cpu"), _identity),
    **dict.fromkeys(("size", "dim", "numel"), lambda low, *args, **kwargs: low.result),
    "permute": _permute,
    "transpose": _transpose,
    "movedim": _movedim,
    "repeat": _repeat,
    "expand": _repeat,
    "add": _add,
    "add_": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "mean": _mean,
    "sum": _sum,
}
