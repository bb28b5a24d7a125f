"""torch.nn.functional: the handlers of the modules, with the arguments under the names that the modules have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from neurocompile.frontends.pytorch.symbolic.layers import (
    adaptive_avg_pool,
    avg_pool,
    batch_norm,
    conv,
    conv_transpose,
    linear,
    max_pool,
    upsample,
)
from neurocompile.frontends.pytorch.symbolic.lowering import Lowering, Refused, Value


def f_linear(low: Lowering, input: Value, weight: Any, bias: Any = None) -> Value:
    """F.linear."""
    return linear(low, SimpleNamespace(weight=weight, bias=bias), input)


def f_conv(
    low: Lowering, input: Value, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Value:  # fmt: skip
    """F.conv1d, 2d and 3d."""
    settings = SimpleNamespace(
        weight=weight, bias=bias, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return conv(low, settings, input)


def f_conv_transpose(
    low: Lowering, input: Value, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Value:  # fmt: skip
    """F.conv_transpose1d, 2d and 3d."""
    settings = SimpleNamespace(
        weight=weight, bias=bias, stride=stride, padding=padding, output_padding=output_padding, dilation=dilation,
        groups=groups,
    )  # fmt: skip
    return conv_transpose(low, settings, input)


def f_batch_norm(
    low: Lowering, input: Value, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Value:  # fmt: skip
    """F.batch_norm with running statistics."""
    if training:
        raise Refused("batch_norm with training=True uses the statistics of the batch", "pass training=self.training")
    settings = SimpleNamespace(running_mean=running_mean, running_var=running_var, weight=weight, bias=bias, eps=eps)
    return batch_norm(low, settings, input)


def f_avg_pool(
    low: Lowering, input: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: Any = None,
) -> Value:  # fmt: skip
    """F.avg_pool1d, 2d and 3d."""
    settings = SimpleNamespace(
        kernel_size=kernel_size, stride=stride or None, padding=padding, count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )  # fmt: skip
    return avg_pool(low, settings, input)


def f_max_pool(
    low: Lowering, input: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Value:  # fmt: skip
    """F.max_pool1d, 2d and 3d."""
    settings = SimpleNamespace(
        kernel_size=kernel_size,
        stride=stride or None,
        padding=padding,
        dilation=dilation,
        return_indices=return_indices,
    )
    return max_pool(low, settings, input)


def f_adaptive_avg_pool(low: Lowering, input: Value, output_size: Any) -> Value:
    """F.adaptive_avg_pool1d, 2d and 3d."""
    return adaptive_avg_pool(low, SimpleNamespace(), input)


def f_interpolate(
    low: Lowering, input: Value, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *_: Any, **__: Any
) -> Value:
    """F.interpolate to whole multiples, nearest."""
    return upsample(low, SimpleNamespace(mode=mode), input)


def f_dropout(low: Lowering, input: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    """F.dropout where it does nothing."""
    if training and p:
        raise Refused("dropout with training=True is random", "pass training=self.training")
    return input
