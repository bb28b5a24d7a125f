"""The closed set of operations of a graph.

Each is a frozen dataclass with its equation in its docstring. Shapes leave out time and batch: an operation acts on
one time step of one sample, ``x`` of shape ``[C, *S]`` (or ``[F]``). Names follow NIR where NIR has one. In a real
graph every array is float64; in an integer graph every array is int64 and decays are fixed-point mantissas (see
:class:`neurocompile.targets.Arithmetic`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "LINEAR_OPS",
    "MOST_SPIKES",
    "OPS",
    "STATEFUL_OPS",
    "WEIGHT_OPS",
    "Add",
    "Array",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Delay",
    "Gain",
    "Input",
    "Integrator",
    "Linear",
    "MaxPool",
    "MembraneNorm",
    "Neuron",
    "Op",
    "Output",
    "Pairs",
    "Read",
    "Reshape",
    "Scale",
    "SumPool",
    "Upsample",
]

Array: TypeAlias = npt.NDArray[Any]
Ints: TypeAlias = tuple[int, ...]
Pairs: TypeAlias = tuple[tuple[int, int], ...]
Read: TypeAlias = Literal["mean", "sum", "last", "max", "max-abs", "weighted", "sequence"]


def _array(value: float) -> Any:
    return field(default_factory=lambda: np.asarray(value))


@dataclass(frozen=True, eq=False)
class Input:
    """What the user feeds, named as the argument of forward: ``y[t] = x[t]``.

    ``carries`` is "real" (any number; costs multiplications) or "spikes" (0 or 1). ``unit`` is the real value of one
    integer step where the graph is an integer graph, else 1; ``low`` and ``high`` bound the values.
    """

    shape: Ints
    carries: Literal["real", "spikes"] = "real"
    unit: float = 1.0
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True, eq=False)
class Output:
    """What the user reads: ``y[0..T)`` taken over time as ``read`` says, times ``unit``.

    ``weights`` has one number a step and belongs to "weighted": ``sum_t weights[t] * y[t]``.
    """

    read: Read = "mean"
    unit: Array = _array(1.0)
    weights: Array | None = None


@dataclass(frozen=True, eq=False)
class Linear:
    """``y = W x + b`` with ``W[out, in]``; ``stored[out, in]`` marks the synapses that exist (None: all)."""

    weight: Array
    bias: Array | None = None
    stored: Array | None = None


@dataclass(frozen=True, eq=False)
class Conv:
    """Cross-correlation over one or two axes, as ``torch.nn.Conv1d`` and ``Conv2d``.

    ``weight[out, in / groups, *kernel]``; ``padding`` is (before, after) for each axis, with zeros (negative: so many
    rows of the input are left out); ``bias`` broadcasts to the output's shape (it may differ from place to place).
    """

    weight: Array
    bias: Array | None = None
    stride: Ints = (1,)
    padding: Pairs = ((0, 0),)
    dilation: Ints = (1,)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class ConvTranspose:
    """The transpose of a convolution, as ``torch.nn.ConvTranspose2d``: ``weight[in, out / groups, *kernel]``."""

    weight: Array
    bias: Array | None = None
    stride: Ints = (1,)
    padding: Ints = (0,)
    output_padding: Ints = (0,)
    dilation: Ints = (1,)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Scale:
    """``y = scale * x + shift``, both broadcast to x: batch norm, an amplitude, a pool's divisor, a skip."""

    scale: Array
    shift: Array = _array(0.0)


@dataclass(frozen=True, eq=False)
class Gain:
    """A current times a number that each step of a sample has for itself: ``y[t] = gains[t] * x[t] + bias[t]``.

    ``gains[T]``; ``bias`` is 0, or broadcasts to ``[T, *shape]``, with as many axes. In an integer graph ``gains`` are
    mantissas with ``fraction`` fractional bits: ``y[t] = gains[t] * x[t] / 2**fraction + bias[t]``, where the quotient
    is rounded as the target rounds.
    """

    gains: Array
    bias: Array = _array(0.0)
    fraction: int = 0


@dataclass(frozen=True, eq=False)
class SumPool:
    """The sum over each window (average pooling is this and a :class:`Scale`)."""

    kernel: Ints
    stride: Ints
    padding: Pairs


@dataclass(frozen=True, eq=False)
class MaxPool:
    """The largest value of each window; of spikes: OR."""

    kernel: Ints
    stride: Ints
    padding: Pairs
    dilation: Ints


@dataclass(frozen=True, eq=False)
class Upsample:
    """Nearest-neighbour upsampling by whole factors, one for each axis after the first."""

    factors: Ints


@dataclass(frozen=True, eq=False)
class Reshape:
    """The same numbers in another shape, row-major (Flatten is ``Reshape((n,))``)."""

    shape: Ints


@dataclass(frozen=True, eq=False)
class Concat:
    """The inputs one after the other along ``axis``."""

    axis: int = 0


@dataclass(frozen=True, eq=False)
class Add:
    """The sum of the inputs."""


@dataclass(frozen=True, eq=False)
class Delay:
    """``y[t] = x[t - steps]``, zero before; ``steps >= 1``. The only operation that a cycle may pass through.

    It states its ``shape``, since in a cycle nothing before it does.
    """

    shape: Ints
    steps: int = 1


@dataclass(frozen=True, eq=False)
class MembraneNorm:
    """Batch norm of the membrane: ``n(h) = gamma * (h - mean) / std + beta`` (Guo et al. 2023, Eq. 7).

    ``on = "compare"``: only the comparison sees n(h), leak and reset act on h (the paper, Eq. 8).
    ``on = "membrane"``: n(h) is what stays on the membrane (SpikingJelly 2.0's MPBNLIFNode).
    """

    gamma: Array
    beta: Array
    mean: Array
    std: Array
    on: Literal["compare", "membrane"]


@dataclass(frozen=True, eq=False)
class Neuron:
    """One update for every neuron model (all parameters broadcast to the layer's shape)::

        i = current_decay * i + x + input_bias
        h = decay * v + gain * i + bias
        s = h >= threshold   (> if strict; <= or < where flip)
        v = v_reset if s else h             reset "to"
            keep * h - amount if s else h   reset "by"
            h                               reset "none"
        y = amplitude * s

    ``v`` starts at ``v_init``, ``i`` at 0. After a spike a neuron stays silent for ``refractory`` steps (-1: for
    ever), while its membrane goes on. With ``negative_threshold`` set, ``s = -1`` where ``h <= negative_threshold``
    and the reset by ``amount`` takes that sign. ``norm``, if any, is applied to h before the comparison. ``shift``
    belongs to integer graphs: x is multiplied by ``2**shift`` before it is added (and rounded, if shift is negative).

    ``deaf``: in the step after a spike the neuron does not hear its current (a reset to a value that falls one step
    late: ``h = decay * v_reset + bias`` there). Only with reset "to".

    ``max_spikes``: with more than 1, s counts how often ``amount`` can be taken from h before it no longer compares, at
    most so often: ``s = floor((h - threshold) / amount) + 1`` where ``h >= threshold`` (sinabs, Rockpool). The spikes
    of a step are one number, and as many events. Without flip, negative threshold, refractory time and ``keep``.
    """

    threshold: Array
    decay: Array = _array(1.0)
    current_decay: Array = _array(0.0)
    gain: Array = _array(1.0)
    bias: Array = _array(0.0)
    input_bias: Array = _array(0.0)
    strict: bool = False
    flip: Array = _array(False)
    reset: Literal["to", "by", "none"] = "to"
    v_reset: Array = _array(0.0)
    amount: Array = _array(0.0)
    keep: Array = _array(1.0)
    v_init: Array = _array(0.0)
    amplitude: Array = _array(1.0)
    refractory: int = 0
    negative_threshold: Array | None = None
    norm: MembraneNorm | None = None
    shift: int = 0
    deaf: bool = False
    max_spikes: int = 1


@dataclass(frozen=True, eq=False)
class Integrator:
    """A membrane that never fires: ``y = decay * y + gain * x + bias``, from 0 (decay 0: the current itself).

    ``shift`` as in :class:`Neuron`.
    """

    decay: Array = _array(0.0)
    gain: Array = _array(1.0)
    bias: Array = _array(0.0)
    shift: int = 0


Op: TypeAlias = (
    Input
    | Output
    | Linear
    | Conv
    | ConvTranspose
    | Scale
    | Gain
    | SumPool
    | MaxPool
    | Upsample
    | Reshape
    | Concat
    | Add
    | Delay
    | Neuron
    | Integrator
)

WEIGHT_OPS = (Linear, Conv, ConvTranspose, Scale)
MOST_SPIKES = 127
"""What any neuron fires in a step at most: traces and events hold 8 bits."""
LINEAR_OPS = (*WEIGHT_OPS, Gain, SumPool, Upsample, Reshape, Concat, Add)
STATEFUL_OPS = (Neuron, Integrator)
OPS: dict[str, type[Any]] = {
    op.__name__: op
    for op in (
        Input,
        Output,
        Linear,
        Conv,
        ConvTranspose,
        Scale,
        Gain,
        SumPool,
        MaxPool,
        Upsample,
        Reshape,
        Concat,
        Add,
        Delay,
        Neuron,
        Integrator,
    )
}
