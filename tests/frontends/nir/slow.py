"""Random NIR graphs of every primitive, and an interpreter written from NIR's equations: slow, and plain to see.

Forward Euler, a spike where v is above the threshold, at once to v_reset; everything starts at 0; a neuron's own output
reaches it one step later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nir
import numpy as np

from neurocompile.ir.ops import Array

DT = 1e-3


@dataclass
class Drawn:
    """A graph, an order in which its nodes can be computed, and the edges whose spikes come a step later."""

    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    late: set[tuple[str, str]] = field(default_factory=set)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)

    def graph(self) -> nir.NIRGraph:
        """As nir has it."""
        return nir.NIRGraph(self.nodes, self.edges, type_check=False)


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw(seed: int) -> Drawn:
    """One graph: images or vectors, two to six parts, perhaps with a side way, a loop, or a graph within."""
    numbers = np.random.default_rng(seed)
    made = Drawn()
    shape: tuple[int, ...] = (
        (int(numbers.integers(1, 3)), *numbers.integers(5, 8, 2))
        if numbers.random() < 0.4
        else (int(numbers.integers(2, 6)),)
    )
    shape = tuple(map(int, shape))
    last = _put(made, "input", nir.Input(np.array(shape)), shape)
    for number in range(int(numbers.integers(2, 6))):
        last, shape = _part(made, numbers, f"n{number}", last, shape)
    if len(shape) > 1:
        last, shape = _put(made, "flat", _flatten(shape), (int(np.prod(shape)),), last), (int(np.prod(shape)),)
    last = _put(made, "last", _weights(numbers, 3, shape[0]), (3,), last)
    last = _put(made, "fires", _cell(numbers, "LIF", (3,)), (3,), last)
    _put(made, "output", nir.Output(np.array([3])), (3,), last)
    return made


def _put(made: Drawn, name: str, node: Any, shape: tuple[int, ...], *sources: str) -> str:
    made.nodes[name], made.shapes[name] = node, shape
    made.edges += [(source, name) for source in sources]
    made.order.append(name)
    made.kinds.add(type(node).__name__)
    return name


def _part(made: Drawn, numbers: Any, name: str, last: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    kinds = ["LIF", "IF", "CubaLIF", "Scale", "Delay", "Threshold", "LI", "I", "CubaLI", "LIF", "CubaLIF"]
    kinds += (
        ["Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Conv2d"]
        if len(shape) == 3
        else ["Affine", "Linear", "Loop"] * 2
    )
    kind = str(numbers.choice(kinds))
    if kind == "Conv2d" and min(shape[1:]) >= 3:
        return _conv(made, numbers, name, last, shape)
    if kind in ("SumPool2d", "AvgPool2d") and min(shape[1:]) >= 2:
        pad = int(numbers.integers(0, 2))
        node = getattr(nir, kind)(np.array([2, 2]), np.array([2, 2]), np.array([pad, pad]))
        out = (shape[0], *((n + 2 * pad - 2) // 2 + 1 for n in shape[1:]))
        return _put(made, name, node, out, last), out
    if kind == "Flatten":
        out = (int(np.prod(shape)),)
        return _put(made, name, _flatten(shape), out, last), out
    if kind in ("Affine", "Linear") or (kind == "Loop" and len(shape) == 1):
        return _linear(made, numbers, name, last, shape, kind)
    if kind == "Scale":
        return _put(made, name, nir.Scale(numbers.uniform(0.5, 2, shape)), shape, last), shape
    if kind == "Delay":
        steps = numbers.integers(0, 4, shape) if numbers.random() < 0.5 else np.full(shape, numbers.integers(0, 4))
        return _put(made, name, nir.Delay(steps * DT), shape, last), shape
    if kind == "Threshold":
        return _put(made, name, nir.Threshold(numbers.uniform(-0.5, 1, shape)), shape, last), shape
    kind = kind if kind in ("LIF", "IF", "CubaLIF", "LI", "I", "CubaLI") else "LIF"
    return _put(made, name, _cell(numbers, kind, shape), shape, last), shape


def _conv(made: Drawn, numbers: Any, name: str, last: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    groups = shape[0] if numbers.random() < 0.3 else 1
    out, kernel = groups * int(numbers.integers(1, 3)), tuple(map(int, numbers.integers(2, 4, 2)))
    stride, pad, dilation = int(numbers.integers(1, 3)), int(numbers.integers(0, 2)), int(numbers.integers(1, 3))
    if any(n + 2 * pad < dilation * (k - 1) + 1 for n, k in zip(shape[1:], kernel)):
        dilation = 1
    weight = numbers.normal(0, 1, (out, shape[0] // groups, *kernel))
    node = nir.Conv2d(shape[1:], weight, stride, pad, dilation, groups, numbers.normal(0, 0.3, out))
    sizes = (((n + 2 * pad - dilation * (k - 1) - 1) // stride) + 1 for n, k in zip(shape[1:], kernel))
    shape = (out, *sizes)
    return _put(made, name, node, shape, last), shape


def _linear(
    made: Drawn, numbers: Any, name: str, last: str, shape: tuple[int, ...], kind: str
) -> tuple[str, tuple[int, ...]]:
    out = int(numbers.integers(2, 6))
    if kind != "Loop":
        return _put(made, name, _weights(numbers, out, shape[0], kind), (out,), last), (out,)
    into = _put(made, name, _weights(numbers, out, shape[0]), (out,), last)
    back = _put(made, f"{name}_back", _weights(numbers, out, out), (out,))
    fires = _put(
        made, f"{name}_fires", _cell(numbers, str(numbers.choice(["LIF", "IF", "CubaLIF"])), (out,)), (out,), into, back
    )
    made.edges.append((fires, back))
    made.late.add((fires, back))
    return fires, (out,)


def _weights(numbers: Any, out: int, into: int, kind: str = "Affine") -> Any:
    weight = numbers.normal(0, 1.5, (out, into))
    return nir.Linear(weight) if kind == "Linear" else nir.Affine(weight, numbers.normal(0, 0.5, out))


def _flatten(shape: tuple[int, ...]) -> nir.Flatten:
    return nir.Flatten({"input": np.array(shape)}, 0, -1)


def _cell(numbers: Any, kind: str, shape: tuple[int, ...]) -> Any:
    """Parameters that differ from neuron to neuron, with a gain that lets it fire."""
    tau, syn = numbers.uniform(2 * DT, 20 * DT, shape), numbers.uniform(1.5 * DT, 8 * DT, shape)
    leak = numbers.uniform(-0.3, 0.3, shape)
    spikes = {"v_threshold": numbers.uniform(0.2, 1, shape), "v_reset": numbers.uniform(-0.3, 0.1, shape)}
    r = numbers.uniform(0.5, 3, shape) * 4
    if kind in ("I", "IF"):
        return getattr(nir, kind)(r=r / (8 * DT), **(spikes if kind == "IF" else {}))
    if kind in ("LI", "LIF"):
        return getattr(nir, kind)(tau=tau, r=r, v_leak=leak, **(spikes if kind == "LIF" else {}))
    more = spikes if kind == "CubaLIF" else {}
    return getattr(nir, kind)(tau_syn=syn, tau_mem=tau, r=r, v_leak=leak, w_in=numbers.uniform(0.5, 2, shape), **more)


# -- running -----------------------------------------------------------------------------------------------------------


def run(drawn: Drawn, x: Array, near: list[float]) -> dict[str, Array]:
    """What every node gives for one sample ``x[T, *shape]``; ``near`` gets how near membranes came to thresholds."""
    given: dict[str, list[Array]] = {name: [] for name in drawn.nodes}
    state: dict[str, dict[str, Array]] = {}
    for t in range(len(x)):
        for name in drawn.order:
            node, heard = drawn.nodes[name], np.zeros(0)
            parts = []
            for source, target in drawn.edges:
                if target == name and (source, target) in drawn.late:
                    parts.append(given[source][t - 1] if t else np.zeros(drawn.shapes[source]))
                elif target == name:
                    parts.append(given[source][t])
            heard = x[t] if not parts else np.sum(parts, axis=0)
            given[name].append(_step(node, heard, state.setdefault(name, {}), drawn.shapes[name], near))
    return {name: np.array(steps) for name, steps in given.items()}


def _step(node: Any, x: Array, state: dict[str, Any], shape: tuple[int, ...], near: list[float]) -> Array:
    kind = type(node).__name__
    if kind in ("Input", "Output"):
        return x
    if kind in ("Affine", "Linear"):
        return np.array([
            sum(node.weight[o, i] * x[i] for i in range(len(x))) + (node.bias[o] if kind == "Affine" else 0.0)
            for o in range(len(node.weight))
        ])  # fmt: skip
    if kind == "Scale":
        return node.scale * x
    if kind == "Flatten":
        return x.reshape(-1)
    if kind == "Threshold":
        near.append(float(np.abs(x - node.threshold).min()))
        return (x > node.threshold).astype(float)
    if kind == "Delay":
        return _delayed(node, x, state)
    if kind == "Conv2d":
        return _convolved(node, x, shape)
    if kind in ("SumPool2d", "AvgPool2d"):
        return _pooled(node, x, shape, kind == "AvgPool2d")
    return _membrane(node, x, state, kind, shape, near)


def _delayed(node: Any, x: Array, state: dict[str, Any]) -> Array:
    heard = state.setdefault("heard", [])
    heard.append(x)
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        ago = len(heard) - 1 - round(float(node.delay[place]) / DT)
        found[place] = heard[ago][place] if ago >= 0 else 0.0
    return found


def _convolved(node: Any, x: Array, shape: tuple[int, ...]) -> Array:
    pad, stride, dilation = (np.broadcast_to(each, 2) for each in (node.padding, node.stride, node.dilation))
    x = np.pad(x, [(0, 0), (pad[0],) * 2, (pad[1],) * 2])
    out, width, rows, columns = node.weight.shape
    found = np.zeros(shape)
    for o, i, j in np.ndindex(shape):
        first = (o // (out // node.groups)) * width
        found[o, i, j] = node.bias[o] + sum(
            node.weight[o, c, k, m] * x[first + c, i * stride[0] + k * dilation[0], j * stride[1] + m * dilation[1]]
            for c in range(width) for k in range(rows) for m in range(columns)
        )  # fmt: skip
    return found


def _pooled(node: Any, x: Array, shape: tuple[int, ...], mean: bool) -> Array:
    pad = node.padding
    x = np.pad(x, [(0, 0), (pad[0],) * 2, (pad[1],) * 2])
    found = np.zeros(shape)
    for c, i, j in np.ndindex(shape):
        window = x[c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        found[c, i, j] = window.sum() / (4 if mean else 1)
    return found


def _membrane(
    node: Any, x: Array, state: dict[str, Any], kind: str, shape: tuple[int, ...], near: list[float]
) -> Array:
    v, i = state.get("v", np.zeros(shape)), state.get("i", np.zeros(shape))
    if kind.startswith("Cuba"):
        i = i + DT / node.tau_syn * (-i + node.w_in * x)
        v = v + DT / node.tau_mem * ((node.v_leak - v) + node.r * i)
    elif kind.startswith("L"):
        v = v + DT / node.tau * ((node.v_leak - v) + node.r * x)
    else:
        v = v + DT * node.r * x
    state["i"] = i
    if not kind.endswith("F"):
        state["v"] = v
        return np.array(v)
    near.append(float(np.abs(v - node.v_threshold).min()))
    fired = v > node.v_threshold
    state["v"] = np.where(fired, node.v_reset, v)
    return fired.astype(float)


def spikes_of(drawn: Drawn, given: Mapping[str, Array]) -> dict[str, Array]:
    """Those of what fires."""
    return {
        name: given[name]
        for name, node in drawn.nodes.items()
        if type(node).__name__ in ("IF", "LIF", "CubaLIF", "Threshold")
    }
