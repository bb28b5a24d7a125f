"""Layers and neurons: what each module means for one step of one sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from neurocompile.errors import BadInput, Problem
from neurocompile.frontends.pytorch.axes import LAYOUTS, Layout, axes_of, features, shown_layout
from neurocompile.frontends.pytorch.registration import check_equation
from neurocompile.frontends.pytorch.symbolic.lowering import Lowering, Refused, Value, array, shown, sizes_of
from neurocompile.frontends.pytorch.symbolic.neurons import (
    Recorded,
    is_registered,
    layout_of,
    lower_neuron,
    lower_readout,
)
from neurocompile.ir.ops import Conv, ConvTranspose, Linear, MaxPool, Pairs, Reshape, SumPool, Upsample

# Above this many numbers a pooling with uneven windows is not written out as a matrix.
_LARGEST_MATRIX = 1 << 24


# -- time among the axes that a layer slides over ----------------------------------------------------------------------


def _placed(low: Lowering, module: Any, x: Value, rank: int | None = None) -> tuple[Value, int | None]:
    """Check a layer's input; where time is among the axes behind the channels, if it is there.

    Published code computes all steps at once with layers of one axis more: [N, C, T, H, W] or [N, C, H, W, T].
    """
    x = low.settled(x)
    lead = 2 if getattr(module, "step_mode", "s") == "m" else 1
    time = next((i for i, name in enumerate(x.axes) if name == "T" and i > lead), None)
    if time is None:
        return low.layer_input(x, module, None if rank is None else rank + 1), None
    step = replace(x, axes=(*x.axes[:time], *x.axes[time + 1 :]), example=x.example.select(time, 0))
    low.layer_input(step, module, rank)
    return x, time - lead - 1


def _without_time(sizes: tuple[Any, ...], time: int | None, alone: Any, name: str, does: str) -> tuple[Any, ...]:
    """The sizes along the axes of places, where along time there is what computes each step ``alone``."""
    if time is None:
        return sizes
    if sizes[time] != alone:
        what = f"it {does} over time: its {name} is {sizes[time]} along the axis of time"
        raise Refused(what, f"let it be {alone} there, so that each step is computed alone")
    return (*sizes[:time], *sizes[time + 1 :])


# -- layers with weights -----------------------------------------------------------------------------------------------


def linear(low: Lowering, module: Any, x: Value) -> Value:
    """nn.Linear, with any axes before the features."""
    if low.settled(x).axes[-1] != "F":
        what = f"it reads axes {shown(x.axes)}: its weights would be of {x.axes[-1]}, the last one"
        raise Refused(what, "permute the features to the end before it, and back behind it")
    x = low.layer_input(x, module, rank=1, any_lead=True)
    return low.out(low.affine(x, Linear, weight=array(module.weight), bias=array(module.bias)), x.axes, x.read)


def _conv_fields(module: Any, time: int | None) -> dict[str, Any]:
    """The fields that a convolution and its transpose share, without the axis of time."""
    if getattr(module, "padding_mode", "zeros") != "zeros":
        raise Refused(f"padding_mode {module.padding_mode!r} is not supported", "train with zero padding")
    weight = array(module.weight)
    rank = weight.ndim - 2
    _without_time(tuple(weight.shape[2:]), time, 1, "kernel", "convolves")
    if time is not None:
        weight = weight.take(0, axis=2 + time)
    bias = array(module.bias)
    return {
        "weight": weight,
        "bias": None if bias is None else bias.reshape(-1, *(1,) * (weight.ndim - 2)),
        "stride": _without_time(sizes_of(module.stride, rank), time, 1, "stride", "convolves"),
        "dilation": _without_time(sizes_of(module.dilation, rank), time, 1, "dilation", "convolves"),
        "groups": module.groups,
    }


def _conv_input(low: Lowering, module: Any, x: Value) -> tuple[Value, int | None]:
    rank = module.weight.ndim - 2
    x, time = _placed(low, module, x, rank)
    places = rank if time is None else rank - 1
    if places not in (1, 2):
        what = f"it convolves over {places} axes of features, and reads {shown(x.axes)}"
        fix = "one or two axes can be convolved; of three, one must be time (see --layout)"
        if places == 0:
            fix = "use nn.Linear on features that were permuted to the end"
        raise Refused(what, fix)
    return x, time


def conv(low: Lowering, module: Any, x: Value) -> Value:
    """nn.Conv1d and Conv2d; Conv2d and Conv3d where one axis is time and each step is computed alone."""
    x, time = _conv_input(low, module, x)
    fields = _conv_fields(module, time)
    kernel = tuple(module.weight.shape[2:])
    padding = _padding(module.padding, kernel, sizes_of(module.dilation, len(kernel)))
    fields["padding"] = _without_time(padding, time, (0, 0), "padding", "convolves")
    return low.out(low.affine(x, Conv, **fields), x.axes, x.read)


def conv_transpose(low: Lowering, module: Any, x: Value) -> Value:
    """nn.ConvTranspose1d and ConvTranspose2d; 2d and 3d where one axis is time and each step is computed alone."""
    x, time = _conv_input(low, module, x)
    fields = _conv_fields(module, time)
    for name in ("padding", "output_padding"):
        sizes = sizes_of(getattr(module, name), module.weight.ndim - 2)
        fields[name] = _without_time(sizes, time, 0, name, "convolves")
    return low.out(low.affine(x, ConvTranspose, **fields), x.axes, x.read)


def _padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> Pairs:
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if padding == "valid":
        padding = 0
    return tuple((p, p) for p in sizes_of(padding, len(kernel)))


def batch_norm(low: Lowering, module: Any, x: Value) -> Value:
    """Batch norm in eval mode: a Scale by its running statistics; time may be among the axes behind the channels."""
    if module.running_mean is None:
        raise Refused("it keeps no running statistics", "train it with track_running_stats=True")
    x, _ = _placed(low, module, x)
    inverse = 1.0 / np.sqrt(array(module.running_var) + module.eps)
    scale = inverse if module.weight is None else array(module.weight) * inverse
    shift = -array(module.running_mean) * scale + (0.0 if module.bias is None else array(module.bias))
    each = (-1, *(1,) * (len(x.features) - 1))
    return low.scaled(x, scale.reshape(each), shift.reshape(each))


def tdbn(low: Lowering, module: Any, x: Value) -> Value:
    """Threshold-dependent batch norm: its weight was initialised with alpha * V_th and so has it in it."""
    return batch_norm(low, module, x)


# -- pooling and upsampling --------------------------------------------------------------------------------------------


def _pool_sizes(module: Any, x: Value, time: int | None) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Kernel, stride and padding along the axes of places."""
    rank = len(x.features) - 1 + (time is not None)
    kernel = sizes_of(module.kernel_size, rank)
    stride = kernel if module.stride is None else sizes_of(module.stride, rank)
    return (
        _without_time(kernel, time, 1, "kernel", "pools"),
        _without_time(stride, time, 1, "stride", "pools"),
        _without_time(sizes_of(module.padding, rank), time, 0, "padding", "pools"),
    )


def _after(size: int, out: int, span: int, stride: int, padding: int) -> int:
    """Padding at the far end, so that the last of ``out`` windows fits (more than ``padding`` in ceil mode)."""
    return max((out - 1) * stride + span - size - padding, 0)


def avg_pool(low: Lowering, module: Any, x: Value) -> Value:
    """nn.AvgPool1d, 2d, 3d: a sum, and a Scale by one over what each window counts."""
    x, time = _placed(low, module, x)
    kernel, stride, padding = _pool_sizes(module, x, time)
    sizes, outs = x.features[1:], features(x.axes, low.result.shape)[1:]
    pads = tuple((p, _after(n, o, k, s, p)) for n, o, k, s, p in zip(sizes, outs, kernel, stride, padding))
    if x.read is not None and low.build.step(x) is None:
        raise Refused("pooling after time was taken out is not supported", "pool before the mean over time")
    y = low.emit(SumPool(kernel, stride, pads), x.node, part="sum")
    divisor: Any = np.ones(())
    for n, o, k, s, p in zip(sizes, outs, kernel, stride, padding):
        first = np.arange(o) * s - p
        low_end, high_end = (-p, n + p) if module.count_include_pad else (0, n)
        divisor = divisor[..., None] * (np.minimum(first + k, high_end) - np.maximum(first, low_end))
    if getattr(module, "divisor_override", None):
        divisor = np.full_like(divisor, module.divisor_override)
    divisor = divisor.flat[0] if np.all(divisor == divisor.flat[0]) else divisor[None]
    return low.scaled(replace(x, node=y), 1.0 / divisor)


def max_pool(low: Lowering, module: Any, x: Value) -> Value:
    """nn.MaxPool1d, 2d, 3d."""
    x, time = _placed(low, module, x)
    kernel, stride, padding = _pool_sizes(module, x, time)
    dilation = sizes_of(module.dilation, len(kernel) + (time is not None))
    dilation = dilation if time is None else (*dilation[:time], *dilation[time + 1 :])
    if module.return_indices or (x.read is not None and low.build.step(x) is None):
        raise Refused("max-pooling with indices, or after time was taken out, is not supported")
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    outs = features(x.axes, low.result.shape)[1:]
    pads = tuple((p, _after(n, o, k, s, p)) for n, o, k, s, p in zip(x.features[1:], outs, spans, stride, padding))
    return low.out(low.emit(MaxPool(kernel, stride, pads, dilation), x.node), x.axes, x.read)


def adaptive_avg_pool(low: Lowering, module: Any, x: Value) -> Value:
    """nn.AdaptiveAvgPool1d, 2d, 3d: equal windows as a pool, whole factors up as copies, uneven windows as a matrix."""
    x, time = _placed(low, module, x)
    channels, *sizes = x.features
    if time is not None and low.result.shape[x.axes.index("T")] != low.build.timesteps:
        raise Refused("it pools over time", "let it keep all steps (None along time), and take the mean over time last")
    outs = features(x.axes, low.result.shape)[1:]
    if all(o % n == 0 for n, o in zip(sizes, outs)) and outs != tuple(sizes):
        factors = tuple(int(o // n) for n, o in zip(sizes, outs))
        return low.out(low.emit(Upsample(factors), x.node), x.axes, x.read)
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
        raise Refused(
            f"uneven windows from {sizes} to {list(outs)} on {channels} channels", "pool to a size that divides"
        )
    weight = np.kron(np.eye(channels), matrix)
    y = low.emit(Reshape((weight.shape[1],)), x.node, part="flatten")
    y = low.emit(Linear(weight, stored=weight != 0), y)
    return low.out(low.emit(Reshape((channels, *outs)), y, part="unflatten"), x.axes, x.read)


def upsample(low: Lowering, module: Any, x: Value) -> Value:
    """nn.Upsample, nearest, by whole factors."""
    x = low.layer_input(x, module)
    if module.mode not in ("nearest", "nearest-exact"):
        raise Refused(f"upsampling mode {module.mode!r} is not supported", 'use mode="nearest"')
    outs = low.result.shape[-(len(x.features) - 1) :]
    if any(o % n for n, o in zip(x.features[1:], outs)):
        raise Refused(f"upsampling {list(x.features[1:])} to {list(outs)}", "use a whole factor")
    factors = tuple(int(o // n) for n, o in zip(x.features[1:], outs))
    return low.out(low.emit(Upsample(factors), x.node), x.axes, x.read)


def voting(low: Lowering, module: Any, x: Value) -> Value:
    """SpikingJelly's VotingLayer: the mean of each class's voters."""
    x = low.layer_input(x, module, rank=1)
    (size,), votes = x.features, module.voting_size
    y = low.emit(Reshape((1, size)), x.node, part="reshape")
    y = low.emit(SumPool((votes,), (votes,), ((0, 0),)), y, part="sum")
    y = low.emit(Reshape((size // votes,)), y, part="flatten")
    return low.scaled(replace(x, node=y), 1.0 / votes)


# -- neurons -----------------------------------------------------------------------------------------------------------


def _in_loop(low: Lowering, x: Value) -> bool:
    """Whether a value is one step of many, as a loop over time in forward gives it."""
    same_everywhere = x.read is None and not {"T", "TN", "NT"} & set(x.axes) and not low.loop
    return same_everywhere or low.build.step(x) is not None


def _time_of(low: Lowering, module: Any, x: Value) -> Layout:
    """How a neuron takes time, checked against what it reads; "loop" for one step a call."""
    in_loop = _in_loop(low, x)
    if x.read is not None and not in_loop:
        raise Refused("a neuron after time was taken out", "let the neuron run over time, and take the mean last")
    layout = layout_of(module)
    if layout is None:
        multi_step = getattr(module, "step_mode", "m" if "T" in x.axes or "TN" in x.axes else "s") == "m"
        layout = "TN" if multi_step else "loop"
    if layout == "loop":
        if not (low.loop or in_loop) or x.axes[0] != "N":
            what = f"a single-step neuron reads axes {shown(x.axes)}: it would take them for one step"
            raise Refused(what, 'set step_mode="m", or export with --layout loop')
    elif x.axes != axes_of(len(x.features), layout):
        what, fix = f"a multi-step neuron reads axes {shown(x.axes)}", f"give it {shown_layout(layout)}"
        if is_registered(module):
            what = f"it is registered as a neuron that takes {shown_layout(layout)}, and reads axes {shown(x.axes)}"
            fits = [known for known in LAYOUTS if x.axes == axes_of(len(x.features), known) and known != "N"]
            fix += f', or register it with layout="{fits[0]}" if that is what its forward takes' if fits else ""
        raise Refused(what, fix)
    if in_loop:
        return layout
    if low.where in low.build.stateful:
        raise Refused("a neuron that is called more than once would share its state", "give each place its own neuron")
    low.build.stateful.add(low.where)
    return layout


def spiking_neuron(low: Lowering, module: Any, x: Value) -> Value:
    """A neuron of the table in neurons.py, or of a registered class."""
    x = low.settled(x)
    layout = _time_of(low, module, x)
    if _in_loop(low, x):
        return low.repeated(low.where, x, lambda: _neuron(low, module, x, layout))
    return low.out(_neuron(low, module, x, layout), x.axes)


def _neuron(low: Lowering, module: Any, x: Value, layout: Layout) -> str:
    """The node of a neuron, its equation held against its forward."""
    op = lower_neuron(module, x.features, low.where)
    for name, value in vars(op).items():
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            continue
        # A threshold may be infinite: such a neuron always or never fires.
        if np.isnan(value).any() or (np.isinf(value).any() and "threshold" not in name):
            raise BadInput(Problem(f"its {name} is no number", low.where, str(value), "finite", "restore the model"))
    if is_registered(module) and not isinstance(module, Recorded):
        check_equation(module, op, layout, x.features, low.build.timesteps, low.where)
    return low.emit(op, x.node)


def readout(low: Lowering, module: Any, x: Value) -> Value:
    """A membrane that never fires."""
    x = low.settled(x)
    if x.axes[:2] != ("T", "N") or x.read is not None:
        raise Refused(f"it reads axes {shown(x.axes)}", "give it [T, N, ...]")
    op, read = lower_readout(module, low.build.timesteps)
    node = low.emit(op, x.node)
    if read == "sequence":  # a list of one membrane a step
        low.result = torch.stack(low.result)
        return low.out(node, x.axes)
    return low.out(node, x.axes[1:], read)
