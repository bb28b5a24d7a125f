"""Which type each value of an integer graph has: the narrowest that holds all it can be, as the bounds prove."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.errors import Problem
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Input, Integrator, Scale, SumPool
from neurocompile.quantization.bounds import Interval, current_ranges, event_ranges, weighted_range

__all__ = ["FLOAT32_MAX", "Ranges", "type_for"]

FLOAT32_MAX = 2**24
"""All whole numbers up to here, and no further, are numbers of float32."""


def type_for(low: float, high: float) -> Any:
    """int8, int32 or int64, whichever is the first to hold all from low to high."""
    for dtype in (np.int8, np.int32):
        ends = np.iinfo(dtype)
        if ends.min <= low and high <= ends.max:
            return dtype
    return np.int64


@dataclass
class Ranges:
    """Of an integer graph: the type of each event and current, the reach of what layers hear, and what is too large.

    ``count`` is how many bytes with a sign an event has. ``partial`` is, for each node with weights (or a SumPool), the
    largest sum of sizes of its products: no partial sum in any order is larger.
    """

    types: dict[str, Any]
    count: dict[str, int]
    reach: dict[str, int]
    partial: dict[str, float]
    problems: list[Problem]

    @staticmethod
    def of(graph: Graph) -> Ranges:
        """Find them all."""
        found = Ranges({}, {}, {}, {}, [])
        for node in graph.of(Input):
            if not (np.isfinite(node.op.low) and np.isfinite(node.op.high)):  # type: ignore[union-attr]
                what = "the range of this input is not known, and ONNX wants a type for it"
                found.problems.append(Problem(what, node.name, fix="compile the model again, with samples"))
        if found.problems:
            return found
        events = event_ranges(graph)
        for name, event in events.items():
            found.types[name] = _held(event)
            found.count[name] = _bytes_for(event.magnitude)
        for node in graph.of(SumPool):
            given = _sizes(events[node.inputs[0]])
            found.partial[node.name] = float(given.high.max(initial=0) * np.prod(node.op.kernel))  # type: ignore[union-attr]
        for layer in form_of(graph).layers.values():
            currents = current_ranges(layer, events)
            for name, current in currents.items():
                found.types[name] = np.int32 if _held(current) is not np.int64 else np.int64
                if current.magnitude >= 2**62:
                    what = "what this layer adds up leaves 64 bits"
                    found.problems.append(Problem(what, name, f"{current.magnitude:,}", f"{2**62:,}", "scale it down"))
            found.reach[layer.name] = currents[layer.current].magnitude
            found.types[layer.name] = found.types.get(layer.name, np.int64)
            for synapse in layer.synapses:
                bare = _size_of(synapse.op)
                node = replace(synapse.node, op=bare)
                sizes = weighted_range(replace(synapse, node=node), _sizes(events[synapse.event]))
                found.partial[synapse.name] = float(sizes.high.max(initial=0))
        for node in graph.of(Integrator):
            found.types[node.name] = np.int64
        return found


def _held(interval: Interval) -> Any:
    return type_for(float(interval.low.min(initial=0)), float(interval.high.max(initial=0)))


def _bytes_for(most: int) -> int:
    return next(k for k in range(1, 9) if most <= 127 * (256**k - 1) // 255 or k == 8)


def _sizes(event: Interval) -> Interval:
    most = np.maximum(np.abs(event.low), np.abs(event.high))
    return Interval(most * 0, most)


def _size_of(op: Any) -> Any:
    """The same weights without their signs."""
    name = "scale" if isinstance(op, Scale) else "weight"
    return replace(op, **{name: np.abs(getattr(op, name))})
