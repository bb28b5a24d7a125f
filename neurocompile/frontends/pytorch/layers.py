"""Layers and neurons: what each module means for one step of one sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from neurocompile.errors import BadInput, Problem
from neurocompile.frontends.pytorch.lowering import Lowering, Refused, Value, array, shown, sizes_of
from neurocompile.frontends.pytorch.neurons import lower_neuron, lower_readout
from neurocompile.ir.ops import Conv, ConvTranspose, Linear, MaxPool, Neuron, Pairs, Reshape, SumPool, Upsample

# Above this many numbers a pooling with uneven windows is not written out as a matrix.
_LARGEST_MATRIX = 1 << 24


# -- layers with weights -----------------------------------------------------------------------------------------------


def linear(low: Lowering, module: Any, x: Value) -> Value:
    """nn.Linear, with any axes before the features."""
    x = low.layer_input(x, module, rank=1, any_lead=True)
    return low.out(low.affine(x, Linear, weight=array(module.weight), bias=array(module.bias)), x.axes, x.read)


def _conv_fields(module: Any, rank: int) -> dict[str, Any]:
    if getattr(module, "padding_mode", "zeros") != "zeros":
        raise Refused(f"padding_mode {module.padding_mode!r} is not supported", "train with zero padding")
    bias = array(module.bias)
    return {
        "weight": array(module.weight),
        "bias": None if bias is None else bias.reshape(-1, *(1,) * rank),
        "stride": sizes_of(module.stride, rank),
        "dilation": sizes_of(module.dilation, rank),
        "groups": module.groups,
    }


def conv(low: Lowering, module: Any, x: Value) -> Value:
    """nn.Conv1d and Conv2d."""
    rank = module.weight.ndim - 2
    x = low.layer_input(x, module, rank=rank + 1)
    fields = _conv_fields(module, rank)
    padding = _padding(module.padding, module.weight.shape[2:], fields["dilation"])
    return low.out(low.affine(x, Conv, **fields, padding=padding), x.axes, x.read)


def conv_transpose(low: Lowering, module: Any, x: Value) -> Value:
    """nn.ConvTranspose1d and ConvTranspose2d."""
    rank = module.weight.ndim - 2
    x = low.layer_input(x, module, rank=rank + 1)
    pads = {"padding": sizes_of(module.padding, rank), "output_padding": sizes_of(module.output_padding, rank)}
    return low.out(low.affine(x, ConvTranspose, **_conv_fields(module, rank), **pads), x.axes, x.read)


def _padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> Pairs:
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if padding == "valid":
        padding = 0
    return tuple((p, p) for p in sizes_of(padding, len(kernel)))


def batch_norm(low: Lowering, module: Any, x: Value) -> Value:
    """Batch norm in eval mode: a Scale by its running statistics."""
    x = low.layer_input(x, module)
    inverse = 1.0 / np.sqrt(array(module.running_var) + module.eps)
    scale = inverse if module.weight is None else array(module.weight) * inverse
    shift = -array(module.running_mean) * scale + (0.0 if module.bias is None else array(module.bias))
    each = (-1, *(1,) * (len(x.features) - 1))
    return low.scaled(x, scale.reshape(each), shift.reshape(each))


def tdbn(low: Lowering, module: Any, x: Value) -> Value:
    """Threshold-dependent batch norm: its weight was initialised with alpha * V_th and so has it in it."""
    return batch_norm(low, module, x)


# -- pooling and upsampling --------------------------------------------------------------------------------------------


def _pool_sizes(low: Lowering, module: Any, x: Value) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    rank = len(x.features) - 1
    kernel = sizes_of(module.kernel_size, rank)
    stride = kernel if module.stride is None else sizes_of(module.stride, rank)
    return kernel, stride, sizes_of(module.padding, rank)


def _after(size: int, out: int, span: int, stride: int, padding: int) -> int:
    """Padding at the far end, so that the last of ``out`` windows fits (more than ``padding`` in ceil mode)."""
    return max((out - 1) * stride + span - size - padding, 0)


def avg_pool(low: Lowering, module: Any, x: Value) -> Value:
    """nn.AvgPool1d and AvgPool2d: a sum, and a Scale by one over what each window counts."""
    x = low.layer_input(x, module)
    kernel, stride, padding = _pool_sizes(low, module, x)
    sizes, outs = x.features[1:], tuple(low.result.shape[-len(kernel) :])
    pads = tuple((p, _after(n, o, k, s, p)) for n, o, k, s, p in zip(sizes, outs, kernel, stride, padding))
    if x.read is not None:
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
    """nn.MaxPool1d and MaxPool2d."""
    x = low.layer_input(x, module)
    kernel, stride, padding = _pool_sizes(low, module, x)
    dilation = sizes_of(module.dilation, len(kernel))
    if module.return_indices or x.read is not None:
        raise Refused("max-pooling with indices, or after time was taken out, is not supported")
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    outs = low.result.shape[-len(kernel) :]
    pads = tuple((p, _after(n, o, k, s, p)) for n, o, k, s, p in zip(x.features[1:], outs, spans, stride, padding))
    return low.out(low.emit(MaxPool(kernel, stride, pads, dilation), x.node), x.axes)


def adaptive_avg_pool(low: Lowering, module: Any, x: Value) -> Value:
    """nn.AdaptiveAvgPool1d and 2d: equal windows as a pool, uneven ones as a matrix."""
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


def _check_time(low: Lowering, module: Any, x: Value) -> None:
    if x.read is not None:
        raise Refused("a neuron after time was taken out", "let the neuron run over time, and take the mean last")
    multi_step = getattr(module, "step_mode", "m" if "T" in x.axes else "s") == "m"
    if multi_step and x.axes[:2] != ("T", "N"):
        raise Refused(f"a multi-step neuron reads axes {shown(x.axes)}", "give it [T, N, ...]")
    if not multi_step and (not low.loop or x.axes[0] != "N"):
        what = f"a single-step neuron reads axes {shown(x.axes)}: it would take them for one step"
        raise Refused(what, 'set step_mode="m", or export with --layout loop')
    if low.where in low.build.stateful:
        raise Refused("a neuron that is called more than once would share its state", "give each place its own neuron")
    low.build.stateful.add(low.where)


def spiking_neuron(low: Lowering, module: Any, x: Value) -> Value:
    """A neuron of the table in neurons.py, or of a registered class."""
    x = low.settled(x)
    _check_time(low, module, x)
    op: Neuron = lower_neuron(module, x.features, low.where)
    for name, value in vars(op).items():
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            continue
        # A threshold may be infinite: such a neuron always or never fires.
        if np.isnan(value).any() or (np.isinf(value).any() and "threshold" not in name):
            raise BadInput(Problem(f"its {name} is no number", low.where, str(value), "finite", "restore the model"))
    return low.out(low.emit(op, x.node), x.axes)


def readout(low: Lowering, module: Any, x: Value) -> Value:
    """A membrane that never fires."""
    x = low.settled(x)
    if x.axes[:2] != ("T", "N") or x.read is not None:
        raise Refused(f"it reads axes {shown(x.axes)}", "give it [T, N, ...]")
    op, read = lower_readout(module)
    node = low.emit(op, x.node)
    if read == "sequence":  # a list of one membrane a step
        low.result = torch.stack(low.result)
        return low.out(node, x.axes)
    return low.out(node, x.axes[1:], read)
