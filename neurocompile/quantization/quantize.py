"""A real graph in synaptic form becomes the integer graph of a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.errors import DoesNotFit, Problem, UsageError
from neurocompile.ir.arrays import compact
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.interpret import interpret
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import Array, Integrator, Neuron, Output
from neurocompile.quantization.bounds import Interval, event_ranges, membrane_bounds, sum_ranges
from neurocompile.quantization.rows import Synapse, row_groups, synapses_of
from neurocompile.quantization.scales import Method, group_scales
from neurocompile.targets import Arithmetic

__all__ = ["Quantization", "quantize"]

# A real this close to a whole number of steps is that number: the division left the rest.
_WHOLE = 1e-9


@dataclass(frozen=True)
class Quantization:
    """An integer graph, and for each neuron or integrator the real value of one step of its membrane ``[*shape]``."""

    graph: Graph
    units: dict[str, Array]
    log: list[str]


def quantize(
    graph: Graph,
    arithmetic: Arithmetic,
    timesteps: int,
    *,
    bits: int,
    per_channel: bool = True,
    method: Method = "max",
    calibration: Mapping[str, Array] | None = None,
) -> Quantization:
    """Choose scales, round, and prove that nothing overflows.

    Each neuron has one scale for all synapses that meet in it: its threshold, biases, reset and first value are
    expressed in it, so that a scale of its own for each channel costs nothing.

    Args:
        graph: after the synapses pass; its inputs take integers.
        arithmetic: of the target.
        timesteps: T, for which the bounds are proved.
        bits: of a weight, sign included.
        per_channel: a scale for each output channel, or one for all synapses of a layer.
        method: how scales are chosen (:func:`neurocompile.quantization.scales.group_scales`).
        calibration: integer inputs ``[N, T, *shape]``, for the method "membrane".

    Raises:
        UsageError: if the width of the weights is none that the target has, or calibration data are missing.
        DoesNotFit: for decays outside the target's range and for membranes that could overflow, all at once.
    """
    if not arithmetic.weight_bits_min <= bits <= arithmetic.weight_bits_max:
        limit = f"{arithmetic.weight_bits_min} to {arithmetic.weight_bits_max}"
        raise UsageError(
            Problem("the target has no weights of this width", "--bits", str(bits), limit, "choose one that it has")
        )
    if method == "membrane" and calibration is None:
        what = "the scale that minimises the error of the membrane needs calibration data"
        raise UsageError(Problem(what, "--scale membrane", fix="give --calibrate X.npz"))
    consumers = graph.of(Neuron, Integrator)
    seen = _calibrate(graph, consumers, calibration, timesteps) if method == "membrane" else None
    choices = _Choices(arithmetic, timesteps, bits, per_channel, method)
    changed: dict[str, Node | None] = {}
    scales: dict[str, Array] = {}
    log = []
    for node in consumers:
        nodes, scales[node.name], said = _whole_weights(graph, node, choices, seen)
        changed |= {done.name: done for done in nodes}
        log.append(said)
    weighted = graph.rewritten(changed)
    events = event_ranges(weighted)
    problems: list[Problem] = []
    units: dict[str, Array] = {}
    final: dict[str, Node | None] = {}
    for node in consumers:
        shape = graph.edges[node.name].shape
        current = sum_ranges(weighted, weighted[node.name], events)
        op, unit, trouble = _fitted(node, shape, scales[node.name], current, arithmetic, timesteps)
        problems += trouble
        units[node.name] = unit
        final[node.name] = replace(node, op=op)
        log.append(f"{node.name}: membrane in steps of {unit.min():.4g}..{unit.max():.4g} (shift {op.shift})")
    for node in graph.of(Output):
        assert isinstance(node.op, Output)
        unit = node.op.unit * units[node.inputs[0]]
        final[node.name] = replace(node, op=replace(node.op, unit=compact(unit, graph.edges[node.name].shape)))
    if any("overflow" in problem.what for problem in problems):
        settings = {"per_channel": per_channel, "method": method, "calibration": calibration}
        fix = _way_out(graph, arithmetic, timesteps, bits, settings)
        problems = [replace(problem, fix=problem.fix or fix) for problem in problems]
    if problems:
        raise DoesNotFit(problems)
    return Quantization(weighted.rewritten(final), units, log)


@dataclass(frozen=True)
class _Choices:
    arithmetic: Arithmetic
    timesteps: int
    bits: int
    per_channel: bool
    method: Method


def _whole_weights(
    graph: Graph, node: Node, choices: _Choices, seen: Mapping[str, Array] | None
) -> tuple[list[Node], Array, str]:
    """The synapses of one consumer with integer weights, the scale of each of its neurons, and what was done."""
    bits, shape = choices.bits, graph.edges[node.name].shape
    synapses = synapses_of(graph, node)
    error = None if seen is None else _membrane_error(node, shape, synapses, seen)
    groups = row_groups(synapses, together=not choices.per_channel)
    scale, exact = group_scales([s.rows for s in synapses], groups, bits, choices.method, error)
    floor = _least_scales(node, synapses, groups, len(scale), shape, choices)
    coarsened = scale < floor
    scale, exact = np.maximum(scale, floor), exact & ~coarsened
    largest = 2 ** (bits - 1) - 1
    nodes, clipped = [], 0
    for synapse, group in zip(synapses, groups):
        whole = np.rint(synapse.rows / scale[group][:, None])
        clipped += int((np.abs(whole) > largest).sum())
        rows = np.clip(whole, -largest, largest).astype(np.int64)
        nodes.append(replace(synapse.node, op=synapse.with_rows(rows)))
    said = [
        f"{node.name}: {bits}-bit weights, {len(scale)} scales {scale.min():.4g}..{scale.max():.4g}",
        f"{clipped} weights clipped" if clipped else "",
        f"{int(coarsened.sum())} made coarser so that biases and resets fit" if coarsened.any() else "",
        f"{int(exact.sum())} on their own grid and kept exactly" if exact.any() else "",
    ]
    return nodes, _scale_of_neurons(synapses, groups, scale, shape), ", ".join(filter(None, said))


def _way_out(graph: Graph, arithmetic: Arithmetic, timesteps: int, bits: int, settings: dict[str, Any]) -> str:
    """What to do about an overflow: the widest weights that are proved not to, if there are any."""
    if bits > arithmetic.weight_bits_min:
        try:
            quantize(graph, arithmetic, timesteps, bits=bits - 1, **settings)
        except DoesNotFit as error:
            return error.problems[0].fix
        return f"use --bits {bits - 1} or fewer"
    return "use fewer steps, fewer --input-bits, or a leak"


def _least_scales(
    node: Node,
    synapses: Sequence[Synapse],
    groups: Sequence[Array],
    count: int,
    shape: tuple[int, ...],
    choices: _Choices,
) -> Array:
    """For each group the finest scale in which its biases and resets leave three quarters of the membrane's range free.

    Weights can be so small beside them that one step of a weight would be too fine for the membrane.
    """
    op: Any = node.op
    growth = _geometric(np.abs(op.decay), choices.timesteps)
    current = np.abs(getattr(op, "input_bias", 0.0)) * _geometric(
        np.abs(getattr(op, "current_decay", 0.0)), choices.timesteps
    )
    bias = np.abs(op.bias) + current
    reach = np.broadcast_to(bias * growth, shape).copy()
    for name in ("v_reset", "amount", "v_init"):
        reach += np.abs(getattr(op, name, 0.0))
    floor = np.zeros(count)
    for synapse, group in zip(synapses, groups):
        met = synapse.reaches >= 0
        np.maximum.at(floor, group[synapse.reaches[met]], reach[met])
    return floor * 4.0 / choices.arithmetic.state_max


def _geometric(ratio: Array, terms: int) -> Array:
    """``1 + ratio + ... + ratio**(terms - 1)`` (capped, where it explodes)."""
    apart = np.where(ratio == 1, 0.5, ratio)
    with np.errstate(over="ignore"):
        summed = np.where(ratio == 1, float(terms), (1.0 - apart**terms) / (1.0 - apart))
    return np.minimum(summed, 1e12)


def _scale_of_neurons(
    synapses: Sequence[Synapse], groups: Sequence[Array], scale: Array, shape: tuple[int, ...]
) -> Array:
    """The scale of each neuron: that of the rows that reach it."""
    of_neuron = np.ones(shape)
    for synapse, group in zip(synapses, groups):
        row = synapse.reaches
        of_neuron = np.where(row >= 0, scale[group][np.maximum(row, 0)], of_neuron)
    return of_neuron


def _calibrate(
    graph: Graph, consumers: Sequence[Node], calibration: Mapping[str, Array] | None, timesteps: int
) -> dict[str, Array]:
    """The events ``[N, T, *shape]`` that every layer with weights reads on the calibration data."""
    assert calibration is not None
    sources = frozenset(s.node.inputs[0] for node in consumers for s in synapses_of(graph, node))
    return interpret(graph, calibration, timesteps, values=sources).values


def _membrane_error(node: Node, shape: tuple[int, ...], synapses: Sequence[Synapse], seen: Mapping[str, Array]) -> Any:
    """The squared error, through the leak, that other weights give to the membranes behind each row."""
    decay = node.op.decay if isinstance(node.op, Neuron | Integrator) else 0.0

    def error(quantized: Sequence[Array]) -> list[Array]:
        found = []
        for synapse, rows in zip(synapses, quantized):
            events = seen[synapse.node.inputs[0]]
            op = synapse.with_rows(rows - synapse.rows)
            batch, steps = events.shape[:2]
            x = apply(op, [events.reshape(batch * steps, *events.shape[2:]).astype(np.float64)])
            x = x.reshape(batch, steps, *x.shape[1:])
            # Currents that are reshaped or concatenated behind their weights are weighed without the leak.
            alike = np.ndim(decay) == 0 or x.shape[2:] == shape
            leak = decay if alike else 0.0
            squares, v = np.zeros(x.shape[2:]), np.zeros((batch, *x.shape[2:]))
            for t in range(steps):
                v = leak * v + x[:, t]
                squares += (v**2).sum(0)
            of_rows = np.zeros(len(synapse.rows))
            np.add.at(of_rows, synapse.row_of.ravel(), squares.ravel())
            found.append(of_rows)
        return found

    return error


def _fitted(
    node: Node,
    shape: tuple[int, ...],
    scale: Array,
    current: Interval,
    arithmetic: Arithmetic,
    timesteps: int,
) -> tuple[Any, Array, list[Problem]]:
    """The integer neuron with the finest membrane that cannot overflow, the unit of it, and what does not fit."""
    problems = _decays_out_of_range(node, arithmetic)
    if problems:
        return node.op, scale, problems
    if current.magnitude > arithmetic.accumulator_max:
        limit = arithmetic.accumulator_max, arithmetic.accumulator_bits
        return node.op, scale, [_overflow(node, "synaptic sum", current, *limit, timesteps)]
    for shift in range(arithmetic.max_shift, arithmetic.min_shift - 1, -1):
        unit = scale / 2.0**shift
        op = _integer(node.op, unit, shape, shift, arithmetic)
        reach = membrane_bounds(op, current, shape, arithmetic, timesteps)
        if reach.magnitude < arithmetic.state_max:
            return op, unit, []
    return op, unit, [_overflow(node, "membrane", reach, arithmetic.state_max, arithmetic.state_bits, timesteps)]


def _overflow(node: Node, what: str, reach: Interval, most: int, bits: int, timesteps: int) -> Problem:
    size = np.maximum(np.abs(reach.low), np.abs(reach.high))
    worst = [int(i) for i in np.unravel_index(np.argmax(size), size.shape)]
    return Problem(
        f"its {what} could overflow within {timesteps} steps, by a factor of {reach.magnitude / most:.3g}",
        f"{node.name}{worst}",
        f"+-{reach.magnitude}",
        f"+-{most} ({bits} bits)",
    )


def _decays_out_of_range(node: Node, arithmetic: Arithmetic) -> list[Problem]:
    limit = 2.0 ** (arithmetic.decay_bits - 1 - arithmetic.decay_fraction)
    problems = []
    for name in ("decay", "current_decay", "keep"):
        values = np.atleast_1d(getattr(node.op, name, np.zeros(())))
        bad = np.flatnonzero(np.abs(values).ravel() >= limit)
        if bad.size:
            channels = ", ".join(map(str, bad[:8])) + (", ..." if bad.size > 8 else "")
            what = f"the {name} of channels {channels} is beyond what the target holds"
            actual = f"{values.ravel()[bad].min():.4g}..{values.ravel()[bad].max():.4g}"
            fix = "a batch norm on the membrane with so large a gamma / std cannot be deployed; train it smaller"
            problems.append(Problem(what, node.name, actual, f"+-{limit:g}", fix))
    return problems


def _integer(op: Any, unit: Array, shape: tuple[int, ...], shift: int, arithmetic: Arithmetic) -> Any:
    """The parameters of a neuron or an integrator in steps of ``unit``, its comparison as >= (or <= where flipped)."""
    end = float(arithmetic.state_max)

    def steps(value: Array) -> Array:
        return compact(np.clip(np.rint(value / unit), -end, end).astype(np.int64), shape)

    def mantissa(value: Array) -> Array:
        return np.rint(value * 2.0**arithmetic.decay_fraction).astype(np.int64)

    if isinstance(op, Integrator):
        return replace(op, decay=mantissa(op.decay), gain=np.asarray(1), bias=steps(op.bias), shift=shift)
    return replace(
        op,
        threshold=compact(np.clip(_threshold(op.threshold, op, unit, op.flip), -end, end).astype(np.int64), shape),
        decay=mantissa(op.decay),
        current_decay=mantissa(op.current_decay),
        keep=mantissa(op.keep),
        gain=np.asarray(1),
        bias=steps(op.bias),
        input_bias=steps(op.input_bias),
        strict=False,
        v_reset=steps(op.v_reset),
        amount=steps(op.amount),
        v_init=steps(op.v_init),
        amplitude=np.asarray(1),
        negative_threshold=(
            None
            if op.negative_threshold is None
            else compact(
                np.clip(_threshold(op.negative_threshold, op, unit, np.asarray(True)), -end, end).astype(np.int64),
                shape,
            )
        ),
        shift=shift,
    )


def _threshold(threshold: Array, op: Neuron, unit: Array, flip: Array) -> Array:
    """The integer threshold with the same meaning: h >= t is h_int >= ceil(t / unit), h > t is h_int >= floor + 1."""
    with np.errstate(invalid="ignore"):
        value = threshold / unit
        near = np.rint(value)
        value = np.where(np.abs(value - near) <= _WHOLE * np.maximum(1.0, np.abs(near)), near, value)
    if op.strict:
        return np.where(flip, np.ceil(value) - 1, np.floor(value) + 1)
    return np.where(flip, np.floor(value), np.ceil(value))
