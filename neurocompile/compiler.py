"""From a model's graph to a Program: the passes of a target in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.data import arrange_inputs
from neurocompile.errors import DoesNotFit, Problem, UnsupportedModel, UsageError, naming_lines
from neurocompile.hosted import run_graph
from neurocompile.ir.form import SynapticForm, form_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array, Conv, Input, Linear, Neuron
from neurocompile.mapping.host import encoders, written_to
from neurocompile.passes import REAL_PASSES, FoldScale, HostCurrents, Pass, QuantizeInputs, Synapses, run_passes
from neurocompile.passes.common_threshold import membrane_factors
from neurocompile.program import Program
from neurocompile.quantization import FEW_BITS, Bits, Method, Scales, Widths, chosen_method, quantize, widths_of
from neurocompile.quantization.silicon import shortfalls
from neurocompile.targets import Target, load_target
from neurocompile.targets.base import Encode

__all__ = ["PASS_NAMES", "Encode", "Options", "compile_graph", "encoding_of", "ready_target", "synaptic_passes"]


@dataclass(frozen=True)
class Options:
    """What a user may choose: width of weights (None: the target's), scales, width of inputs, number of chips.

    ``bits`` may be said by layer (:func:`neurocompile.quantization.widths_of`); layers without have the target's.
    ``method`` says how scales are chosen (:func:`neurocompile.quantization.chosen_method` says what "auto" is).
    ``encode`` says how real-valued inputs reach a chip with neurons of its own: as "graded" spikes, or turned into
    spikes on the "host" by the layers that read them (None: graded, where the chip has such spikes). ``plain_weights``
    keeps to what lava-dl's netx can load: no exponents of weights, biases with an exponent of 6, one decay a layer.
    """

    bits: Bits | None = None
    per_channel: bool = True
    method: Scales = "auto"
    input_bits: int = 8
    chips: int = 1
    encode: Encode | None = None
    plain_weights: bool = False


PASS_NAMES: tuple[str, ...] = (
    *(step.name for step in REAL_PASSES),
    "quantize-inputs",
    "fold-scale-2",
    "synapses",
    "common-threshold",
    "host-currents",
    "quantize",
)
"""The names that ``--print-ir-after`` takes, in the order in which the passes run."""


def compile_graph(
    graph: Graph,
    target: str | Target,
    timesteps: int,
    options: Options,
    *,
    calibration: Mapping[str, Array] | None = None,
    example: Mapping[str, Array] | None = None,
    after: Callable[[str, Graph], None] | None = None,
    check: bool = True,
) -> Program:
    """Compile a frontend's graph for a target.

    Args:
        graph: as the frontend made it.
        target: or its name, of a file in ``neurocompile/targets``.
        timesteps: T.
        options: the user's choices.
        calibration: samples ``[n, ...]`` or ``[n, T, ...]`` by input name; None: the example, if there is one.
        example: samples that the Program keeps, to be validated with.
        after: called with the name of each pass and the graph that it made.
        check: whether a program that exceeds the limits of the chips is refused.

    Raises:
        UsageError: for a target that nothing can be compiled for, or options that it does not have.
        UnsupportedModel: if a layer's name cannot be written to a file.
        DoesNotFit: with everything that exceeds the target.
    """
    _check_names(graph)
    with naming_lines(graph.lines):
        chip = ready_target(target, options)
        program = _compiled(graph, chip, timesteps, options, calibration or example or None, after)
        program = replace(program, example={name: np.asarray(x) for name, x in (example or {}).items()})
        if check and (violations := chip.violations(program, options.chips)):
            raise DoesNotFit(violations)
        return program


def _check_names(graph: Graph) -> None:
    what, fix = "the name of this layer has half a character in it (a lone surrogate)", "give the module another name"
    halves = [node.name for node in graph if any("\ud800" <= each <= "\udfff" for each in node.name)]
    if halves:
        raise UnsupportedModel([Problem(what, name, fix=fix) for name in halves])


def ready_target(name: str | Target, options: Options) -> Target:
    """A target, or that of a name, if something can be compiled for it with these options.

    Raises:
        UsageError: if not.
    """
    target = name if isinstance(name, Target) else load_target(name)
    if target.arithmetic is None:
        what = "this target is a price list only; nothing can be compiled for it"
        fix = f"export for another target, then: neurocompile simulate OUT --price-as {target.name}"
        raise UsageError(Problem(what, "--target", target.name, fix=fix))
    if not 1 <= options.input_bits <= 16:
        raise UsageError(
            Problem("inputs cannot have this width", "--input-bits", str(options.input_bits), "1 to 16", "8 is usual")
        )
    return target


def _compiled(
    graph: Graph, target: Target, timesteps: int, options: Options, samples: Mapping[str, Array] | None,
    after: Callable[[str, Graph], None] | None,
) -> Program:  # fmt: skip
    assert target.arithmetic is not None  # checked
    encode = encoding_of(target, options)
    usual = target.arithmetic.weight_bits
    asked = usual if options.bits is None else options.bits
    arithmetic = target.code.arithmetic(
        target.arithmetic, asked if isinstance(asked, int) else usual, options.plain_weights
    )
    seen = None
    if samples:
        seen = arrange_inputs(samples, graph.given_inputs, timesteps, "calibration data", graph.lines).inputs
    real, log = run_passes(graph, REAL_PASSES, after)
    if real.hosts:
        seen = _with_hosts(real, seen, timesteps)
    free, more = run_passes(real, synaptic_passes(arithmetic, options, seen or {}), after)
    log += more
    broken = target.code.illegal(target, free, 1.0, encode)
    try:
        host = encoders(free) if encode == "host" else frozenset()
        passes = target.code.onto_neurons(arithmetic, host)
        if encode == "host":
            passes = (*passes, HostCurrents(timesteps, host))
        synaptic, more = run_passes(free, passes, after)
        log += more
        widths = widths_of(asked, usual, form_of(synaptic))
        few = min(widths.usual, *widths.of.values()) if widths.of else widths.usual
        method, samples_used = chosen_method(options.method, few, _samples(seen), _products(synaptic, timesteps))
        calibration = None
        if seen and method == "membrane":
            calibration = _in_steps(synaptic, {name: x[:samples_used] for name, x in seen.items()})
        quantized = quantize(
            synaptic, arithmetic, timesteps, bits=widths, per_channel=options.per_channel, method=method,
            few_only=options.method == "auto", calibration=calibration, host=host,
            written=written_to(synaptic) if encode == "host" else frozenset(),
        )  # fmt: skip
    except DoesNotFit as error:
        raise DoesNotFit(
            [*broken, *(_with_what_it_lacks(each, free, arithmetic) for each in error.problems)]
        ) from error
    log += [f"quantize: {line}" for line in (_said(options.method, few, method, samples_used), *quantized.log) if line]
    if after:
        after("quantize", quantized.graph)
    return Program(
        target=target.name,
        arithmetic=replace(target.arithmetic, weight_exponent_max=0),  # they are in the weights now
        timesteps=timesteps,
        real=real,
        integer=quantized.graph,
        units=_real_units(quantized.units, free, synaptic),
        settings={**asdict(options), **_recorded(widths, form_of(synaptic)), "encode": encode, "method": method},
        notes=tuple(log),
        lines=graph.lines,
        chip=target.data,
    )


def _recorded(widths: Widths, form: SynapticForm) -> dict[str, Any]:
    """The width of a weight, the widest where they differ, and what layers have, if that was said."""
    if not widths.of:
        return {"bits": widths.usual}
    of = {name: widths[name] for name in form.layers}
    return {"bits": max(of.values()), "layer_bits": of}


def _with_what_it_lacks(problem: Problem, graph: Graph, arithmetic: Arithmetic) -> Problem:
    """What does not fit, and why its neurons are none of the chip's in any case."""
    name = problem.where.partition("[")[0]
    if arithmetic.lif is None or name not in graph or not isinstance(op := graph[name].op, Neuron):
        return problem
    lacks = "; ".join(each.what for each in shortfalls(op, arithmetic) if not each.normal)
    return replace(problem, what=f"{problem.what}; nor is it a neuron of the chip: {lacks}") if lacks else problem


def _said(asked: Scales, bits: int, method: Method, samples: int) -> str:
    """What chose the scales of few bits, where the user left it open."""
    if asked != "auto" or bits >= FEW_BITS:
        return ""
    if method == "membrane":
        return f"scales by the error of the membrane on {samples} samples (--scale auto)"
    why = "no samples, or too large a network to try others quickly"
    return f"scales by the largest weight (--scale auto: {why}); few bits gain from --scale membrane --calibrate X.npz"


def _samples(seen: Mapping[str, Array] | None) -> int:
    return len(next(iter(seen.values()))) if seen else 0


def _products(graph: Graph, timesteps: int) -> float:
    """How many products of a weight and an event a sample takes, events that are 0 included."""
    synapses = [synapse for layer in form_of(graph).layers.values() for synapse in layer.synapses]
    each = (
        float(np.prod(synapse.gives)) * op.weight[0].size if isinstance(op := synapse.op, Linear | Conv) else 0.0
        for synapse in synapses
    )
    return timesteps * sum(each)


def _with_hosts(graph: Graph, seen: Mapping[str, Array] | None, timesteps: int) -> dict[str, Array]:
    """What host regions feed on the calibration data, beside these."""
    if seen is None:
        what = "what the host computes has a range that only data tell, and there are none"
        fix = "give --calibrate X.npz, or save the model with an example input"
        raise UsageError(Problem(what, ", ".join(graph.hosts), fix=fix))
    return {**seen, **run_graph(graph, seen, timesteps).values}


def synaptic_passes(arithmetic: Arithmetic, options: Options, seen: Mapping[str, Array]) -> tuple[Pass, ...]:
    """What gives every neuron synapses of its own, for inputs as ``seen``."""
    return (
        QuantizeInputs(seen, options.input_bits),
        FoldScale("fold-scale-2"),
        Synapses(event_sums=arithmetic.event_sums),
    )


def encoding_of(target: Target, options: Options) -> Encode | None:
    """How real-valued inputs reach the target; None where the program takes them as they are."""
    known = target.code.encodings(target)
    if options.encode is None or options.encode in known:
        return options.encode or next(iter(known), None)
    if not known:
        what, fix = f"{target.name} has no choice of encodings", "leave it out: its programs take numbers"
        raise UsageError(Problem(what, "--encode", options.encode, fix=fix))
    what, fix = f"{target.name} has no {options.encode} spikes", f"use --encode {known[0]}, or --target loihi2"
    raise UsageError(Problem(what, "--encode", options.encode, ", ".join(known), fix))


def _real_units(units: Mapping[str, Array], before: Graph, after: Graph) -> dict[str, Array]:
    """The real value of a step of each membrane, where the neurons were multiplied by something on their way."""
    found = {}
    for name, unit in units.items():
        first, then = before[name].op, after[name].op
        if isinstance(first, Neuron) and isinstance(then, Neuron):
            unit = unit / membrane_factors(first, then)
        found[name] = unit
    return found


def _in_steps(graph: Graph, seen: Mapping[str, Array]) -> dict[str, Array]:
    """Samples as the integers that a graph with quantized inputs takes."""
    found = {}
    for node in graph.of(Input):
        assert isinstance(node.op, Input)
        found[node.name] = np.clip(np.rint(seen[node.name] / node.op.unit), node.op.low, node.op.high)
    return found
