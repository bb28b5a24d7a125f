"""NIR's primitives, as they are meant: every habit of real files is one form here, and what cannot be meant is refused.

The equations are those of Pedersen et al., Neuromorphic Intermediate Representation (Nature Communications 15, 2024,
Table 1), fields those of nir 1.0.8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from neurocompile.errors import Problem
from neurocompile.frontends.nir.hdf5 import Raw
from neurocompile.ir.ops import Array

__all__ = [
    "Cell", "Convolution", "Delayed", "Flatten", "Node", "Pool", "Port", "Scaling", "Threshold", "Weights", "node_of",
]  # fmt: skip

Kind: TypeAlias = Literal["I", "LI", "IF", "LIF", "CubaLI", "CubaLIF"]


@dataclass(frozen=True, eq=False)
class Port:
    """Input, Output, or the border of a graph within a graph; ``shape`` as the file says, None if it does not."""

    kind: Literal["Input", "Output", "border"]
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Weights:
    """Linear and Affine: ``W x + b``, ``weight[out, in]``."""

    weight: Array
    bias: Array | None


@dataclass(frozen=True, eq=False)
class Scaling:
    """Scale: elementwise."""

    scale: Array


@dataclass(frozen=True, eq=False)
class Convolution:
    """Conv1d and Conv2d, as torch computes them: ``weight[out, in / groups, *kernel]``."""

    weight: Array
    bias: Array | None
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int


@dataclass(frozen=True, eq=False)
class Pool:
    """SumPool2d, or AvgPool2d (``mean``; zeros of the border count)."""

    mean: bool
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Flatten:
    """Axes from ``start`` to ``end`` become one; the batch is none of them."""

    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Delayed:
    """``x(t - delay)``, in the unit of time of the file."""

    delay: Array


@dataclass(frozen=True, eq=False)
class Threshold:
    """1 where x is above it, else 0."""

    threshold: Array


@dataclass(frozen=True, eq=False)
class Cell:
    """What has a membrane: ``tau v' = (v_leak - v) + r I`` (I, IF: ``v' = r I``), and what spikes at ``v_threshold``.

    CubaLI and CubaLIF have a current: ``tau_syn I' = -I + w_in S``. What a kind does not have is None.
    """

    kind: Kind
    r: Array
    tau: Array | None = None
    v_leak: Array | None = None
    tau_syn: Array | None = None
    w_in: Array | None = None
    v_threshold: Array | None = None
    v_reset: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its parameters; () if they are single numbers."""
        arrays = (getattr(self, name) for name in _CELL_FIELDS)
        return np.broadcast_shapes(*(a.shape for a in arrays if a is not None))


Node: TypeAlias = Port | Weights | Scaling | Convolution | Pool | Flatten | Delayed | Threshold | Cell
_CELL_FIELDS = ("r", "tau", "v_leak", "tau_syn", "w_in", "v_threshold", "v_reset")


class _Wrong(Exception):
    """What cannot be meant: what, actual, limit, what to do."""

    def __init__(self, what: str, actual: str = "", limit: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.parts = what, actual, limit, fix


def node_of(raw: Raw, where: str) -> tuple[Node | None, list[Problem]]:
    """A node of the file as what it means.

    Args:
        raw: not a NIRGraph.
        where: the file, and the node's name.

    Returns:
        The node, or None with everything that is wrong with it.
    """
    making = _MAKERS.get(raw.kind)
    if making is None:
        known = ", ".join((*_MAKERS, "NIRGraph"))
        return None, [Problem(f"{printed(raw.kind)} is no primitive of NIR 1.0", where, limit=known)]
    try:
        return making(_Fields(raw)), []
    except _Wrong as wrong:
        what, actual, limit, fix = wrong.parts
        return None, [Problem(f"{raw.kind}: {what}", where, actual, limit, fix or "write the file again")]


def printed(kind: str) -> str:
    """A word of the file, short enough for a message."""
    return kind if len(kind) <= 40 else kind[:40] + "..."


class _Fields:
    """The fields of one node."""

    def __init__(self, raw: Raw) -> None:
        self.fields = raw.fields

    def numbers(self, name: str, default: float | None = None) -> Array:
        value = self.fields.get(name)
        if value is None and default is not None:
            return np.asarray(default)
        if value is None:
            raise _Wrong(f"{name} is missing")
        if isinstance(value, str) or value.dtype.kind not in "fiub":
            raise _Wrong(f"{name} holds no numbers")
        found = np.asarray(value, np.float64)
        if not np.isfinite(found).all():
            raise _Wrong(f"{name} is NaN or infinite", f"{int((~np.isfinite(found)).sum())} of {found.size}", "finite")
        return found

    def positive(self, name: str) -> Array:
        found = self.numbers(name)
        if (found <= 0).any():
            raise _Wrong(f"{name} is no time", f"{found.min():g}", "above 0")
        return found

    def whole(self, name: str, default: int | None = None, least: int = 0) -> int:
        (found,) = self.wholes(name, 1, default, least)
        return found

    def wholes(self, name: str, axes: int, default: int | None = None, least: int = 0) -> tuple[int, ...]:
        """One number for each axis; one number stands for all of them."""
        found = np.atleast_1d(self.numbers(name, default)).ravel()
        if found.size == 1:
            found = np.repeat(found, axes)
        if found.size != axes or (found % 1).any() or (found < least).any() or (found > 1 << 20).any():
            raise _Wrong(f"{name} is no size of {axes} axes", np.array2string(found, threshold=8), f"{least} or more")
        return tuple(int(n) for n in found)

    def shape(self, name: str) -> tuple[int, ...] | None:
        if name not in self.fields:
            return None
        found = np.atleast_1d(self.numbers(name)).ravel()
        if not 0 < found.size <= 8 or (found % 1).any() or (found < 1).any() or np.log2(found).sum() > 31:
            raise _Wrong(f"{name} is none", np.array2string(found, threshold=8), "one to eight sizes")
        return tuple(int(n) for n in found)


def _weights(fields: _Fields) -> Weights:
    weight = fields.numbers("weight")
    while weight.ndim > 2 and weight.shape[0] == 1:
        weight = weight[0]
    if weight.ndim != 2 or not weight.size:
        raise _Wrong("weight has the wrong shape", str(list(weight.shape)), "[out, in]")
    bias = fields.numbers("bias").ravel() if "bias" in fields.fields else None
    if bias is not None and bias.size not in (1, len(weight)):
        raise _Wrong("bias does not fit weight", str(bias.size), str(len(weight)))
    return Weights(weight, None if bias is None else np.broadcast_to(bias, len(weight)))


def _convolution(axes: int) -> Callable[[_Fields], Convolution]:
    def make(fields: _Fields) -> Convolution:
        weight = fields.numbers("weight")
        if weight.ndim != axes + 2 or not weight.size:
            raise _Wrong("weight has the wrong shape", str(list(weight.shape)), "[out, in / groups, *kernel]")
        groups = fields.whole("groups", 1, 1)
        if len(weight) % groups:
            raise _Wrong("groups do not divide its channels", f"{len(weight)} by {groups}", "no remainder")
        bias = fields.numbers("bias").ravel() if "bias" in fields.fields else None
        if bias is not None and bias.size not in (1, len(weight)):
            raise _Wrong("bias does not fit weight", str(bias.size), str(len(weight)))
        stride, dilation = fields.wholes("stride", axes, 1, 1), fields.wholes("dilation", axes, 1, 1)
        return Convolution(
            weight, None if bias is None else np.broadcast_to(bias, len(weight)), stride,
            _padding(fields, weight.shape[2:], stride, dilation), dilation, groups,
        )  # fmt: skip

    return make


def _padding(
    fields: _Fields, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    said = fields.fields.get("padding")
    if isinstance(said, str) and said == "valid":
        return ((0, 0),) * len(kernel)
    if isinstance(said, str) and said == "same":
        if any(n != 1 for n in stride):
            raise _Wrong("padding same wants a stride of 1", str(stride), "1")
        both = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple((n // 2, n - n // 2) for n in both)
    if isinstance(said, str):
        raise _Wrong("padding is none", printed(said), "numbers, same or valid")
    return tuple((n, n) for n in fields.wholes("padding", len(kernel), 0))


def _pool(mean: bool) -> Callable[[_Fields], Pool]:
    def make(fields: _Fields) -> Pool:
        kernel = fields.wholes("kernel_size", 2, None, 1)
        return Pool(mean, kernel, fields.wholes("stride", 2, None, 1), fields.wholes("padding", 2, 0))

    return make


def _flatten(fields: _Fields) -> Flatten:
    ends = [fields.numbers(name, default) for name, default in (("start_dim", 1), ("end_dim", -1))]
    if any(end.size != 1 or end.ravel()[0] % 1 or abs(end.ravel()[0]) > 8 for end in ends):
        raise _Wrong("start_dim or end_dim is no axis")
    start, end = (int(end.ravel()[0]) for end in ends)
    return Flatten(start, end)


def _delay(fields: _Fields) -> Delayed:
    delay = fields.numbers("delay")
    if (delay < 0).any():
        raise _Wrong("delay is negative", f"{delay.min():g}", "0 or more")
    return Delayed(delay)


def _cell(kind: Kind) -> Callable[[_Fields], Cell]:
    def make(fields: _Fields) -> Cell:
        spikes, leaks, filters = kind.endswith("F"), "L" in kind, kind.startswith("Cuba")
        found: dict[str, Any] = {"r": fields.numbers("r")}
        if leaks:
            found |= {"tau": fields.positive("tau_mem" if filters else "tau"), "v_leak": fields.numbers("v_leak", 0.0)}
        if filters:
            found |= {"tau_syn": fields.positive("tau_syn"), "w_in": fields.numbers("w_in", 1.0)}
        if spikes:
            found |= {"v_threshold": fields.numbers("v_threshold"), "v_reset": fields.numbers("v_reset", 0.0)}
        # Ones before a vector say nothing: batch and time, as some write them.
        found = {name: x.reshape(-1) if x.ndim > 1 and x.size == x.shape[-1] else x for name, x in found.items()}
        sizes = {name: value.shape for name, value in found.items()}
        try:
            np.broadcast_shapes(*sizes.values())
        except ValueError:
            raise _Wrong("its parameters have different shapes", str({k: list(v) for k, v in sizes.items()})) from None
        return Cell(kind, **found)

    return make


_MAKERS: Mapping[str, Callable[[_Fields], Node]] = {
    "Input": lambda fields: Port("Input", fields.shape("shape") or fields.shape("input")),
    "Output": lambda fields: Port("Output", fields.shape("shape") or fields.shape("output")),
    "Linear": _weights,
    "Affine": _weights,
    "Scale": lambda fields: Scaling(fields.numbers("scale")),
    "Conv1d": _convolution(1),
    "Conv2d": _convolution(2),
    "SumPool2d": _pool(False),
    "AvgPool2d": _pool(True),
    "Flatten": _flatten,
    "Delay": _delay,
    "Threshold": lambda fields: Threshold(fields.numbers("threshold")),
    "I": _cell("I"),
    "LI": _cell("LI"),
    "IF": _cell("IF"),
    "LIF": _cell("LIF"),
    "CubaLI": _cell("CubaLI"),
    "CubaLIF": _cell("CubaLIF"),
}
