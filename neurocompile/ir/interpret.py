"""The oracle: a graph run step by step in float64, exactly as its operations' docstrings say, with no tricks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neurocompile.ir.graph import Graph
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import Array, Delay, Gain, Input, Integrator, Neuron, Output
from neurocompile.ir.trace import Trace

__all__ = ["fire", "interpret", "read_out", "reset", "spikes_of", "step"]


def interpret(
    graph: Graph,
    inputs: Mapping[str, Array],
    timesteps: int,
    *,
    membranes: bool = False,
    values: frozenset[str] = frozenset(),
) -> Trace:
    """Run a real graph on ``inputs[name][N, T, *shape]`` for ``timesteps`` steps, states cleared before the first.

    ``membranes`` asks for these, ``values`` for what else is wanted by name, ``[N, T, *shape]``.
    """
    batch = len(next(iter(inputs.values())))
    state: dict[str, dict[str, Array]] = {}
    past: dict[str, list[Array]] = {name: [] for node in graph.of(Delay) for name in node.inputs}
    trace: dict[str, list[Array]] = {
        node.name: [] for node in graph if isinstance(node.op, Neuron | Output) or node.name in values
    }
    membrane: dict[str, list[Array]] = {node.name: [] for node in graph.of(Neuron)}
    for t in range(timesteps):
        now: dict[str, Array] = {}
        for node in graph:
            match node.op:
                case Input():
                    now[node.name] = np.asarray(inputs[node.name][:, t], np.float64)
                case Output():
                    now[node.name] = now[node.inputs[0]]
                case Delay(shape=shape, steps=steps):
                    history = past[node.inputs[0]]
                    now[node.name] = history[t - steps] if t >= steps else np.zeros((batch, *shape))
                case Gain() as op:
                    bias = op.bias[t] if op.bias.ndim else op.bias
                    now[node.name] = op.gains[t] * now[node.inputs[0]] + bias
                case Integrator() as op:
                    x = now[node.inputs[0]]
                    y = state[node.name]["y"] if node.name in state else np.zeros_like(x)
                    now[node.name] = op.decay * y + op.gain * x + op.bias
                    state[node.name] = {"y": now[node.name]}
                case Neuron() as op:
                    x = now[node.inputs[0]]
                    spikes, h = fire(op, x, state.setdefault(node.name, _rest(op, x)))
                    now[node.name] = op.amplitude * spikes
                    if node.name in trace:
                        trace[node.name].append(spikes)
                    if membranes:
                        membrane[node.name].append(h)
                case op:
                    now[node.name] = apply(op, [now[source] for source in node.inputs])
            if node.name in trace and not isinstance(node.op, Neuron):
                trace[node.name].append(now[node.name])
        for name, history in past.items():
            history.append(now[name])
    stacked = {name: np.stack(steps, axis=1) for name, steps in trace.items()}
    return Trace(
        outputs={n.name: read_out(n.op, stacked[n.name]) for n in graph.of(Output) if isinstance(n.op, Output)},
        spikes={node.name: stacked[node.name].astype(np.int8) for node in graph.of(Neuron)},
        membranes={name: np.stack(steps, axis=1) for name, steps in membrane.items() if steps},
        values={name: stacked[name] for name in values},
    )


def step(op: Neuron | Integrator, x: Array, state: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """One step of a neuron or a membrane for a current ``[N, *shape]``: what it gives, and its state ({}: rest)."""
    if isinstance(op, Integrator):
        y = op.decay * state.get("y", np.zeros_like(x)) + op.gain * x + op.bias
        return y, {"y": y}
    spikes, _ = fire(op, x, state)
    return op.amplitude * spikes, state


def _rest(op: Neuron, x: Array) -> dict[str, Array]:
    return {
        "v": np.broadcast_to(op.v_init, x.shape).astype(np.float64),
        "i": np.zeros_like(x),
        "wait": np.zeros(x.shape, np.int64),
        "fired": np.zeros(x.shape, bool),
    }


def fire(op: Neuron, x: Array, state: dict[str, Array]) -> tuple[Array, Array]:
    """One step of the neuron equation: the spikes and h. The state ({}: rest) is changed in place."""
    if not state:
        state |= _rest(op, x)
    state["i"] = op.current_decay * state["i"] + x + op.input_bias
    heard = np.where(state["fired"], 0.0, state["i"]) if op.deaf else state["i"]
    h = op.decay * state["v"] + op.gain * heard + op.bias
    compared = h
    if op.norm is not None:
        compared = op.norm.gamma * (h - op.norm.mean) / op.norm.std + op.norm.beta
        if op.norm.on == "membrane":
            h = compared
    spikes = spikes_of(op, compared, state)
    state["v"] = reset(op, h, spikes)
    state["fired"] = spikes != 0
    return spikes, h


def spikes_of(op: Neuron, h: Array, state: dict[str, Array]) -> Array:
    """The comparison and the refractory wait; exact for float64 and for integers alike."""
    up = h > op.threshold if op.strict else h >= op.threshold
    down = h < op.threshold if op.strict else h <= op.threshold
    spikes = np.where(op.flip, down, up).astype(h.dtype)
    if op.max_spikes > 1:
        return np.where(up, np.minimum(amounts_in(op, h), op.max_spikes), 0).astype(h.dtype)
    if op.negative_threshold is not None:
        below = h < op.negative_threshold if op.strict else h <= op.negative_threshold
        spikes = np.where(below & (spikes == 0), -1, spikes).astype(h.dtype)
    if op.refractory:
        spikes = np.where(state["wait"] != 0, 0, spikes).astype(h.dtype)
        state["wait"] = np.where(
            spikes != 0, op.refractory, np.maximum(state["wait"] - 1, np.minimum(state["wait"], 0))
        )
    return spikes


def amounts_in(op: Neuron, h: Array) -> Array:
    """How often ``amount`` can be taken from h before it no longer compares; for an h that does."""
    above = h + (op.amount - op.threshold)  # where both are one number, h itself: no rounding
    whole = h.dtype.kind == "i"
    if op.strict:
        return np.asarray(-(-above // op.amount) - 1 if whole else np.ceil(above / op.amount) - 1)
    return np.asarray(above // op.amount if whole else np.floor(above / op.amount))


def reset(op: Neuron, h: Array, spikes: Array) -> Array:
    """The membrane after the spikes."""
    if op.reset == "to":
        return np.where(spikes != 0, op.v_reset, h)
    if op.reset == "by":
        return np.where(spikes != 0, op.keep * h - op.amount * spikes, h)
    return h


def read_out(op: Output, values: Array) -> Array:
    """What an output gives for its values ``[N, T, *shape]``.

    Sums over time add one step after the other: then all executors give the same float64, whatever library adds.
    """
    match op.read:
        case "mean":
            read = _over_time(values) / values.shape[1]
        case "sum":
            read = _over_time(values)
        case "last":
            read = values[:, -1]
        case "max":
            read = values.max(axis=1)
        case "max-abs":
            high, low = values.max(axis=1), values.min(axis=1)
            read = np.where(np.abs(high) > np.abs(low), high, low)
        case "weighted":
            assert op.weights is not None
            read = _over_time(values, op.weights)
        case "sequence":
            read = values
    return np.asarray(read * op.unit)


def _over_time(values: Array, weights: Array | None = None) -> Array:
    total = np.zeros((len(values), *values.shape[2:]))
    for t in range(values.shape[1]):
        total = total + (values[:, t] if weights is None else values[:, t] * weights[t])
    return total
