"""A real graph in synaptic form becomes the integer graph of a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import DoesNotFit, Problem, UsageError
from neurocompile.ir.arrays import compact
from neurocompile.ir.form import form_of
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.interpret import interpret
from neurocompile.ir.ops import Array, Neuron, Output
from neurocompile.quantization.bounds import bounded_spikes, event_ranges
from neurocompile.quantization.layer import Choices, fit_layer
from neurocompile.quantization.scales import FEW_BITS, Method
from neurocompile.quantization.widths import Widths, check_widths

__all__ = ["Quantization", "quantize"]


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
    bits: int | Widths,
    per_channel: bool = True,
    method: Method = "max",
    few_only: bool = False,
    calibration: Mapping[str, Array] | None = None,
    host: frozenset[str] = frozenset(),
    written: frozenset[str] = frozenset(),
) -> Quantization:
    """Choose scales, round, and prove that nothing overflows.

    Each neuron has one scale for all synapses that meet in it: its threshold, biases, reset and first value are
    expressed in it, so that a scale of its own for each channel costs nothing.

    Args:
        graph: after the synapses pass; its inputs take integers.
        arithmetic: of the target.
        timesteps: T, for which the bounds are proved.
        bits: of a weight, sign included; of all, or layer by layer.
        per_channel: a scale for each output channel, or one for all synapses of a layer.
        method: how scales are chosen (:func:`neurocompile.quantization.scales.group_scales`).
        few_only: that is so for layers of few bits (:data:`neurocompile.quantization.scales.FEW_BITS`); others take
            the largest weight.
        calibration: integer inputs ``[N, T, *shape]``, for the method "membrane".
        host: layers that the host computes: the same registers, but none of the chip's grids.
        written: layers of the chip of which the host computes what real-valued inputs give them, each behind a Gain
            (:class:`neurocompile.passes.HostCurrents`), and writes it as biases.

    Raises:
        UsageError: if the width of the weights is none that the target has, or calibration data are missing.
        DoesNotFit: for decays outside the target's range and for membranes that could overflow, all at once.
    """
    widths = Widths(bits) if isinstance(bits, int) else bits
    check_widths(widths, arithmetic)
    if method == "membrane" and calibration is None:
        what = "the scale that minimises the error of the membrane needs calibration data"
        raise UsageError(Problem(what, "--scale membrane", fix="give --calibrate X.npz"))
    seen = _calibrate(graph, calibration, timesteps) if method == "membrane" else None
    choices = Choices(arithmetic, timesteps, widths.usual, per_channel, method, host, written)
    graph = bounded_spikes(graph)
    events = event_ranges(graph)
    fitted = []
    for name, layer in form_of(graph).layers.items():
        wide = few_only and widths[name] >= FEW_BITS
        own = replace(choices, bits=widths[name], method="max" if wide else method)
        fitted.append(fit_layer(layer, own, events, seen))
    problems = [problem for each in fitted for problem in each.problems]
    if any(each.overflows for each in fitted):
        settings = {"per_channel": per_channel, "method": method, "calibration": calibration, "host": host}
        settings |= {"written": written, "few_only": few_only}
        fix = _way_out(graph, arithmetic, timesteps, widths, settings)
        problems = [replace(problem, fix=problem.fix or fix) for problem in problems]
    if problems:
        raise DoesNotFit(problems)
    units = {layer: each.unit for layer, each in zip(form_of(graph).layers, fitted, strict=True)}
    final: dict[str, Node | None] = {done.name: done for each in fitted for done in each.nodes}
    return Quantization(
        graph.rewritten(final | _outputs(graph, units)), units, [x for each in fitted for x in each.log]
    )


def _outputs(graph: Graph, units: Mapping[str, Array]) -> dict[str, Node | None]:
    """The outputs, each with the real value of a step of what it reads."""
    found: dict[str, Node | None] = {}
    for node in graph.of(Output):
        assert isinstance(node.op, Output)
        if isinstance(graph[node.inputs[0]].op, Neuron):  # a host reads its spikes
            continue
        unit = node.op.unit * units[node.inputs[0]]
        found[node.name] = replace(node, op=replace(node.op, unit=compact(unit, graph.edges[node.name].shape)))
    return found


def _way_out(graph: Graph, arithmetic: Arithmetic, timesteps: int, widths: Widths, settings: dict[str, Any]) -> str:
    """What to do about an overflow: the widest weights that are proved not to, if there are any."""
    bits = widths.usual
    if widths.of:
        return "give this layer fewer bits, or use fewer steps, fewer --input-bits, or a leak"
    if bits > arithmetic.weight_bits_min:
        try:
            quantize(graph, arithmetic, timesteps, bits=bits - 1, **settings)
        except DoesNotFit as error:
            return error.problems[0].fix
        return f"use --bits {bits - 1} or fewer"
    return "use fewer steps, fewer --input-bits, or a leak"


def _calibrate(graph: Graph, calibration: Mapping[str, Array] | None, timesteps: int) -> dict[str, Array]:
    """The events ``[N, T, *shape]`` that every layer with weights reads on the calibration data."""
    assert calibration is not None
    read = frozenset(synapse.event for layer in form_of(graph).layers.values() for synapse in layer.synapses)
    return interpret(graph, calibration, timesteps, values=read).values
