"""An executor that another package brings: a Program's integers in plain Python, one neuron and one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neurocompile.ir.ops import Array, Input, Integrator, Linear, Neuron, Output, Scale
from neurocompile.ir.trace import Trace
from neurocompile.program import Program
from neurocompile.simulator.base import Runner, RunnerSettings

_KNOWN = (Input, Linear, Scale, Neuron, Integrator, Output)


class Toy:
    """Runs networks of full connections, as the target's docs say: whole numbers, rounded to the nearest."""

    name = "plain Python"

    def __init__(self, program: Program) -> None:
        self.program = program
        self.sizes = {node.name: program.integer.edges[node.name].size for node in program.integer}

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Spikes and membranes after the reset ``[N, T, *shape]``."""
        whole, clipped = self.program.integers(inputs)
        spikes: dict[str, list[Any]] = {}
        left: dict[str, list[Any]] = {}
        for sample in range(len(next(iter(whole.values())))):
            kept: dict[str, list[int]] = {}
            for step in range(self.program.timesteps):
                now = self._step({name: x[sample, step].ravel().tolist() for name, x in whole.items()}, kept)
                for name in kept:
                    left.setdefault(name, []).append(list(kept[name]))
                for node in self.program.integer.of(Neuron):
                    spikes.setdefault(node.name, []).append(now[node.name])
        return Trace(spikes=self._arrays(spikes), potentials=self._arrays(left), clipped=clipped)

    def _arrays(self, lists: Mapping[str, list[Any]]) -> dict[str, Array]:
        steps, edges = self.program.timesteps, self.program.integer.edges
        return {name: np.array(x).reshape(-1, steps, *edges[name].shape) for name, x in lists.items()}

    def _step(self, inputs: Mapping[str, list[int]], kept: dict[str, list[int]]) -> dict[str, list[int]]:
        now = dict(inputs)
        for node in self.program.integer:
            op, size = node.op, range(self.sizes[node.name])
            if isinstance(op, Linear):
                x, weight = now[node.inputs[0]], op.weight.tolist()
                now[node.name] = [sum(int(w) * v for w, v in zip(weight[k], x)) for k in size]
            elif isinstance(op, Scale):
                x, scale = now[node.inputs[0]], np.broadcast_to(op.scale, len(size)).tolist()
                now[node.name] = [int(scale[k]) * x[k] for k in size]
            elif isinstance(op, Neuron | Integrator):
                v = kept.get(node.name) or _each(getattr(op, "v_init", 0), len(size))
                now[node.name], kept[node.name] = self._updated(op, now[node.inputs[0]], v)
        return now

    def _updated(self, op: Neuron | Integrator, x: list[int], v: list[int]) -> tuple[list[int], list[int]]:
        """What a layer gives, and the membranes that it keeps."""
        decay, bias = _each(op.decay, len(x)), _each(op.bias, len(x))
        h = [self._decayed(v[k], decay[k]) + _shifted(x[k], op.shift) + bias[k] for k in range(len(x))]
        if isinstance(op, Integrator):
            return h, h
        threshold, to, by = (_each(value, len(x)) for value in (op.threshold, op.v_reset, op.amount))
        fired = [int(a > b if op.strict else a >= b) for a, b in zip(h, threshold)]
        reset = {"to": to, "by": [a - b for a, b in zip(h, by)], "none": h}[op.reset]
        return fired, [reset[k] if fired[k] else h[k] for k in range(len(x))]

    def _decayed(self, value: int, mantissa: int) -> int:
        return _shifted(value * mantissa, -self.program.arithmetic.decay_fraction)


def _each(value: Any, count: int) -> list[int]:
    return [int(x) for x in np.broadcast_to(value, count)]


def _shifted(value: int, shift: int) -> int:
    return value << shift if shift >= 0 else (value + (1 << (-shift - 1))) >> -shift


def _open(program: Program, settings: RunnerSettings) -> Toy | str:
    if program.target != "generic":
        return ""
    wrong = [node.name for node in program.integer if not isinstance(node.op, _KNOWN)]
    return f"the toy does not know {wrong[0]}" if wrong else Toy(program)


TOY = Runner("toy", 5, _open)
