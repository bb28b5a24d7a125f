"""A trace becomes a graph: tensors become terms (:mod:`.operations`), loops are rolled up, and nodes are emitted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from neurocompile.errors import BadInput, NeurocompileError, Problem, ToolFailed, UnsupportedModel
from neurocompile.frontends.pytorch.axes import Axes, MixedAxes
from neurocompile.frontends.pytorch.emit import UNTOLD, Emission, Fired
from neurocompile.frontends.pytorch.operations import HANDLERS, Lowering, Merged, Picked
from neurocompile.frontends.pytorch.operations.hostcalls import function_on_host
from neurocompile.frontends.pytorch.places import problem_at
from neurocompile.frontends.pytorch.terms import NotAlike, Place
from neurocompile.frontends.pytorch.trace import Batch, Call, Trace, references, replaced
from neurocompile.frontends.pytorch.values import Refused, Value
from neurocompile.frontends.pytorch.vocabulary import OPERATIONS
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Read
from neurocompile.ir.shapes import NothingLeft

__all__ = ["Lowered", "lower"]


@dataclass
class Lowered:
    """A graph, where each of its layers fired in the trace, and the axes of each output of forward.

    ``two_ways``: the layers whose membranes forward compares both with ``>=`` and with ``>``; the graph does so once.
    """

    graph: Graph
    fired: dict[str, Fired]
    regions: dict[int, str] = field(default_factory=dict)
    region_axes: dict[str, tuple[tuple[Axes, ...], Axes]] = field(default_factory=dict)
    outputs: list[tuple[tuple[int, ...], tuple[Axes, ...]]] = field(default_factory=list)
    two_ways: tuple[str, ...] = ()

    @property
    def untold(self) -> dict[str, tuple[int, ...]]:
        """By layer, the steps that the source does not run."""
        steps = {
            name: tuple(k for k, n in enumerate(where.values) if n == UNTOLD) for name, where in self.fired.items()
        }
        return {name: untold for name, untold in steps.items() if untold}


def lower(
    trace: Trace,
    axes: Mapping[str, Axes],
    timesteps: int,
    *,
    stepped: bool,
    read: Read | None,
    binary: Mapping[str, bool],
    module_kinds: Mapping[str, str],
    neurons: Mapping[str, Any] | None = None,
    regions: Mapping[str, Any] | None = None,
    examples: Callable[[Sequence[int]], Mapping[int, torch.Tensor]] | None = None,
) -> Lowered:
    """The graph of a trace.

    Args:
        trace: of a forward.
        axes: the names of the axes of each input.
        timesteps: T.
        stepped: whether forward computes one step and was called T times.
        read: how outputs that still have time are read; None: their mean.
        binary: whether an input is 0 or 1.
        module_kinds: the class of each module that is made of no other, by its path.
        neurons: what lowers the calls of registered neuron classes, by path.
        regions: the modules that a host computes, by path.
        examples: gives values of the trace, for what a host computes.

    Raises:
        UnsupportedModel: with everything in the model that cannot be lowered exactly.
        BadInput: if it computes with a parameter that is NaN.
    """
    _check_numbers(trace, module_kinds)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 100_000))
    try:
        low = Lowering(trace, timesteps, neurons or {}, regions or {}, examples, HANDLERS)
        low.module_classes = module_kinds
        values = _inputs(low, trace, axes, stepped, binary)
        low.values = values
        _walk(low, trace, values)
        return _finished(low, trace, values, read, stepped, module_kinds)
    finally:
        sys.setrecursionlimit(before)


def _check_numbers(trace: Trace, kinds: Mapping[str, str]) -> None:
    """Parameters that are no tensors: a threshold, a time constant."""
    fix = "the training diverged or the model was damaged; restore an earlier one"
    problems = [
        problem_at(f"{call.operation} is given NaN", call.module, call.line, fix, kinds)
        for call in trace.calls
        if not call.leaf and any(isinstance(x, float) and x != x for x in call.args)
    ]
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))


def _inputs(
    low: Lowering, trace: Trace, axes: Mapping[str, Axes], stepped: bool, binary: Mapping[str, bool]
) -> dict[int, Any]:
    values: dict[int, Any] = dict(trace.constants.items())
    for name, numbers in trace.inputs.items():
        shape = trace.shapes[numbers[0]]
        names = axes[name]
        features = tuple(n for axis, n in zip(names, shape) if axis == "F")
        timed = stepped or any("T" in axis for axis in names)
        term = low.terms.input(name, features, not timed, binary.get(name, False))
        if stepped:
            for step, number in enumerate(numbers):
                values[number] = Value(names, shape, low.terms.at(term, step))
        elif timed:
            steps = tuple(low.terms.at(term, step) for step in range(low.timesteps))
            values[numbers[0]] = Value(names, shape, steps)
        else:
            values[numbers[0]] = Value(names, shape, term)
    for name, numbers in trace.random.items():
        values.update(_random(low, name, numbers))
    return values


def _random(low: Lowering, name: str, numbers: Sequence[int]) -> dict[int, Value]:
    """Random numbers as an input: drawn once a step, once for all steps, or once for every sample."""
    shape = low.trace.shapes[numbers[0]]
    batch = low.trace.random_batch.get(name, 0)
    steps = low.timesteps
    names = ["N" if i == batch else "T" if i < batch and n == steps else "F" for i, n in enumerate(shape)]
    if batch == 0 and len(numbers) == 1 and len(shape) > 1 and shape[1] == steps and low.stepped_inputs == "NT":
        names[1] = "T"
    axes = tuple(names)
    features = tuple(n for axis, n in zip(axes, shape) if axis == "F")
    timed = len(numbers) > 1 or "T" in axes
    term = low.terms.input(name, features, not timed, False)
    if len(numbers) > 1:
        return {number: Value(axes, shape, low.terms.at(term, step)) for step, number in enumerate(numbers)}
    if timed:
        return {numbers[0]: Value(axes, shape, tuple(low.terms.at(term, step) for step in range(steps)))}
    return {numbers[0]: Value(axes, shape, term)}


def _walk(low: Lowering, trace: Trace, values: dict[int, Any]) -> None:
    """Lower every call; what could not be is left out, with all that depends on it."""
    last = {number: at for at, call in enumerate(trace.calls) for number in references(call.args)}
    kept = set(references(trace.outputs)) | set(trace.constants)
    failed: set[int] = set()
    for at, call in enumerate(trace.calls):
        if any(number in failed for number in references(call.args)):
            failed.add(call.out)
            continue
        low.call = call
        low.terms.place = Place(call.module, call.line, call.site, call.out)
        try:
            values[call.out] = _lowered(low, call, values)
            low.note(call, values[call.out])
        except (Refused, MixedAxes) as error:
            fix = (
                error.fix
                if isinstance(error, Refused)
                else "keep time and batch apart from the features: reshape one at a time"
            )
            low.report(str(error), call.module, call.line, fix)
            failed.add(call.out)
        except NothingLeft as error:
            low.report(str(error), call.module, call.line, "leave it out, or give it a width of at least 1")
            failed.add(call.out)
        except NotAlike as error:
            low.report_unlike(error)
            failed.add(call.out)
        except ToolFailed:
            raise
        except NeurocompileError as error:
            low.problems += [p for p in error.problems if p not in low.problems]
            failed.add(call.out)
        for number in set(references(call.args)):
            if last[number] == at and number not in kept:
                values.pop(number, None)


def _lowered(low: Lowering, call: Call, values: Mapping[int, Any]) -> Any:
    def filled(part: Any) -> Any:
        return part.factor * low.batch if isinstance(part, Batch) else values[part.number]

    schema = "" if call.leaf else OPERATIONS[call.operation].arguments
    if any(isinstance(x, Batch) and letter in "nf" for x, letter in zip(call.args, schema)):
        raise Refused(
            "it computes with the size of the batch", "a chip sees one sample at a time: use a number of your own"
        )
    args = replaced(call.args, filled)
    if call.operation == "leaf":
        return low.leaf(call, args)
    given = list(_values(args))
    if any(isinstance(x, Merged) for x in given) and call.operation not in _OF_MERGED:
        raise MixedAxes(f"{call.operation} of axes that were made one by a reshape")
    if call.operation not in _OF_TIME_AND_CHANNELS and any(isinstance(x, Value) and "TF" in x.axes for x in given):
        raise MixedAxes(f"{call.operation} of time and features that were made one axis")
    picks = [x for x in given if isinstance(x, Picked)]
    if picks and call.operation not in ("index_put", "masked_scatter"):
        if call.operation not in _ELEMENTWISE or any(p.mask.content != picks[0].mask.content for p in picks):
            raise Refused("it computes with what a mask picked, other than element by element", "use torch.where")
        inner = handler_of(call)(low, *_swapped(args))
        return Picked(inner, picks[0].mask)
    if not any(isinstance(x, Value | Merged | Picked) for x in given):
        return OPERATIONS[call.operation].run(*args)
    handler = HANDLERS.get(call.operation)
    if handler is None:
        return function_on_host(low, call, args)
    return handler(low, *args)


def handler_of(call: Call) -> Callable[..., Any]:
    """What lowers an operation on known numbers or on values."""
    handler = HANDLERS[call.operation]

    def run(low: Lowering, *args: Any) -> Any:
        if any(isinstance(x, Value) for x in _values(args)):
            return handler(low, *args)
        return OPERATIONS[call.operation].run(*args)

    return run


def _swapped(args: Any) -> Any:
    if isinstance(args, Picked):
        return args.value
    return type(args)(map(_swapped, args)) if isinstance(args, list | tuple) else args


_ELEMENTWISE = ("add", "sub", "mul", "div", "neg", "addcmul", "addcdiv", "lerp", "to", "contiguous")
_OF_TIME_AND_CHANNELS = ("view", "contiguous", "permute", "batch_norm")
_OF_MERGED = ("view", "contiguous", "permute", "unsqueeze", "squeeze", "mm", "bmm", "addmm")


def _values(args: Any) -> Any:
    if isinstance(args, list | tuple):
        for item in args:
            yield from _values(item)
    else:
        yield args


def _finished(
    low: Lowering, trace: Trace, values: Mapping[int, Any], read: Read | None, stepped: bool, kinds: Mapping[str, str]
) -> Lowered:
    returned = _results(trace, stepped)
    leaves = {path: kind for path, kind in kinds.items() if not any(p.startswith(f"{path}.") for p in kinds) and path}
    emission = Emission(low, leaves)
    outputs = []
    for number, refs in enumerate(returned):
        name = "output" if number == 0 else f"output.{number + 1}"
        parts = [values.get(ref) for ref in refs]
        if any(part is None for part in parts):
            continue
        if not all(isinstance(part, Value) for part in parts):
            low.problems.append(Problem("forward returns something that is not computed from its input", name))
            continue
        outputs.append((tuple(refs), tuple(part.axes for part in parts if isinstance(part, Value))))
        try:
            emission.output(name, [part for part in parts if isinstance(part, Value)], read, stepped)
        except Refused as error:
            low.report(error.what, "", "", error.fix, name)
        except NotAlike as error:
            low.report_unlike(error)
        except ToolFailed:
            raise
        except NeurocompileError as error:
            low.problems += [p for p in error.problems if p not in low.problems]
    try:
        emission._close_loops()
    except NotAlike as error:
        low.report_unlike(error)
    if low.problems:
        raise UnsupportedModel(low.problems)
    regions = {out: emission.regions[key] for out, key in low.host_calls.items() if key in emission.regions}
    return Lowered(emission.graph(), emission.fired(), regions, emission.region_axes, outputs, emission.two_ways())


def _results(trace: Trace, stepped: bool) -> list[list[int]]:
    """For each tensor that forward returns its values: one, or one a step."""
    each = [list(references(one)) for one in trace.outputs]
    if stepped:
        return [list(steps) for steps in zip(*each)]
    return [[number] for number in each[0]]
