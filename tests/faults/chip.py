"""The neuron equation in integers once more, one layer a cell, so that a fault can change any of its rules.

It shares nothing with the simulators but what one stateless operation does to a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir.graph import Graph
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import Array, Delay, Input, Integrator, Neuron, Output

__all__ = ["Cell", "Maker", "Spikes", "fired"]

Spikes: TypeAlias = dict[str, Array]
"""By layer, ``[N, T, *shape]``."""


class Cell:
    """A layer of neurons as it should be; a fault overrides what it does otherwise.

    Args:
        op: its parameters.
        arithmetic: of the target.
        size: ``(N, *shape)``.
    """

    def __init__(self, op: Neuron, arithmetic: Arithmetic, size: tuple[int, ...]) -> None:
        self.op, self.arithmetic, self.size, self.t = op, arithmetic, size, -1
        self.v = np.zeros(size, np.int64)
        self.i = np.zeros(size, np.int64)
        self.start()

    def start(self) -> None:
        """Before the first step of all samples."""
        self.v = np.broadcast_to(self.op.v_init, self.size).astype(np.int64)

    def step(self, x: Array) -> Array:
        """What it emits for a synaptic sum."""
        self.t += 1
        h = self.membrane(x.astype(np.int64))
        spikes = self.fires(h)
        self.v = self.reset(h, spikes)
        return self.emitted(spikes)

    def membrane(self, x: Array) -> Array:
        """Before the comparison."""
        op = self.op
        self.i = self.decayed(self.i, op.current_decay) + self.shifted(x, op.shift) + op.input_bias
        return self.held(self.decayed(self.v, op.decay) + self.i + op.bias)

    def fires(self, h: Array) -> Array:
        """The comparison."""
        op = self.op
        up, down = (h > op.threshold, h < op.threshold) if op.strict else (h >= op.threshold, h <= op.threshold)
        return np.where(op.flip, down, up).astype(np.int64)

    def reset(self, h: Array, spikes: Array) -> Array:
        """The membrane after the spikes."""
        op = self.op
        if op.reset == "to":
            return np.where(spikes != 0, op.v_reset, h)
        if op.reset == "by":
            return self.held(np.where(spikes != 0, self.decayed(h, op.keep) - op.amount, h))
        return h

    def emitted(self, spikes: Array) -> Array:
        """What leaves the layer."""
        return spikes

    # -- arithmetic ----------------------------------------------------------------------------------------------------

    def decayed(self, value: Array, mantissa: Array) -> Array:
        """A register times a decay."""
        return self.shifted(value * mantissa, -self.arithmetic.decay_fraction)

    def shifted(self, value: Array, shift: int) -> Array:
        """Times a power of two, rounded."""
        if shift >= 0:
            return np.asarray(value * 2**shift)
        divisor = 2**-shift
        match self.arithmetic.rounding:
            case "nearest":
                return np.asarray(np.floor_divide(value + divisor // 2, divisor))
            case "floor":
                return np.asarray(np.floor_divide(value, divisor))
        return np.asarray(np.sign(value) * np.floor_divide(np.abs(value), divisor))

    def held(self, value: Array) -> Array:
        """What a membrane's register keeps."""
        low, high = self.arithmetic.state_min, self.arithmetic.state_max
        if self.arithmetic.overflow == "saturate":
            return np.clip(value, low, high)
        return (value - low) % (high - low + 1) + low


Maker: TypeAlias = Callable[[Neuron, Arithmetic, tuple[int, ...]], Cell]


def fired(
    graph: Graph,
    arithmetic: Arithmetic,
    inputs: Mapping[str, Array],
    cells: Mapping[str, Maker] | None = None,
    heard: Mapping[str, Array] | None = None,
) -> Spikes:
    """What every layer fires.

    Args:
        graph: of integers.
        arithmetic: of the target.
        inputs: integers ``[N, T, *shape]`` by name.
        cells: what some layers are made of; None: all are as they should be.
        heard: what some layers were recorded to emit, which is what all others hear in their place.
    """
    size, steps = next(iter(inputs.values())).shape[:2]
    layers: dict[str, Any] = {}
    lines: dict[str, list[Array]] = {}
    found: dict[str, list[Array]] = {node.name: [] for node in graph.of(Neuron)}
    for t in range(steps):
        now: dict[str, Array] = {}
        for node in graph:
            name, op = node.name, node.op
            match op:
                case Input():
                    now[name] = inputs[name][:, t].astype(np.float64)
                case Delay():
                    line = lines.setdefault(name, [np.zeros((size, *op.shape))] * op.steps)
                    now[name] = line[t]
                case Neuron():
                    x = now[node.inputs[0]]
                    if name not in layers:
                        layers[name] = (cells or {}).get(name, Cell)(op, arithmetic, x.shape)
                    emits = layers[name].step(x)
                    found[name].append(emits)
                    now[name] = (heard[name][:, t] if heard and name in heard else emits).astype(np.float64)
                case Integrator() | Output():
                    now[name] = now[node.inputs[0]]
                case _:
                    now[name] = apply(op, [now[source] for source in node.inputs])
        for node in graph.of(Delay):
            lines[node.name].append(now[node.inputs[0]])
    return {name: np.stack(steps_, axis=1).astype(np.int8) for name, steps_ in found.items()}
