"""A torch model as the compiler holds it: what it did, recorded; its graph; and what runs it for reference."""

# mypy: disable-error-code="assignment,attr-defined,no-untyped-call"
from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn

from neurocompile.errors import BadInput, NotTheSame, Problem, ToolFailed, UnsupportedModel
from neurocompile.frontends.base import Carries, Layout
from neurocompile.frontends.pytorch.axes import axes_of
from neurocompile.frontends.pytorch.checks import check_module
from neurocompile.frontends.pytorch.layouts import (
    in_order,
    likely_layouts,
)
from neurocompile.frontends.pytorch.live import Live
from neurocompile.frontends.pytorch.lower import Lowered, lower
from neurocompile.frontends.pytorch.places import kinds_of, place_of
from neurocompile.frontends.pytorch.proof import (
    INPUTS,
    agrees,
    check_recorded,
    prove,
    random_given,
)
from neurocompile.frontends.pytorch.replay import Replay, as_given
from neurocompile.frontends.pytorch.state import forget, in_float64
from neurocompile.frontends.pytorch.symbolic import SymbolicModel
from neurocompile.frontends.pytorch.trace import Trace, generalized, settled
from neurocompile.frontends.pytorch.whole import again_of, whole_modules
from neurocompile.hosted import run_graph
from neurocompile.ir import trace as ir_trace
from neurocompile.ir.compare import Comparison, compare_spikes, near, tolerance_of
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array, Neuron, Read

__all__ = ["TorchModel", "of_symbolic"]

_FIX_FILE = "save the model again with neurocompile.save; if it stays so, please report it"


@dataclass
class TorchModel:
    """A model that was recorded and lowered, ready to be compiled and to be run as the reference.

    ``layout`` says how forward takes time and batch: [T, N, ...], [N, T, ...], [N, ..., T], [N, C, T, ...], folded
    into the batch (time outermost), one step a call, or [N, ...] where forward itself makes the steps. ``example``
    holds a few samples ``[n, ...]`` or ``[n, T, ...]`` for each argument, if any were given. ``proof`` is what was
    compared with the live model, ``notes`` what its owner should know: where casts to float32 change what it gives.
    ``symbolic`` stands for all of this where the classes of its modules tell it, and in files of the first version.
    """

    trace: Trace
    layout: Layout
    timesteps: int
    input_shapes: dict[str, tuple[int, ...]]
    read: Read | None
    carries: dict[str, Carries]
    example: dict[str, Array]
    lowered: Lowered
    symbolic: SymbolicModel | None = None
    module_kinds: Mapping[str, str] = field(default_factory=dict)
    proof: Comparison = field(default_factory=Comparison)
    notes: list[str] = field(default_factory=list)
    recorded_inputs: dict[str, Array] = field(default_factory=dict)
    recording: ir_trace.Trace | None = None

    @property
    def name(self) -> str:
        """What it is as an executor."""
        return "pytorch, float64"

    @property
    def graph(self) -> Graph:
        """The network."""
        return self.lowered.graph if self.symbolic is None else self.symbolic.graph

    @staticmethod
    def from_module(
        module: nn.Module,
        input_shapes: Mapping[str, tuple[int, ...]] | tuple[int, ...],
        timesteps: int,
        layout: Layout | None = None,
        read: Read | None = None,
        carries: Carries | None = None,
        example: Mapping[str, Array] | None = None,
        whole: Collection[str] = (),
        by_class: bool = True,
    ) -> TorchModel:
        """Record, lower and prove a live module, which stays as it is.

        Args:
            module: in eval mode.
            input_shapes: without batch and time, one for each argument of forward, or one for a single argument.
            timesteps: T.
            layout: how forward takes time and batch; None: found out.
            read: how an output that still has time is read; None: its mean.
            carries: "spikes" if inputs are 0 or 1; None: as they are in the example ("real" without one).
            example: a few samples for each argument.
            whole: the arguments that are whole numbers, and are given as such where forward cannot run otherwise.
            by_class: whether what the classes of its modules tell may do, where the live module does the same.

        Raises:
            UnsupportedModel: with everything that cannot be lowered.
            BadInput: if the model cannot run on such an input, or its weights are not finite.
            NotTheSame: if the graph does not do what the live module does.
        """
        module = _unwrapped(module)
        check_module(module)
        shapes = in_order(module, input_shapes) if isinstance(input_shapes, Mapping) else {"": tuple(input_shapes)}
        guesses: tuple[Layout, ...] = (layout,) if layout else likely_layouts(module)
        first_error: Exception | None = None
        with in_float64(module) as again:
            if by_class:
                found = _symbolic(module, again, shapes, timesteps, layout, read, carries, example, whole)
                if found is not None:
                    return found
            for guess, as_whole in product(guesses, ((), tuple(whole)) if whole else ((),)):
                source = Live(module, again, shapes, timesteps, guess, as_whole, example)
                try:
                    return _recorded(source, read, carries)
                except BadInput as error:
                    first_error = first_error or error
                except (UnsupportedModel, ArithmeticError, LookupError, ValueError, AttributeError) as error:
                    # What could be recorded at last, and cannot be lowered, is the better thing to say.
                    if first_error is None or isinstance(first_error, BadInput):
                        first_error = error
                    if guess == "loop" and not whole:
                        break  # else time would pass for the batch
        assert first_error is not None
        raise first_error

    @staticmethod
    def from_trace(
        trace: Trace,
        modules: Mapping[str, Any],
        layout: Layout,
        timesteps: int,
        input_shapes: dict[str, tuple[int, ...]],
        read: Read | None,
        carries: dict[str, Carries],
        example: dict[str, Array],
        module_kinds: Mapping[str, str],
        recorded: tuple[dict[str, Array], ir_trace.Trace],
        recorded_read: Read | None,
    ) -> TorchModel:
        """A model from its file: lowered, and held against what the live module did.

        Raises:
            NotTheSame: if the recorded operations, or the graph, do not do that again.
        """
        neurons, regions = whole_modules(trace, modules)
        trace.modules = dict(modules)
        inputs, told = recorded

        def examples(numbers: Sequence[int]) -> Mapping[int, torch.Tensor]:
            resized = {name: np.resize(x, (trace.batch, *x.shape[1:])) for name, x in inputs.items()}
            given = {name: as_given(trace, layout, name, resized[name]) for name in (*trace.inputs, *trace.random)}
            return trace.run(given, trace.batch, numbers)[1]

        lowered = _lowered(
            trace, layout, timesteps, input_shapes, read, carries, module_kinds, neurons, regions, examples
        )
        made = TorchModel(trace, layout, timesteps, input_shapes, read, carries, example, lowered, None, module_kinds)
        made.recorded_inputs, made.recording = inputs, told
        taken = made.graph.given_inputs
        if other := [name for name, shape in input_shapes.items() if taken.get(name, shape) != shape]:
            what, limit = "the file says another shape of an input than it has", str(taken[other[0]])
            raise NotTheSame(Problem(what, other[0], str(input_shapes[other[0]]), limit, _FIX_FILE))
        if set(told.spikes) != set(lowered.fired):
            (layer, *_) = sorted(set(told.spikes) ^ set(lowered.fired))
            what = "the spikes that the live module fired are missing from the file, or are of no such layer"
            raise NotTheSame(Problem(what, layer, fix=_FIX_FILE))
        again = replace(made, read=recorded_read).run(inputs)
        run = run_graph(made.graph, {name: inputs[name] for name in made.graph.given_inputs}, timesteps)
        for what, outputs, spikes in (("the recorded operations do", again.outputs, again.spikes),
                                      ("the compiled network does", run.outputs, run.spikes)):  # fmt: skip
            order = [n.name for n in made.graph.of(Neuron) if n.name in told.spikes and n.name in spikes]
            found = Comparison()
            tied = np.zeros(len(next(iter(inputs.values()))), bool)
            if order:
                tied = compare_spikes(
                    found, told.spikes, spikes, order, 0, again.margins, again.thresholds, untold=again.untold
                )
            if found.mismatches:
                assert found.first is not None
                text = f"{what} not fire as the live module did"
                raise NotTheSame(Problem(text, found.first.layer, f"step {found.first.step}", fix=_FIX_FILE))
            if outputs is run.outputs and read != recorded_read:
                continue
            for name, values in told.outputs.items():
                if not near(values[~tied], outputs[name][~tied], tolerance_of(made.graph)):
                    raise NotTheSame(Problem(f"{what} not give what the live module gave", name, fix=_FIX_FILE))
        return made

    @cached_property
    def replay(self) -> Replay:
        """What was recorded, to be run again."""
        return Replay(self.trace, self.layout, self.timesteps, self.input_shapes, self.read, self.lowered)

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> ir_trace.Trace:
        """Run what was recorded, by torch in float64, on ``inputs[name][N, T, ...]``; states are cleared before.

        Membranes are told by their margins, where the model lets them be seen, whether they are asked for or not.
        """
        return self.replay.run(inputs) if self.symbolic is None else self.symbolic.run(inputs)


def _lowered(
    trace: Trace, layout: Layout, timesteps: int, shapes: Mapping[str, tuple[int, ...]], read: Read | None,
    carries: Mapping[str, str], kinds: Mapping[str, str], neurons: Any, regions: Any, examples: Any,
) -> Lowered:  # fmt: skip
    return lower(
        trace,
        {name: axes_of(len(shape), layout) for name, shape in shapes.items()},
        timesteps,
        stepped=layout == "loop",
        read=read,
        binary={name: kind == "spikes" for name, kind in carries.items()},
        module_kinds=kinds,
        neurons=neurons,
        regions=regions,
        examples=examples,
    )


def _unwrapped(module: nn.Module) -> nn.Module:
    """The module inside of DataParallel and torch.compile."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if inner is None:
            return module
        module = inner


# -- what its classes tell ---------------------------------------------------------------------------------------------


def of_symbolic(found: SymbolicModel) -> TorchModel:
    """A model that was traced symbolically."""
    carries = dict.fromkeys(found.input_shapes, found.carries)
    nothing = Lowered(found.graph, {})
    return TorchModel(Trace({}, [], []), found.layout, found.timesteps, found.input_shapes, found.read, carries,
                      found.example, nothing, found)  # fmt: skip


def _symbolic(
    module: nn.Module, again: Any, shapes: Mapping[str, tuple[int, ...]], timesteps: int, layout: Layout | None,
    read: Read | None, carries: Carries | None, example: Mapping[str, Array] | None,
    whole: Collection[str],
) -> TorchModel | None:  # fmt: skip
    """The model as the symbolic trace sees it, where the live module fires and gives the same; else None."""
    given = dict(example or {})
    binary = bool(given) and all(np.isin(x, (0, 1)).all() for x in given.values()) and not whole
    chosen = carries or ("spikes" if binary else "real")
    again()
    forget(module)
    try:
        own = dict(shapes) if list(shapes) != [""] else shapes[""]
        found = SymbolicModel.from_module(module, own, timesteps, layout, read, chosen, whole=whole)
        found.example = dict(zip(found.input_shapes, given.values()))
        own_whole = tuple(own for own, name in zip(found.input_shapes, shapes) if name in whole)
        for as_whole in {(), own_whole}:
            source = Live(module, again, found.input_shapes, timesteps, found.layout, as_whole, found.example)
            if agrees(source, found) and not source.draws:  # else what it drew is asked about
                return replace(of_symbolic(found), notes=source.notes)
        return None
    except ToolFailed:
        raise
    except Exception:  # whatever it is, the recording says it better
        return None


# -- what it does ------------------------------------------------------------------------------------------------------


def _recorded(live: Live, read: Read | None, carries: Carries | None) -> TorchModel:
    """The model, proved against the live module."""
    first = live.record(live.inputs(3, "example"))
    live.check(first)
    trace = None
    with contextlib.suppress(BadInput):
        trace = generalized(first.trace, live.record(live.inputs(2, "fresh"), seed=1).trace)
    if trace is None:
        trace = settled(first.trace)
    trace.whole = live.whole
    given = {name: carries or ("spikes" if live.is_binary(name) else "real") for name in live.shapes}
    kinds = kinds_of(live.module)
    shapes = dict(live.shapes)
    neurons, regions = whole_modules(trace, trace.modules)
    try:
        lowered = _lowered(trace, live.layout, live.timesteps, shapes, read, given, kinds, neurons, regions,
                           lambda numbers: _values(live, trace, numbers))  # fmt: skip
    except Exception as error:
        try:
            check_recorded(live, trace, *INPUTS)  # else it would be about what the module does not do
        except NotTheSame as other:
            whole = {place_of(call.module, call.line) for call in trace.calls if call.leaf}
            said = {problem.where for problem in getattr(error, "problems", ())}
            if other.problems[0].where not in whole & said:  # what a host computes draws, say, and the lowering says so
                raise
        raise
    made = TorchModel(trace, live.layout, live.timesteps, shapes, read, given, dict(live.example), lowered, None, kinds)
    made.notes = [*live.notes, *map(_compared_two_ways, lowered.two_ways)]
    made.proof, made.recorded_inputs, made.recording = prove(live, made.replay)
    if trace.random:
        made.example |= _drawn_with_example(live, made)
    for name, module in trace.modules.items():  # what is run later leaves the user's module alone
        trace.leaves[name] = again_of(copy.deepcopy(module))
    return made


def _compared_two_ways(layer: str) -> str:
    return (
        f"{layer}: its membrane is compared with >= and with >; the network does as one of them says, which is "
        "the same but where a membrane is exactly its threshold"
    )


def _values(live: Live, trace: Trace, numbers: Sequence[int]) -> Mapping[int, torch.Tensor]:
    given = live.inputs(trace.batch, "example")
    inputs = live.arranged(given) | (live.record(given).drawn if trace.random else {})
    _, watched = trace.run(inputs, trace.batch, numbers)
    return watched


def _drawn_with_example(live: Live, model: TorchModel) -> dict[str, Array]:
    """What random operations draw when the live module runs on the example."""
    size = len(next(iter(live.example.values()), ()))
    if not size:
        return {}
    told = live.record(live.inputs(size, "example"))
    return {name: random_given(model.trace, model.timesteps, name, drawn) for name, drawn in told.drawn.items()}
