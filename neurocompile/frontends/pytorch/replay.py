"""What was recorded, run again: outputs, spikes and margins in network time."""

# mypy: disable-error-code="assignment,attr-defined,no-untyped-call"
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch

from neurocompile.frontends.base import Layout
from neurocompile.frontends.pytorch.axes import Axes
from neurocompile.frontends.pytorch.emit import SILENT, UNTOLD, Fired
from neurocompile.frontends.pytorch.layouts import arrange, to_network_time
from neurocompile.frontends.pytorch.live import tensors_of
from neurocompile.frontends.pytorch.lower import Lowered
from neurocompile.frontends.pytorch.trace import Trace, references
from neurocompile.ir import trace as ir_trace
from neurocompile.ir.interpret import read_out
from neurocompile.ir.ops import Array, Neuron, Output, Read

__all__ = ["Replay", "as_given"]


@dataclass
class Replay:
    """A recorded forward, with what tells where in it the layers of its graph fire and what it returns."""

    trace: Trace
    layout: Layout
    timesteps: int
    input_shapes: Mapping[str, tuple[int, ...]]
    read: Read | None
    lowered: Lowered

    def run(self, inputs: Mapping[str, Array]) -> ir_trace.Trace:
        """Run what was recorded, by torch in float64, on ``inputs[name][N, T, ...]``; states are cleared before."""
        parts = []
        total = len(next(iter(inputs.values())))
        size = self.trace.batch if self.trace.fixed else total
        for start in range(0, total, size):
            part = {
                name: np.asarray(inputs[name][start : start + size])
                for name in (*self.input_shapes, *self.trace.random)
            }
            count = len(next(iter(part.values())))
            if count < size:
                part = {name: np.concatenate([x, np.repeat(x[-1:], size - count, 0)]) for name, x in part.items()}
            parts.append(self._run(part).first(count))
        return ir_trace.joined(parts)

    def _run(self, inputs: Mapping[str, Array]) -> ir_trace.Trace:
        batch = len(next(iter(inputs.values())))
        given = {name: as_given(self.trace, self.layout, name, x) for name, x in inputs.items()}
        returned, watched = self.trace.run(given, batch, self.watch)
        return self.reference(returned, watched)

    @property
    def watch(self) -> frozenset[int]:
        """The values of the trace that spikes and margins are told by."""
        fired = {number for where in self.lowered.fired.values() for number in where.values} - {SILENT, UNTOLD}
        return frozenset(fired | {n for number in fired for n in self._compared(number)})

    def _compared(self, number: int) -> list[int]:
        """The operands of the comparison that a value is."""
        call = self._calls.get(number)
        if call is None or call.operation not in ("ge", "gt", "le", "lt"):
            return []
        return list(references(call.args))

    @cached_property
    def _calls(self) -> dict[int, Any]:
        return {call.out: call for call in self.trace.calls}

    def reference(self, returned: Any, watched: Mapping[int, torch.Tensor]) -> ir_trace.Trace:
        """What forward returned, and the values that were watched, in network time."""
        flat = [list(tensors_of(one)) for one in returned]
        outputs = {}
        for number, (_, axes) in enumerate(self.lowered.outputs):
            name = "output" if number == 0 else f"output.{number + 1}"
            outputs[name] = self._output([one[number] for one in flat], axes)
        spikes, margins, thresholds = {}, {}, {}
        for layer, where in self.lowered.fired.items():
            fired = self._steps(where, lambda number: torch.sign(watched[number].double()))
            spikes[layer] = fired.astype(np.int8)
            margin = self._margin(where, watched)
            if margin is not None:
                margins[layer] = margin
                op = self.lowered.graph[layer].op
                assert isinstance(op, Neuron)
                size = np.abs(op.threshold)
                thresholds[layer] = float(size[np.isfinite(size)].min(initial=1.0))
        return ir_trace.Trace(
            outputs=outputs, spikes=spikes, margins=margins, thresholds=thresholds, untold=self.lowered.untold
        )

    def _output(self, parts: Sequence[torch.Tensor], axes: tuple[Axes, ...]) -> Array:
        how = Output(self.read or "mean")
        if self.layout == "loop":
            steps = [to_network_time(x, a, self.timesteps) for x, a in zip(parts, axes)]
            return read_out(how, torch.stack(steps, 1).double().numpy())
        timed = any("T" in name for name in axes[0])
        value = to_network_time(parts[0], axes[0], self.timesteps).double().numpy()
        return read_out(how, value) if timed else np.asarray(value)

    def _steps(self, where: Fired, value: Any, silent: float = 0.0) -> Array:
        """``[N, T, ...]`` of values of the trace, one for each step; ``silent`` before anything arrives."""
        found = []
        cache: dict[int, torch.Tensor] = {}
        shape = None
        for number, axes, step in zip(where.values, where.axes, where.steps):
            if number in (SILENT, UNTOLD):
                continue
            if number not in cache:
                x = value(number)
                rank = len(axes)
                x = x.expand(*([1] * (rank - x.ndim)), *x.shape) if x.ndim < rank else x
                cache[number] = to_network_time(x, axes, self.timesteps)
            x = cache[number]
            x = x[:, step] if step >= 0 else x
            found.append(x)
            shape = x.shape if shape is None or x.numel() > prod(shape) else shape
        assert shape is not None
        layer = self.lowered.graph.edges[next(n for n, w in self.lowered.fired.items() if w is where)].shape
        nothing = torch.full(shape, silent, dtype=found[0].dtype)
        before, after = where.values.count(SILENT), where.values.count(UNTOLD)
        found = [nothing] * before + found + [nothing] * after
        return torch.stack([x.expand(shape).reshape(shape[0], *layer) for x in found], 1).numpy()

    def _margin(self, where: Fired, watched: Mapping[int, torch.Tensor]) -> Array | None:
        if not all(self._compared(number) for number in where.values if number not in (SILENT, UNTOLD)):
            return None

        def margin(number: int) -> torch.Tensor:
            call = self._calls[number]
            a, b = (watched[p.number] if hasattr(p, "number") else torch.as_tensor(p) for p in call.args[:2])
            return (a.double() - b.double()).expand(watched[number].shape)

        return self._steps(where, margin, silent=np.inf)


def as_given(trace: Trace, layout: Layout, name: str, x: Array) -> list[torch.Tensor]:
    """An input ``[N, T, ...]`` as the values of a trace."""
    if name in trace.random:
        at = trace.random_batch.get(name, 0)
        tensor = torch.from_numpy(np.ascontiguousarray(x, np.float64))
        if len(trace.random[name]) > 1:
            return [part.movedim(0, at).contiguous() for part in tensor.unbind(1)]
        return [(tensor.transpose(0, 1) if at == 1 else tensor[:, 0]).contiguous()]
    tensors = arrange(x, layout)
    return [t.long() for t in tensors] if name in trace.whole else tensors
