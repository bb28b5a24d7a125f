"""The proof: what was recorded and the graph, held against the live module."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import torch

from neurocompile.errors import BadInput, NotTheSame, Problem, UnsupportedModel, naming_lines
from neurocompile.frontends.pytorch.live import FIX_FAULT, Live, flat
from neurocompile.frontends.pytorch.lower import Lowered
from neurocompile.frontends.pytorch.places import forward_of, place_of
from neurocompile.frontends.pytorch.record import Recording
from neurocompile.frontends.pytorch.replay import Replay
from neurocompile.frontends.pytorch.symbolic import Listening, SymbolicModel
from neurocompile.frontends.pytorch.trace import CallFailed, Trace, references, same_bits
from neurocompile.hosted import run_graph
from neurocompile.ir import trace as ir_trace
from neurocompile.ir.compare import TIE, Comparison, compare_spikes, near, tolerance_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.interpret import interpret
from neurocompile.ir.ops import Array, Neuron

__all__ = ["INPUTS", "agrees", "check_recorded", "prove", "random_given"]

# Networks with more neurons than this are held against the live model on fewer inputs.
_LARGE = 1_000_000
INPUTS = ("example", "fresh", "extreme")
_SHOWN = {
    "example": "the example",
    "fresh": "fresh inputs",
    "extreme": "inputs of zero and large ones",
    "zeros": "inputs of zero",
}
_NARROW = (torch.int8, torch.uint8, torch.int16, torch.int32)
_FIX_HIDDEN = (
    "something in forward bypasses torch or keeps a state that nothing resets: compute with torch, reset states"
)
_FIX_TWO_WAYS = (
    "compare alike for the spike and for what is kept, or move the threshold a little, so that nothing meets it exactly"
)


def agrees(live: Live, found: SymbolicModel) -> bool:
    """Whether a symbolic trace's graph does what the live module does, at a second call, too."""
    size = sum(prod(found.graph.edges[node.name].shape) for node in found.graph.of(Neuron))
    bound = tolerance_of(found.graph)
    casts = False
    for kind in INPUTS if size <= _LARGE else ("example",):
        inputs, run = live.mixed(2, kind), None
        for fresh in (True, False) if kind == "example" else (True,):
            same = False
            for promoted in (False, True):  # a class may make float32 of whatever it is given
                heard = Listening(live.module, live=True)
                try:
                    returned = live.called(inputs, fresh, promoted)
                except Exception:
                    same = promoted and kind != "example"  # it does not take such inputs
                    continue
                finally:
                    heard.stop()
                run = run or run_graph(found.graph, inputs, live.timesteps)
                expected = found.outputs_of(returned, 2)
                same = _same_spikes(heard.spikes(live.timesteps), run.spikes) and all(
                    near(values, run.outputs[name], bound) for name, values in expected.items()
                )
                if same:
                    casts |= promoted
                    break
            if not same:
                return False
    if casts:
        live.note_casts(live.record(live.inputs(3, "example"), strict=False))
    return True


def prove(live: Live, made: Replay) -> tuple[Comparison, dict[str, Array], ir_trace.Trace]:
    """Hold what was recorded, and the graph, against the live module: the example, fresh, zero and large inputs.

    Returns:
        What was compared; the example; and what came of it.
    """
    with naming_lines(made.lowered.graph.lines):
        return _held(live, made)


def _held(live: Live, made: Replay) -> tuple[Comparison, dict[str, Array], ir_trace.Trace]:
    graph, trace, found = made.lowered.graph, made.trace, Comparison()
    size = sum(prod(graph.edges[node.name].shape) for node in graph.of(Neuron))
    batch = trace.batch if trace.fixed else 2
    recorded: dict[str, tuple[dict[str, Array], ir_trace.Trace]] = {}
    for seed, kind in enumerate(INPUTS):
        inputs = live.mixed(batch, kind)
        try:
            told = live.record(inputs, made.watch, seed)
        except BadInput:
            if kind == "example":
                raise
            continue  # it does not take such inputs
        _same_bits(live, trace, told, inputs, seed, kind, made.watch)
        expected = made.reference(told.returned, told.watched)
        drawn = {name: random_given(trace, live.timesteps, name, parts) for name, parts in told.drawn.items()}
        inputs = {**inputs, **drawn}
        recorded[kind] = inputs, expected
        if size <= _LARGE or kind == "example":
            _same_graph(live, made.lowered, found, inputs, expected, kind)
    check_recorded(live, trace, "zeros")
    return found, *recorded["example"]


def check_recorded(live: Live, trace: Trace, *kinds: str) -> None:
    """What was recorded does again what the live module does, with batches of a size that was not recorded."""
    for seed, kind in enumerate(kinds):
        inputs = live.mixed(trace.batch if trace.fixed else 4, kind)
        with contextlib.suppress(BadInput):  # it does not take such inputs
            _same_bits(live, trace, live.record(inputs, seed=seed), inputs, seed, kind)


def _same_bits(
    live: Live, trace: Trace, told: Recording, inputs: Mapping[str, Array], seed: int, kind: str,
    watch: frozenset[int] = frozenset(),
) -> None:  # fmt: skip
    given = live.arranged(inputs) | told.drawn
    batch = len(next(iter(inputs.values())))
    what = f"what was recorded does not do again what the live module does, on {_SHOWN[kind]}"
    try:
        returned, watched = trace.run(given, batch, watch)
    except CallFailed as failed:
        raise NotTheSame(
            Problem(what, place_of(failed.call.module, failed.call.line), str(failed), fix=_FIX_HIDDEN)
        ) from failed
    same = all(n in told.watched and same_bits(told.watched[n], x) for n, x in watched.items())
    pairs = zip(flat(told.returned), flat(returned), strict=True)
    if not (same and all(same_bits(a, b) for a, b in pairs)):
        place, kind_of = _first_difference(live, trace, inputs, given, seed)
        if kind_of in _NARROW:
            name = str(kind_of).removeprefix("torch.")
            what = f"its numbers leave the range of {name}, which wraps round: here whole numbers have 64 bits"
            raise UnsupportedModel(Problem(what, place, fix="count in floats or in torch.int64"))
        raise NotTheSame(Problem(what, place or forward_of(live.module), fix=_FIX_HIDDEN))


def _first_difference(
    live: Live, trace: Trace, inputs: Mapping[str, Array], given: Mapping[str, Sequence[torch.Tensor]], seed: int
) -> tuple[str, torch.dtype | None]:
    """Where an operation first gives, or is given, something else than in the live module, and of what type."""
    numbers = {call.out for call in trace.calls} | set(trace.constants)
    told = live.record(inputs, frozenset(numbers), seed).watched
    _, found = trace.run(given, len(next(iter(inputs.values()))), numbers)
    wrong = {n for n, x in found.items() if n in told and not same_bits(told[n], x)}
    first = next((call for call in trace.calls if wrong & {call.out, *references(call.args)}), None)
    return (
        ("", None)
        if first is None
        else (place_of(first.module, first.line), told[first.out].dtype if first.out in told else None)
    )


def _same_graph(
    live: Live, lowered: Lowered, found: Comparison, inputs: Mapping[str, Array], expected: ir_trace.Trace, kind: str
) -> None:
    graph = lowered.graph
    run = run_graph(graph, inputs, live.timesteps)
    order = [node.name for node in graph.of(Neuron) if node.name in expected.spikes]
    bound = tolerance_of(graph)
    tied = np.zeros(len(next(iter(inputs.values()))), bool)
    before = found.mismatches
    if order:
        tied = compare_spikes(
            found, expected.spikes, run.spikes, order, 0, expected.margins, expected.thresholds, bound, expected.untold
        )
    if tied.any() and not graph.hosts:
        _check_ties(live, graph, inputs, expected, run, kind)
    if found.mismatches > before:
        first = found.first
        assert first is not None
        _check_two_ways(lowered, expected, kind, slice(first.sample, first.sample + 1), first.step)
        what = f"the compiled network does not fire as the live module does, on {_SHOWN[kind]}"
        told = f"{first.actual} at step {first.step}, neuron {list(first.neuron)}"
        raise NotTheSame(Problem(what, first.layer, told, f"{first.expected}", FIX_FAULT))
    for name, values in expected.outputs.items():
        known, given = values[~tied], run.outputs[name][~tied]
        if known.size and not near(known, given, bound):
            _check_two_ways(lowered, expected, kind)
            what = f"the compiled network does not give what the live module gives, on {_SHOWN[kind]}"
            if known.shape != given.shape:
                raise NotTheSame(Problem(what, name, f"shape {given.shape[1:]}", f"{known.shape[1:]}", FIX_FAULT))
            worst = float(np.nanmax(np.abs(known - given)))
            raise NotTheSame(Problem(what, name, f"off by {worst:.3g}", "0", FIX_FAULT))


def _check_two_ways(
    lowered: Lowered, expected: ir_trace.Trace, kind: str, samples: slice = slice(None), last: int | None = None
) -> None:
    """Where a neuron fires at ``>=`` and is reset at ``>``, a membrane must not be exactly its threshold.

    What differs at the step ``last`` of these samples may come of that at no later one.
    """
    for name in lowered.two_ways:
        margin = expected.margins.get(name)
        if margin is None:
            continue
        limit = TIE * max(1.0, expected.thresholds.get(name, 1.0))
        met = np.argwhere(np.abs(margin[samples, : None if last is None else last + 1]) <= limit)
        if len(met):
            _, step, *where = map(int, met[0])
            met_at = f"on {_SHOWN[kind]}, step {step}, neuron {where}"
            what = (
                f"it compares its membrane with >= and with >, and meets its threshold exactly ({met_at}): there it "
                "fires without its reset, say, which no equation of a neuron does"
            )
            raise UnsupportedModel(Problem(what, name, fix=_FIX_TWO_WAYS))


def _check_ties(
    live: Live, graph: Graph, inputs: Mapping[str, Array], expected: ir_trace.Trace, run: ir_trace.Trace, kind: str
) -> None:
    """Where both membranes are the threshold itself, there is no rounding to excuse another spike."""
    membranes = interpret(graph, inputs, live.timesteps, membranes=True).membranes
    for name, margin in expected.margins.items():
        op = graph[name].op
        assert isinstance(op, Neuron)
        if op.norm is not None and op.norm.on == "compare":
            continue
        both = (margin == 0) & (membranes[name] == op.threshold)
        wrong = np.argwhere(both & (expected.spikes[name] != run.spikes[name]))
        if len(wrong):
            _, step, *where = map(int, wrong[0])
            what = f"the compiled network compares a membrane that is its threshold otherwise, on {_SHOWN[kind]}"
            told = f"{run.spikes[name][tuple(wrong[0])]} at step {step}, neuron {where}"
            raise NotTheSame(Problem(what, name, told, str(expected.spikes[name][tuple(wrong[0])]), FIX_FAULT))


def _same_spikes(expected: Mapping[str, Array], found: Mapping[str, Array]) -> bool:
    """Whether layers that both name fire alike."""
    both = [name for name, x in expected.items() if name in found and x.shape == found[name].shape]
    return all(np.array_equal(expected[name], np.sign(found[name])) for name in both)


def random_given(trace: Trace, timesteps: int, name: str, drawn: Sequence[torch.Tensor]) -> Array:
    """What a random operation drew, as an input ``[N, T, ...]``."""
    at = trace.random_batch.get(name, 0)
    if len(drawn) > 1:
        return torch.stack([x.movedim(at, 0) for x in drawn], 1).numpy()
    x = drawn[0].movedim(at, 0)
    if at == 1:  # [T, N, ...]
        return x.numpy()
    return x.unsqueeze(1).expand(len(x), timesteps, *x.shape[1:]).numpy()
