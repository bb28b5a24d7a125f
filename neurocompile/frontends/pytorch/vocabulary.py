"""The operations that a recorded forward is made of: a small vocabulary of our own, and how torch computes each.

A recording names these, never torch's internal overloads, which change from version to version. ``OPERATIONS`` is also
the allow-list of a model file: nothing else is ever run from one. Every operation is a pure function of tensors and
numbers; what was written in place is ``write``, a copy of a tensor in which a view of it has new values.
"""

# mypy: disable-error-code="arg-type"
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

__all__ = ["FACTORIES", "KINDS", "OPERATIONS", "SYNONYMS", "VIEWS", "Operation"]

Function = Callable[..., Any]

KINDS: Mapping[str, torch.dtype] = {"float": torch.float64, "int": torch.int64, "bool": torch.bool}
"""What a number is: every float is computed in float64."""


@dataclass(frozen=True)
class Operation:
    """How torch computes an operation, and what its arguments are.

    ``arguments`` has one letter each: t tensor, T list of tensors, i whole number, I list of whole numbers, n number or
    tensor, f number, b bool, s name of a kind of number, x index (list of tensors or None), w steps to a view.
    ``optional`` counts those at the end that may be None or missing.
    """

    run: Function
    arguments: str
    optional: int = 0


def _slice(x: torch.Tensor, dim: int, start: int | None, end: int | None, step: int) -> torch.Tensor:
    parts = [slice(None)] * x.ndim
    parts[dim % x.ndim] = slice(start, end, step)
    return x[tuple(parts)]


def _write(base: torch.Tensor, value: torch.Tensor, way: list[list[Any]]) -> torch.Tensor:
    written = base.clone()
    view = written
    for name, *arguments in way:
        view = VIEWS[name].run(view, *arguments)
    view.copy_(value)
    return written


def _convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: list[int], padding: list[int],
    dilation: list[int], transposed: bool, output_padding: list[int], groups: int,
) -> torch.Tensor:  # fmt: skip
    return torch.convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups)


def _batch_norm(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, mean: torch.Tensor, var: torch.Tensor,
    eps: float,
) -> torch.Tensor:  # fmt: skip
    return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)


def _avg_pool(
    x: torch.Tensor, kernel: list[int], stride: list[int] | None, padding: list[int], ceil: bool, include: bool,
    divisor: int | None,
) -> torch.Tensor:  # fmt: skip
    if len(kernel) == 2:
        return F.avg_pool2d(x, kernel, stride or None, padding, ceil, include, divisor)
    return F.avg_pool3d(x, kernel, stride or None, padding, ceil, include, divisor)


def _max_pool(
    x: torch.Tensor, kernel: list[int], stride: list[int] | None, padding: list[int], dilation: list[int], ceil: bool
) -> torch.Tensor:
    pool = F.max_pool2d if len(kernel) == 2 else F.max_pool3d
    return pool(x, kernel, stride or None, padding, dilation, ceil)


def _adaptive_avg_pool(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    return F.adaptive_avg_pool2d(x, size) if len(size) == 2 else F.adaptive_avg_pool3d(x, size)


def _reduced(function: Function) -> Function:
    def run(x: torch.Tensor, dims: list[int] | None, keepdim: bool) -> torch.Tensor:
        return function(x, dim=list(range(x.ndim)) if dims is None else dims, keepdim=keepdim)  # type: ignore[no-any-return]

    return run


def _variance(x: torch.Tensor, dims: list[int] | None, correction: float | None, keepdim: bool) -> torch.Tensor:
    whole = list(range(x.ndim)) if dims is None else dims
    return torch.var(x, dim=whole, correction=1 if correction is None else correction, keepdim=keepdim)


def _deviation(x: torch.Tensor, dims: list[int] | None, correction: float | None, keepdim: bool) -> torch.Tensor:
    whole = list(range(x.ndim)) if dims is None else dims
    return torch.std(x, dim=whole, correction=1 if correction is None else correction, keepdim=keepdim)


def _indexed(x: torch.Tensor, index: list[torch.Tensor | None]) -> torch.Tensor:
    return x[tuple(slice(None) if part is None else part for part in index)]


def _index_put(x: torch.Tensor, index: list[torch.Tensor | None], value: torch.Tensor, add: bool) -> torch.Tensor:
    made = x.clone()
    places = tuple(slice(None) if part is None else part for part in index)
    made[places] = made[places] + value if add else value
    return made


def _clamped(x: torch.Tensor, low: Any, high: Any) -> torch.Tensor:
    return torch.clamp(x, low, high)


VIEWS: dict[str, Operation] = {
    "view": Operation(lambda x, size: x.reshape(size), "tI"),
    "expand": Operation(lambda x, size: x.expand(size), "tI"),
    "permute": Operation(torch.permute, "tI"),
    "select": Operation(torch.select, "tii"),
    "slice": Operation(_slice, "tiiii", 2),
    "squeeze": Operation(lambda x, dims: x.squeeze() if dims is None else x.squeeze(tuple(dims)), "tI", 1),
    "unsqueeze": Operation(torch.unsqueeze, "ti"),
    "diagonal": Operation(torch.diagonal, "tiii"),
    "unfold": Operation(lambda x, dim, size, step: x.unfold(dim, size, step), "tiii"),
}
"""Views: the same numbers, seen otherwise; what is written to one is written to its base."""

FACTORIES: dict[str, Operation] = {
    "full": Operation(lambda size, value, kind: torch.full(size, value, dtype=KINDS[kind]), "Ifs"),
    "arange": Operation(lambda start, end, step, kind: torch.arange(start, end, step, dtype=KINDS[kind]), "fffs"),
    "linspace": Operation(lambda start, end, steps: torch.linspace(start, end, steps, dtype=torch.float64), "ffi"),
    "eye": Operation(lambda n, m: torch.eye(n, m, dtype=torch.float64), "ii"),
}

OPERATIONS: dict[str, Operation] = {
    **VIEWS,
    **FACTORIES,
    "write": Operation(_write, "ttw"),
    "to": Operation(lambda x, kind: x.to(KINDS[kind]), "ts"),
    "contiguous": Operation(lambda x: x.contiguous(), "t"),
    # elementwise
    "add": Operation(lambda a, b, alpha=1: torch.add(a, b, alpha=alpha), "nnf", 1),
    "sub": Operation(lambda a, b, alpha=1: torch.sub(a, b, alpha=alpha), "nnf", 1),
    "mul": Operation(torch.mul, "nn"),
    "div": Operation(torch.div, "nn"),
    "div_rounded": Operation(lambda a, b, mode: torch.div(a, b, rounding_mode=mode), "nns"),
    "neg": Operation(torch.neg, "t"),
    "reciprocal": Operation(torch.reciprocal, "t"),
    "pow": Operation(torch.pow, "nn"),
    "lerp": Operation(torch.lerp, "ttn"),
    "addcmul": Operation(lambda x, a, b, value: torch.addcmul(x, a, b, value=value), "tttf"),
    "addcdiv": Operation(lambda x, a, b, value: torch.addcdiv(x, a, b, value=value), "tttf"),
    **{name: Operation(getattr(torch, name), "nn") for name in ("ge", "gt", "le", "lt", "eq", "ne")},
    "where": Operation(torch.where, "tnn"),
    "masked_fill": Operation(
        lambda x, mask, value: torch.where(mask.bool(), torch.as_tensor(value, dtype=x.dtype), x), "ttn"
    ),
    "heaviside": Operation(torch.heaviside, "tt"),
    **{
        name: Operation(getattr(torch, name), "t")
        for name in (
            "logical_not",
            "bitwise_not",
            "abs",
            "sign",
            "floor",
            "ceil",
            "round",
            "trunc",
            "sqrt",
            "rsqrt",
            "exp",
            "log",
            "sigmoid",
            "tanh",
            "relu",
            "sin",
            "cos",
            "erf",
            "square",
            "log1p",
            "expm1",
            "frac",
        )
    },
    **{
        name: Operation(getattr(torch, name), "nn")
        for name in (
            "logical_and",
            "logical_or",
            "logical_xor",
            "bitwise_and",
            "bitwise_or",
            "bitwise_xor",
            "maximum",
            "minimum",
            "remainder",
            "fmod",
            "atan2",
        )
    },
    "clamp": Operation(_clamped, "tnn", 2),
    "leaky_relu": Operation(F.leaky_relu, "tf"),
    # moving numbers
    "cat": Operation(torch.cat, "Ti"),
    "stack": Operation(torch.stack, "Ti"),
    "flip": Operation(torch.flip, "tI"),
    "roll": Operation(lambda x, shifts, dims: torch.roll(x, shifts, dims or None), "tII"),
    "repeat": Operation(lambda x, sizes: x.repeat(sizes), "tI"),
    "index": Operation(_indexed, "tx"),
    "index_put": Operation(_index_put, "txtb"),
    "masked_scatter": Operation(torch.masked_scatter, "ttt"),
    "index_select": Operation(torch.index_select, "tit"),
    "gather": Operation(torch.gather, "tit"),
    "pad": Operation(lambda x, sizes, value: F.pad(x, sizes, value=value), "tIf"),
    "pixel_shuffle": Operation(F.pixel_shuffle, "ti"),
    "pixel_unshuffle": Operation(F.pixel_unshuffle, "ti"),
    "channel_shuffle": Operation(F.channel_shuffle, "ti"),
    "upsample": Operation(lambda x, size: F.interpolate(x, tuple(size), mode="nearest"), "tI"),
    "unfold_places": Operation(F.unfold, "tIIII"),
    "tril": Operation(torch.tril, "ti"),
    "triu": Operation(torch.triu, "ti"),
    # layers and sums
    "convolve": Operation(_convolve, "tttIIIbIi"),
    "addmm": Operation(lambda c, a, b, beta=1, alpha=1: torch.addmm(c, a, b, beta=beta, alpha=alpha), "tttff", 2),
    "mm": Operation(torch.mm, "tt"),
    "bmm": Operation(torch.bmm, "tt"),
    "baddbmm": Operation(lambda c, a, b, beta=1, alpha=1: torch.baddbmm(c, a, b, beta=beta, alpha=alpha), "tttff", 2),
    "mv": Operation(torch.mv, "tt"),
    "batch_norm": Operation(_batch_norm, "tttttf"),
    "avg_pool": Operation(_avg_pool, "tIIIbbi", 1),
    "max_pool": Operation(_max_pool, "tIIIIb"),
    "adaptive_avg_pool": Operation(_adaptive_avg_pool, "tI"),
    "mean": Operation(_reduced(torch.mean), "tIb"),
    "sum": Operation(_reduced(torch.sum), "tIb"),
    "amax": Operation(_reduced(torch.amax), "tIb"),
    "amin": Operation(_reduced(torch.amin), "tIb"),
    "max": Operation(lambda x, dim, keepdim: torch.max(x, dim, keepdim).values, "tib"),
    "min": Operation(lambda x, dim, keepdim: torch.min(x, dim, keepdim).values, "tib"),
    "var": Operation(_variance, "tIfb"),
    "std": Operation(_deviation, "tIfb"),
    "cumsum": Operation(torch.cumsum, "ti"),
    "prod": Operation(lambda x, dim, keepdim: torch.prod(x, dim, keepdim), "tib"),
    "argmax": Operation(lambda x, dim, keepdim: torch.argmax(x, dim, keepdim), "tib", 2),
    "layer_norm": Operation(F.layer_norm, "tIttf"),
    "group_norm": Operation(F.group_norm, "tittf"),
    "embedding": Operation(lambda weight, index: F.embedding(index, weight), "tt"),
    "gelu": Operation(lambda x, approximate: F.gelu(x, approximate=approximate), "ts"),
    "silu": Operation(F.silu, "t"),
    "elu": Operation(F.elu, "tf"),
    "softplus": Operation(F.softplus, "tff"),
    "attention": Operation(F.scaled_dot_product_attention, "ttttfbf"),
    "softmax": Operation(lambda x, dim: torch.softmax(x, dim), "ti"),
    "log_softmax": Operation(lambda x, dim: torch.log_softmax(x, dim), "ti"),
}

# -- from what torch runs ----------------------------------------------------------------------------------------------


def _whole(x: Any) -> list[int] | None:
    return None if x is None else [x] if isinstance(x, int) else list(x)


def _scaled_back(beta: float, alpha: float) -> tuple[float, ...]:
    return () if beta == alpha == 1 else (beta, alpha)


Synonym = Callable[[dict[str, Any]], tuple[Any, ...] | None]


def _named(name: str, *keys: str) -> Synonym:
    return lambda g: (name, *(g[key] for key in keys))


SYNONYMS: dict[str, Synonym] = {
    # What torch runs (the name of its operator, of every overload) in our words; given its arguments by name. None: the
    # value is the same as that of ``self``.
    "view": lambda g: ("view", list(g["size"])),
    "_unsafe_view": lambda g: ("view", list(g["size"])),
    "_reshape_alias": lambda g: ("view", list(g["size"])),
    "reshape": lambda g: ("view", list(g["shape"])),
    "expand": lambda g: ("expand", list(g["size"])),
    "permute": lambda g: ("permute", list(g["dims"])),
    "select": lambda g: ("select", g["dim"], g["index"]),
    "slice": lambda g: ("slice", g["dim"], g["start"], g["end"], g["step"]),
    "squeeze": lambda g: ("squeeze", _whole(g.get("dim"))),
    "unsqueeze": _named("unsqueeze", "dim"),
    "diagonal": _named("diagonal", "offset", "dim1", "dim2"),
    "unfold": _named("unfold", "dimension", "size", "step"),
    "detach": lambda g: None,
    "alias": lambda g: None,
    "lift_fresh": lambda g: None,
    "lift": lambda g: None,
    "clone": lambda g: None,
    "contiguous": lambda g: None,
    "positive": lambda g: None,
    "view_as": lambda g: None,
    "native_dropout": lambda g: None if not g["train"] else ("?",),
    "add": lambda g: ("add", g["other"], g.get("alpha", 1)),
    "sub": lambda g: ("sub", g["other"], g.get("alpha", 1)),
    "mul": _named("mul", "other"),
    "div": lambda g: ("div_rounded", g["other"], g["rounding_mode"]) if g.get("rounding_mode") else ("div", g["other"]),
    "pow": lambda g: ("pow", g["exponent"]),
    "lerp": _named("lerp", "end", "weight"),
    "addcmul": _named("addcmul", "tensor1", "tensor2", "value"),
    "addcdiv": _named("addcdiv", "tensor1", "tensor2", "value"),
    **{name: _named(name, "other") for name in (
        "ge", "gt", "le", "lt", "eq", "ne", "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or",
        "bitwise_xor", "maximum", "minimum", "remainder", "fmod", "atan2")},
    "__and__": _named("bitwise_and", "other"),
    "__or__": _named("bitwise_or", "other"),
    "__xor__": _named("bitwise_xor", "other"),
    **{name: _named(name) for name in (
        "neg", "reciprocal", "logical_not", "bitwise_not", "abs", "sign", "floor", "ceil", "round", "trunc", "sqrt",
        "rsqrt", "exp", "log", "sigmoid", "tanh", "relu", "sin", "cos", "erf", "square", "log1p", "expm1", "frac")},
    "sgn": _named("sign"),
    "where": _named("where", "self", "other"),
    "masked_fill": _named("masked_fill", "mask", "value"),
    "heaviside": _named("heaviside", "values"),
    "clamp": lambda g: ("clamp", g["min"], g["max"]),
    "clamp_min": lambda g: ("clamp", g["min"], None),
    "clamp_max": lambda g: ("clamp", None, g["max"]),
    "hardtanh": lambda g: ("clamp", g["min_val"], g["max_val"]),
    "leaky_relu": _named("leaky_relu", "negative_slope"),
    "flip": lambda g: ("flip", list(g["dims"])),
    "roll": lambda g: ("roll", list(g["shifts"]), list(g["dims"])),
    "repeat": lambda g: ("repeat", list(g["repeats"])),
    "index": lambda g: ("index", list(g["indices"])),
    "index_put": lambda g: ("index_put", list(g["indices"]), g["values"], g["accumulate"]),
    "_index_put_impl": lambda g: ("index_put", list(g["indices"]), g["values"], g["accumulate"]),
    "masked_scatter": _named("masked_scatter", "mask", "source"),
    "index_select": _named("index_select", "dim", "index"),
    "gather": _named("gather", "dim", "index"),
    "constant_pad_nd": lambda g: ("pad", list(g["pad"]), g["value"]),
    "pixel_shuffle": _named("pixel_shuffle", "upscale_factor"),
    "pixel_unshuffle": _named("pixel_unshuffle", "downscale_factor"),
    "channel_shuffle": _named("channel_shuffle", "groups"),
    "native_channel_shuffle": _named("channel_shuffle", "groups"),
    **{f"upsample_nearest{rank}d": lambda g: ("upsample", list(g["output_size"])) for rank in (1, 2, 3)},
    **{f"_upsample_nearest_exact{rank}d": lambda g: ("upsample", list(g["output_size"])) for rank in (1, 2, 3)},
    "im2col": lambda g: ("unfold_places", *(list(g[k]) for k in ("kernel_size", "dilation", "padding", "stride"))),
    "tril": _named("tril", "diagonal"),
    "triu": _named("triu", "diagonal"),
    "convolution": lambda g: ("convolve", g["weight"], g["bias"],
                              *(list(g[k]) for k in ("stride", "padding", "dilation")),
                              g["transposed"], list(g["output_padding"]), g["groups"]),
    "addmm": lambda g: ("addmm", g["mat1"], g["mat2"], *_scaled_back(g["beta"], g["alpha"])),
    "baddbmm": lambda g: ("baddbmm", g["batch1"], g["batch2"], *_scaled_back(g["beta"], g["alpha"])),
    "mm": _named("mm", "mat2"),
    "bmm": _named("bmm", "mat2"),
    "mv": _named("mv", "vec"),
    "native_batch_norm": lambda g: ("?",) if g["training"] else (
        "batch_norm", g["weight"], g["bias"], g["running_mean"], g["running_var"], g["eps"]),
    "_native_batch_norm_legit_no_training": _named(
        "batch_norm", "weight", "bias", "running_mean", "running_var", "eps"),
    **{f"avg_pool{rank}d": lambda g: (
        "avg_pool", *(list(g[k]) for k in ("kernel_size", "stride", "padding")), g["ceil_mode"], g["count_include_pad"],
        g["divisor_override"]) for rank in (2, 3)},
    **{f"max_pool{rank}d_with_indices": lambda g: (
        "max_pool", *(list(g[k]) for k in ("kernel_size", "stride", "padding", "dilation")), g["ceil_mode"])
       for rank in (2, 3)},
    **{f"{name}adaptive_avg_pool{rank}d": lambda g: ("adaptive_avg_pool", list(g["output_size"]))
       for rank in (2, 3) for name in ("", "_")},
    "mean": lambda g: ("mean", _whole(g.get("dim")), g.get("keepdim", False)),
    "sum": lambda g: ("sum", _whole(g.get("dim")), g.get("keepdim", False)),
    "amax": lambda g: ("amax", _whole(g.get("dim")) or None, g.get("keepdim", False)),
    "amin": lambda g: ("amin", _whole(g.get("dim")) or None, g.get("keepdim", False)),
    "max": lambda g: ("max", g["dim"], g["keepdim"]) if "dim" in g else ("amax", None, False),
    "min": lambda g: ("min", g["dim"], g["keepdim"]) if "dim" in g else ("amin", None, False),
    "var": lambda g: ("var", _whole(g.get("dim")), g.get("correction"), g.get("keepdim", False)),
    "std": lambda g: ("std", _whole(g.get("dim")), g.get("correction"), g.get("keepdim", False)),
    "cumsum": _named("cumsum", "dim"),
    "prod": lambda g: ("prod", g["dim"], g["keepdim"]) if "dim" in g else ("?",),
    "argmax": lambda g: ("argmax", g.get("dim"), g.get("keepdim", False)),
    "native_layer_norm": _named("layer_norm", "normalized_shape", "weight", "bias", "eps"),
    "native_group_norm": _named("group_norm", "group", "weight", "bias", "eps"),
    "embedding": _named("embedding", "indices"),
    "gelu": _named("gelu", "approximate"),
    "silu": _named("silu"),
    "elu": lambda g: ("elu", g["alpha"]) if g["scale"] == g["input_scale"] == 1 else ("?",),
    "softplus": _named("softplus", "beta", "threshold"),
    "_softmax": _named("softmax", "dim"),
    "_log_softmax": _named("log_softmax", "dim"),
}  # fmt: skip
