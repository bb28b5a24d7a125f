"""The functional simulator: a Program's integers, step by step, with the target's arithmetic. Slow and obvious.

Engines that are faster are compared with this one, integer for integer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neurocompile.arithmetic import Arithmetic, Rounding
from neurocompile.ir.counts import Counts, LayerCounts
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.interpret import amounts_in, read_out, reset, spikes_of
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import Array, Delay, Gain, Input, Integrator, Neuron, Output
from neurocompile.ir.trace import Trace
from neurocompile.simulator.counts import Fanout, count_events, fanouts

__all__ = ["Registers", "State", "shifted", "simulate_integers"]

State = dict[str, dict[str, Array]]


def simulate_integers(
    graph: Graph,
    arithmetic: Arithmetic,
    inputs: Mapping[str, Array],
    *,
    membranes: bool = False,
    state: State | None = None,
    found: list[Fanout] | None = None,
) -> Trace:
    """Run an integer graph.

    Args:
        graph: the integer graph of a Program.
        arithmetic: of its target.
        inputs: integers ``inputs[name][N, T, *shape]``.
        membranes: whether to keep the membranes and potentials of every neuron and integrator.
        state: where an earlier run ended (at first {}), left where this one ends; None: everything at rest.
        found: the graph's fan-outs, if they are at hand.
    """
    batch, timesteps = next(iter(inputs.values())).shape[:2]
    machine = _Machine(graph, arithmetic, batch, {} if state is None else state)
    found = fanouts(graph) if found is None else found
    counts = Counts({name: LayerCounts.zero(batch) for name in form_of(graph).counted})
    trace: dict[str, list[Array]] = {n.name: [] for n in graph.of(Neuron, Output)}
    kept: dict[str, list[Array]] = {n.name: [] for n in graph.of(Neuron, Integrator)} if membranes else {}
    left: dict[str, list[Array]] = {name: [] for name in kept}
    for t in range(timesteps):
        now = machine.step({name: x[:, t] for name, x in inputs.items()}, counts, t)
        count_events(counts, now, found, arithmetic.graded_spikes)
        for name, steps in trace.items():
            steps.append(now[name])
        for name, steps in kept.items():
            steps.append(machine.membrane[name])
            left[name].append(machine.state[name]["y" if "y" in machine.state[name] else "v"])
    stacked = {name: np.stack(steps, axis=1) for name, steps in trace.items()}
    return Trace(
        outputs={n.name: read_out(n.op, stacked[n.name]) for n in graph.of(Output) if isinstance(n.op, Output)},
        spikes={n.name: stacked[n.name].astype(np.int8) for n in graph.of(Neuron)},
        membranes={name: np.stack(steps, axis=1) for name, steps in kept.items()},
        potentials={name: np.stack(steps, axis=1) for name, steps in left.items()},
        counts=counts,
        overflows=machine.overflows,
    )


class Registers:
    """What registers do: neurons in a target's integers; ``overflows`` counts the values that left a range."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        self.overflows = 0

    def fire(self, op: Neuron, x: Array, state: dict[str, Array]) -> tuple[Array, Array]:
        """One step of neurons for a current ``[N, *shape]`` of whole numbers: spikes, and membranes before the reset.

        The state ({}: at rest) is changed in place, but for the membrane, which is left to :meth:`reset`.
        """
        if not state:
            state |= _rest(op, x)
        state["i"] = self.current(
            self.decayed(state["i"], op.current_decay) + self.shifted(x, op.shift) + op.input_bias
        )
        heard = np.where(state["wait"] != 0, 0, state["i"]) if op.deaf else state["i"]
        h = self.held(self.decayed(state["v"], op.decay) + heard + op.bias)
        spikes = spikes_of(op, h, state)
        if op.max_spikes > 1:
            self.overflows += int((amounts_in(op, h) > op.max_spikes).sum())
        if op.deaf:
            state["wait"] = (spikes != 0).astype(np.int64)
        return spikes, h

    def reset(self, op: Neuron, h: Array, spikes: Array) -> Array:
        """The membrane after the spikes."""
        kept = reset(op, h, spikes)
        if op.reset == "by":
            kept = np.where(spikes != 0, self.decayed(h, op.keep) - op.amount * spikes, h)
        return self.held(kept)

    def decayed(self, value: Array, mantissa: Array) -> Array:
        """A register times a fixed-point decay, rounded as the target does."""
        return self.shifted(value * mantissa, -self.arithmetic.decay_fraction)

    def shifted(self, value: Array, shift: int) -> Array:
        """A whole number times ``2**shift``, rounded as the target does."""
        return shifted(value, shift, self.arithmetic.rounding)

    def held(self, value: Array) -> Array:
        """What a membrane's register keeps of a value that may be too large for it."""
        return self._kept(value, self.arithmetic.overflow, self.arithmetic.state_min, self.arithmetic.state_max)

    def current(self, value: Array) -> Array:
        """What a current's register keeps of a value that may be too large for it."""
        how, most = self.arithmetic.current_overflow or self.arithmetic.overflow, self.arithmetic.state_max
        if how == "wrap-once":
            return self._kept(value, how, -most, most + 1)
        return self._kept(value, how, -most - 1, most)

    def _kept(self, value: Array, how: str, least: int, most: int) -> Array:
        outside = (value > most) | (value < least)
        if not outside.any():
            return value
        self.overflows += int(outside.sum())
        span = most - least + 1
        match how:
            case "saturate":
                return np.clip(value, least, most)
            case "wrap":
                return (value - least) % span + least
        return np.where(value > most, value - span, np.where(value < least, value + span, value))


def _rest(op: Neuron, x: Array) -> dict[str, Array]:
    return {
        "v": np.broadcast_to(op.v_init, x.shape).astype(np.int64),
        "i": np.zeros_like(x),
        "wait": np.zeros_like(x),
    }


class _Machine(Registers):
    """All registers of the chip."""

    def __init__(self, graph: Graph, arithmetic: Arithmetic, batch: int, state: State) -> None:
        super().__init__(arithmetic)
        self.graph = graph
        self.batch = batch
        self.state = state
        self.membrane: dict[str, Array] = {}

    def step(self, inputs: Mapping[str, Array], counts: Counts, t: int) -> dict[str, Array]:
        """Time step t of a sample: what every node emits ``[N, *shape]`` (whole numbers in float64)."""
        now: dict[str, Array] = {}
        for node in self.graph:
            match node.op:
                case Input():
                    now[node.name] = np.asarray(inputs[node.name], np.float64)
                case Output():
                    now[node.name] = now[node.inputs[0]]
                case Delay(shape=shape, steps=steps):
                    line = self.state.setdefault(node.name, {"line": np.zeros((steps, self.batch, *shape))})["line"]
                    now[node.name] = line[0]
                case Gain() as op:
                    now[node.name] = self._gained(op, now[node.inputs[0]], t)
                case Integrator() as op:
                    now[node.name] = self._integrate(node.name, op, now[node.inputs[0]], counts.layers[node.name])
                case Neuron() as op:
                    now[node.name] = self._fire(node.name, op, now[node.inputs[0]], counts.layers[node.name])
                case op:
                    now[node.name] = apply(op, [now[name] for name in node.inputs])
        for node in self.graph.of(Delay):
            line = self.state[node.name]["line"]
            self.state[node.name]["line"] = np.concatenate((line[1:], now[node.inputs[0]][None]))
        return now

    def _gained(self, op: Gain, current: Array, t: int) -> Array:
        bias = op.bias[t] if op.bias.ndim else op.bias
        y = self.shifted(current.astype(np.int64) * op.gains[t], -op.fraction) + bias
        return y.astype(np.float64)

    def _integrate(self, name: str, op: Integrator, current: Array, counts: LayerCounts) -> Array:
        x = current.astype(np.int64)
        y = self.state[name]["y"] if name in self.state else np.zeros_like(x)
        _count_updates(counts, (x != 0) | (y != 0))
        x = self.shifted(x, op.shift)
        if self.arithmetic.current_overflow:
            x = self.current(x)
        y = self.held(self.decayed(y, op.decay) + x + op.bias)
        self.state[name] = {"y": y}
        self.membrane[name] = y
        return y.astype(np.float64)

    def _fire(self, name: str, op: Neuron, current: Array, counts: LayerCounts) -> Array:
        x = current.astype(np.int64)
        state = self.state.setdefault(name, _rest(op, x))
        # A current that nothing is left of is no state.
        _count_updates(counts, (x != 0) | (state["v"] != 0) | (state["i"] * op.current_decay != 0))
        spikes, h = self.fire(op, x, state)
        state["v"] = self.reset(op, h, spikes)
        self.membrane[name] = h
        counts.spikes += np.abs(spikes).reshape(len(x), -1).sum(1)
        return spikes.astype(np.float64)


def shifted(value: Array, shift: int, rounding: Rounding) -> Array:
    """A whole number times ``2**shift``, rounded as a target does where shift is negative."""
    if shift >= 0:
        return np.asarray(value << shift)
    match rounding:
        case "nearest":
            return np.asarray((value + (1 << (-shift - 1))) >> -shift)
        case "floor":
            return np.asarray(value >> -shift)
        case "zero":
            return np.asarray(np.sign(value) * (np.abs(value) >> -shift))


def _count_updates(counts: LayerCounts, active: Array) -> None:
    flat = active.reshape(len(active), -1)
    counts.active += flat.sum(1)
    counts.inactive += (~flat).sum(1)
