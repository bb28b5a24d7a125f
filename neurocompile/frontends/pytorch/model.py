"""A torch model as the compiler holds it: what it did, recorded; its graph; and what runs it for reference."""

# mypy: disable-error-code="assignment,attr-defined,no-untyped-call"
from __future__ import annotations

import contextlib
import copy
import inspect
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from neurocompile.errors import BadInput, NeurocompileError, NotTheSame, Problem, UnsupportedModel
from neurocompile.frontends.pytorch.axes import LAYOUTS, Axes, Layout, axes_of
from neurocompile.frontends.pytorch.checks import check_module
from neurocompile.frontends.pytorch.layouts import (
    arrange,
    in_order,
    likely_layouts,
    separate,
    to_network_time,
)
from neurocompile.frontends.pytorch.lower import SILENT, Fired, Lowered, lower
from neurocompile.frontends.pytorch.record import (
    _LIBRARIES,
    _OURS,
    _TORCH,
    FIX_CHANCE,
    Recording,
    forget,
    in_time,
    live,
    record,
)
from neurocompile.frontends.pytorch.reference import Reference
from neurocompile.frontends.pytorch.symbolic import Listening, SymbolicModel
from neurocompile.frontends.pytorch.trace import CallFailed, Trace, generalized, references, same_bits, settled
from neurocompile.frontends.pytorch.whole import again_of, is_whole, whole_modules
from neurocompile.hosted import run_graph
from neurocompile.ir.graph import Graph
from neurocompile.ir.interpret import Run, interpret, read_out
from neurocompile.ir.ops import Array, Neuron, Output, Read
from neurocompile.validation.compare import Comparison, compare_spikes

__all__ = ["LAYOUTS", "Layout", "Reference", "TorchModel", "in_order", "likely_layouts", "separate"]

# Networks with more neurons than this are held against the live model on fewer inputs.
_LARGE = 1_000_000
_OUTPUTS = 1e-9
_IN_FLOAT32 = 1e-5


@dataclass
class TorchModel:
    """A model that was recorded and lowered, ready to be compiled and to be run as the reference.

    ``layout`` says how forward takes time and batch: [T, N, ...], [N, T, ...], [N, ..., T], [N, C, T, ...], folded
    into the batch (time outermost), one step a call, or [N, ...] where forward itself makes the steps. ``example``
    holds a few samples ``[n, ...]`` or ``[n, T, ...]`` for each argument, if any were given. ``proof`` is what was
    compared with the live model. ``symbolic`` stands for all of this where the classes of its modules tell it, and in
    files of the first version.
    """

    trace: Trace
    layout: Layout
    timesteps: int
    input_shapes: dict[str, tuple[int, ...]]
    read: Read | None
    carries: dict[str, Literal["real", "spikes"]]
    example: dict[str, Array]
    lowered: Lowered
    symbolic: SymbolicModel | None = None
    module_kinds: Mapping[str, str] = field(default_factory=dict)
    proof: Comparison = field(default_factory=Comparison)
    recorded_inputs: dict[str, Array] = field(default_factory=dict)
    recording: Reference | None = None

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
        carries: Literal["real", "spikes"] | None = None,
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
        with live(module) as again:
            if by_class:
                found = _symbolic(module, again, shapes, timesteps, layout, read, carries, example, whole)
                if found is not None:
                    return found
            for guess, as_whole in product(guesses, ((), tuple(whole)) if whole else ((),)):
                source = _Live(module, again, shapes, timesteps, guess, as_whole, example)
                try:
                    return source.model(read, carries)
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
        carries: dict[str, Literal["real", "spikes"]],
        example: dict[str, Array],
        module_kinds: Mapping[str, str],
        recorded: tuple[dict[str, Array], Reference],
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
            given = {name: _as_given(trace, layout, name, resized[name]) for name in (*trace.inputs, *trace.random)}
            return trace.run(given, trace.batch, numbers)[1]

        lowered = _lowered(
            trace, layout, timesteps, input_shapes, read, carries, module_kinds, neurons, regions, examples
        )
        made = TorchModel(trace, layout, timesteps, input_shapes, read, carries, example, lowered, None, module_kinds)
        made.recorded_inputs, made.recording = inputs, told
        again = replace(made, read=recorded_read).run(inputs)
        run = run_graph(made.graph, {name: inputs[name] for name in made.graph.given_inputs}, timesteps)
        for what, outputs, spikes in (("the recorded operations do", again.outputs, again.spikes),
                                      ("the compiled network does", run.outputs, run.spikes)):  # fmt: skip
            order = [n.name for n in made.graph.of(Neuron) if n.name in told.spikes and n.name in spikes]
            found = Comparison()
            tied = np.zeros(len(next(iter(inputs.values()))), bool)
            if order:
                tied = compare_spikes(found, told.spikes, spikes, order, 0, again.margins, again.thresholds)
            if found.mismatches:
                assert found.first is not None
                text = f"{what} not fire as the live module did"
                raise NotTheSame(Problem(text, found.first.layer, f"step {found.first.step}", fix=_FIX_FILE))
            if outputs is run.outputs and read != recorded_read:
                continue
            rough = any(region.precision == "float32" for region in made.graph.hosts.values())
            for name, values in told.outputs.items():
                if not _near(values[~tied], outputs[name][~tied], _IN_FLOAT32 if rough else _OUTPUTS):
                    raise NotTheSame(Problem(f"{what} not give what the live module gave", name, fix=_FIX_FILE))
        return made

    def run(self, inputs: Mapping[str, Array]) -> Reference:
        """Run what was recorded, by torch in float64, on ``inputs[name][N, T, ...]``; states are cleared before."""
        if self.symbolic is not None:
            return self.symbolic.run(inputs)
        parts = []
        total = len(next(iter(inputs.values())))
        size = self.trace.batch if self.trace.fixed else total
        for start in range(0, total, size):
            part = {
                name: np.asarray(inputs[name][start : start + size])
                for name in (*self.input_shapes, *self.trace.random)
            }
            count = len(next(iter(part.values())))
            if count < size:
                part = {name: np.concatenate([x, np.repeat(x[-1:], size - count, 0)]) for name, x in part.items()}
            parts.append(self._cut(self._run(part), count))
        return _together(parts)

    def _run(self, inputs: Mapping[str, Array]) -> Reference:
        batch = len(next(iter(inputs.values())))
        given = {name: _as_given(self.trace, self.layout, name, x) for name, x in inputs.items()}
        returned, watched = self.trace.run(given, batch, self.watch)
        return self.reference(returned, watched)

    @property
    def watch(self) -> frozenset[int]:
        """The values of the trace that spikes and margins are told by."""
        fired = {number for where in self.lowered.fired.values() for number in where.values} - {SILENT}
        return frozenset(fired | {n for number in fired for n in self._compared(number)})

    def _compared(self, number: int) -> list[int]:
        """The operands of the comparison that a value is."""
        call = self._calls.get(number)
        if call is None or call.operation not in ("ge", "gt", "le", "lt"):
            return []
        return list(references(call.args))

    @property
    def _calls(self) -> dict[int, Any]:
        known = self.__dict__.get("_by_number")
        if known is None:
            known = self.__dict__["_by_number"] = {call.out: call for call in self.trace.calls}
        return known

    def reference(self, returned: Any, watched: Mapping[int, torch.Tensor]) -> Reference:
        """What forward returned, and the values that were watched, in network time."""
        flat = [list(_tensors(one)) for one in returned]
        outputs = {}
        for number, (_, axes) in enumerate(self.lowered.outputs):
            name = "output" if number == 0 else f"output.{number + 1}"
            outputs[name] = self._output([one[number] for one in flat], axes)
        found = Reference(outputs, {})
        for layer, where in self.lowered.fired.items():
            found.spikes[layer] = self._steps(where, lambda number: torch.sign(watched[number].double())).astype(
                np.int8
            )
            margin = self._margin(where, watched)
            if margin is not None:
                found.margins[layer] = margin
                op = self.graph[layer].op
                assert isinstance(op, Neuron)
                size = np.abs(op.threshold)
                found.thresholds[layer] = float(size[np.isfinite(size)].min(initial=1.0))
        return found

    def _output(self, parts: Sequence[torch.Tensor], axes: tuple[Axes, ...]) -> Array:
        how = Output(self.read or "mean")
        if self.layout == "loop":
            steps = [to_network_time(x, a, self.timesteps) for x, a in zip(parts, axes)]
            return read_out(how, torch.stack(steps, 1).double().numpy())
        timed = any("T" in name for name in axes[0])
        value = to_network_time(parts[0], axes[0], self.timesteps).double().numpy()
        return read_out(how, value) if timed else np.asarray(value)

    def _steps(self, where: Fired, value: Any, silent: float = 0.0) -> Array:
        """``[N, T, ...]`` of values of the trace, one for each step; ``silent`` before anything arrives."""
        found = []
        cache: dict[int, torch.Tensor] = {}
        shape = None
        for number, axes, step in zip(where.values, where.axes, where.steps):
            if number == SILENT:
                continue
            if number not in cache:
                x = value(number)
                rank = len(axes)
                x = x.expand(*([1] * (rank - x.ndim)), *x.shape) if x.ndim < rank else x
                cache[number] = to_network_time(x, axes, self.timesteps)
            x = cache[number]
            x = x[:, step] if step >= 0 else x
            found.append(x)
            shape = x.shape if shape is None or x.numel() > prod(shape) else shape
        assert shape is not None
        layer = self.graph.edges[next(n for n, w in self.lowered.fired.items() if w is where)].shape
        nothing = torch.full(shape, silent, dtype=found[0].dtype)
        found = [nothing] * (len(where.values) - len(found)) + found
        return torch.stack([x.expand(shape).reshape(shape[0], *layer) for x in found], 1).numpy()

    def _margin(self, where: Fired, watched: Mapping[int, torch.Tensor]) -> Array | None:
        if not all(self._compared(number) for number in where.values if number != SILENT):
            return None

        def margin(number: int) -> torch.Tensor:
            call = self._calls[number]
            a, b = (watched[p.number] if hasattr(p, "number") else torch.as_tensor(p) for p in call.args[:2])
            return (a.double() - b.double()).expand(watched[number].shape)

        return self._steps(where, margin, silent=np.inf)

    def _cut(self, reference: Reference, count: int) -> Reference:
        def cut(arrays: Mapping[str, Array]) -> dict[str, Array]:
            return {name: x[:count] for name, x in arrays.items()}

        return replace(
            reference, outputs=cut(reference.outputs), spikes=cut(reference.spikes), margins=cut(reference.margins)
        )


def _random_given(model: TorchModel, name: str, drawn: Sequence[torch.Tensor]) -> Array:
    """What a random operation drew, as an input ``[N, T, ...]``."""
    at = model.trace.random_batch.get(name, 0)
    if len(drawn) > 1:
        return torch.stack([x.movedim(at, 0) for x in drawn], 1).numpy()
    x = drawn[0].movedim(at, 0)
    if at == 1:  # [T, N, ...]
        return x.numpy()
    return x.unsqueeze(1).expand(len(x), model.timesteps, *x.shape[1:]).numpy()


def _place(call: Any) -> str:
    return f"{call.line} ({call.module})" if call.module and call.line else call.line or call.module


def _as_given(trace: Trace, layout: Layout, name: str, x: Array) -> list[torch.Tensor]:
    """An input ``[N, T, ...]`` as the values of a trace."""
    if name in trace.random:
        at = trace.random_batch.get(name, 0)
        tensor = torch.from_numpy(np.ascontiguousarray(x, np.float64))
        if len(trace.random[name]) > 1:
            return [part.movedim(0, at).contiguous() for part in tensor.unbind(1)]
        return [(tensor.transpose(0, 1) if at == 1 else tensor[:, 0]).contiguous()]
    tensors = arrange(x, layout)
    return [t.long() for t in tensors] if name in trace.whole else tensors


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


def _together(parts: Sequence[Reference]) -> Reference:
    if len(parts) == 1:
        return parts[0]

    def joined(kind: str) -> dict[str, Array]:
        return {name: np.concatenate([getattr(p, kind)[name] for p in parts]) for name in getattr(parts[0], kind)}

    return Reference(joined("outputs"), joined("spikes"), joined("margins"), parts[0].thresholds)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


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
    read: Read | None, carries: Literal["real", "spikes"] | None, example: Mapping[str, Array] | None,
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
            source = _Live(module, again, found.input_shapes, timesteps, found.layout, as_whole, found.example)
            if source.agrees(found):
                return of_symbolic(found)
        return None
    except Exception:  # whatever it is, the recording says it better
        return None


# -- the live module ---------------------------------------------------------------------------------------------------


class _Live:
    """A module that is live in one layout, its recordings, and the proof."""

    def __init__(
        self, module: nn.Module, again: Any, shapes: Mapping[str, tuple[int, ...]], timesteps: int, layout: Layout,
        whole: tuple[str, ...], example: Mapping[str, Array] | None,
    ) -> None:  # fmt: skip
        self.module = module
        self.again = again
        given = dict(example or {})
        if set(given) == set(shapes):
            given = {name: given[name] for name in shapes}
        self.shapes = self._named(shapes)
        self.timesteps = timesteps
        self.layout = layout
        self.whole = frozenset(whole)
        self.example = dict(zip(self.shapes, given.values()))

    def _named(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        arguments = list(inspect.signature(self.module.forward).parameters)
        given = list(shapes)
        if given == [""] or not set(given) <= set(arguments):
            star = [
                n for n, p in inspect.signature(self.module.forward).parameters.items() if p.kind == p.VAR_POSITIONAL
            ]
            names = [n for n in arguments if n not in star]
            if len(given) > len(names) and not star:
                what = f"the example has {len(given)} tensors, and forward takes {len(names)}"
                raise BadInput(Problem(what, _forward_of(self.module), fix="give one tensor for each argument"))
            if len(names) < len(given):
                names = names + [f"x{k}" if k else "x" for k in range(len(given) - len(names))]
            return dict(zip(names, shapes.values()))
        return dict(shapes)

    # -- inputs --------------------------------------------------------------------------------------------------------

    def inputs(self, batch: int, kind: str) -> dict[str, Array]:
        """``[N, T, ...]`` for each argument: of the example, fresh random numbers, zeros, large numbers."""
        made = {}
        for number, (name, shape) in enumerate(self.shapes.items()):
            steady = self.layout == "N"
            example = self.example.get(name)
            full = (batch, self.timesteps, *shape)
            if name in self.whole:
                made[name] = self._whole_numbers(example, full, kind, steady)
                continue
            if kind == "example" and example is not None:
                x = (
                    np.resize(np.asarray(example, np.float64), (batch, *example.shape[1:]))
                    if len(example) < batch
                    else np.array(example[:batch])
                )
                made[name] = self._over_time(np.asarray(x, np.float64), shape)
                continue
            seed = {"example": 1, "fresh": 2, "zeros": 3, "large": 4}[kind]
            numbers = np.random.default_rng([seed, number])
            drawn = numbers.random((batch, 1 if steady else self.timesteps, *shape))
            if example is not None and np.isin(example, (0, 1)).all():
                drawn = (drawn < 0.5).astype(np.float64)
            elif example is not None and np.array_equal(example, np.rint(example)):  # they may be indices
                drawn = numbers.choice(np.unique(example), drawn.shape).astype(np.float64)
            elif example is not None and kind == "fresh":
                low, high = float(np.min(example)), float(np.max(example))
                drawn = low + (high - low) * 1.2 * drawn
            whole = example is not None and np.array_equal(example, np.rint(example))
            if kind == "zeros":
                drawn = np.zeros_like(drawn)
            if kind == "large":  # the same at every step, as zeros are
                drawn = drawn[:, :1] if whole else (drawn[:, :1] - 0.3) * 40.0
            made[name] = np.broadcast_to(drawn, full).copy()
        return made

    def _mixed(self, batch: int, kind: str) -> dict[str, Array]:
        """Samples of the example, fresh ones, or of zeros and large ones in turn."""
        even, odd = ("zeros", "large") if kind == "extreme" else (kind, kind)
        first, second = self.inputs(batch, even), self.inputs(batch, odd)
        for name, x in first.items():
            x[1::2] = second[name][1::2]
        return first

    def _over_time(self, x: Array, shape: tuple[int, ...]) -> Array:
        return x if x.ndim > len(shape) + 1 else np.repeat(x[:, None], self.timesteps, axis=1)

    def _whole_numbers(self, example: Array | None, full: tuple[int, ...], kind: str, steady: bool) -> Array:
        if example is None or kind == "zeros":
            return np.zeros(full)
        values = np.unique(example)
        numbers = np.random.default_rng(5)
        if kind == "example":
            x = np.resize(np.asarray(example, np.float64), (full[0], *example.shape[1:]))
            return self._over_time(x, full[2:])
        drawn = numbers.choice(values, (full[0], 1 if steady else full[1], *full[2:])).astype(np.float64)
        return np.broadcast_to(drawn, full).copy()

    def arranged(self, inputs: Mapping[str, Array]) -> dict[str, list[torch.Tensor]]:
        """Inputs as forward takes them."""
        found = {name: arrange(x, self.layout) for name, x in inputs.items()}
        return {name: [t.long() for t in x] if name in self.whole else x for name, x in found.items()}

    # -- recording -----------------------------------------------------------------------------------------------------

    def record(
        self, inputs: Mapping[str, Array], watch: frozenset[int] = frozenset(), seed: int = 0, fresh: bool = True,
        strict: bool = True,
    ) -> Recording:  # fmt: skip
        """What the live module does with inputs ``[N, T, ...]``, from the state that it had (``fresh``) or has now."""
        batch = len(next(iter(inputs.values())))
        if fresh:
            self.again()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                steps = 0 if self.layout == "loop" else self.timesteps
                return record(self.module, self.arranged(inputs), batch, is_whole, watch, strict, steps)
            except NeurocompileError:
                raise
            except Exception as error:
                shapes = ", ".join(str(list(x[0].shape)) for x in self.arranged(inputs).values())
                what = f"torch cannot run it: {(str(error).splitlines() or [type(error).__name__])[0]}"
                fix = "check forward; the example or --input-shape (without batch and time); --timesteps and --layout"
                place = _line_of(error, self.module) or _forward_of(self.module)
                raise BadInput(Problem(what, place, f"input {shapes}", "", fix)) from error

    def agrees(self, found: SymbolicModel) -> bool:
        """Whether a symbolic trace's graph does what the live module does, at a second call, too."""
        size = sum(prod(found.graph.edges[node.name].shape) for node in found.graph.of(Neuron))
        rough = any(region.precision == "float32" for region in found.graph.hosts.values())
        bound = _IN_FLOAT32 if rough else _OUTPUTS
        for kind in _INPUTS if size <= _LARGE else ("example",):
            inputs, run = self._mixed(2, kind), None
            for fresh in (True, False) if kind == "example" else (True,):
                same = False
                for promoted in (False, True):  # a class may make float32 of whatever it is given
                    heard = Listening(self.module, live=True)
                    try:
                        returned = self._called(inputs, fresh, promoted)
                    except Exception:
                        same = promoted and kind != "example"  # it does not take such inputs
                        continue
                    finally:
                        heard.stop()
                    run = run or run_graph(found.graph, inputs, self.timesteps)
                    expected = found.outputs_of(returned, 2)
                    same = _same_spikes(heard.spikes(self.timesteps), run.spikes) and all(
                        _near(values, run.outputs[name], bound) for name, values in expected.items()
                    )
                    if same:
                        break
                if not same:
                    return False
        return True

    def _called(self, inputs: Mapping[str, Array], fresh: bool, promoted: bool) -> Sequence[Any]:
        """What the live module returns at each call, from the state that it had (``fresh``) or once it is reset.

        ``promoted``: with its casts to float32 as ones to float64.
        """
        if not fresh:
            forget(self.module)
        if promoted:
            return self.record(inputs, fresh=fresh, strict=False).returned  # type: ignore[no-any-return]
        if fresh:
            self.again()
        given = self.arranged(inputs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return [self.module(*parts) for parts in zip(*given.values(), strict=True)]

    def model(self, read: Read | None, carries: Literal["real", "spikes"] | None) -> TorchModel:
        """The model, proved against the live module."""
        first = self.record(self.inputs(3, "example"))
        self._check_returns(first)
        self._check_forgets(first)
        self._check_unrecorded(first)
        self._check_repeats(first)
        self._check_draws(first)
        trace = None
        with contextlib.suppress(BadInput):
            trace = generalized(first.trace, self.record(self.inputs(2, "fresh"), seed=1).trace)
        if trace is None:
            trace = settled(first.trace)
        trace.whole = self.whole
        given = {name: carries or ("spikes" if self._is_binary(name) else "real") for name in self.shapes}
        kinds = {path: f"{type(m).__module__}.{type(m).__name__}" for path, m in self.module.named_modules()}
        shapes = dict(self.shapes)
        neurons, regions = whole_modules(trace, trace.modules)
        try:
            lowered = _lowered(trace, self.layout, self.timesteps, shapes, read, given, kinds, neurons, regions,
                               lambda numbers: self._values(trace, numbers))  # fmt: skip
        except Exception:
            self._check_recorded(trace, *_INPUTS)  # else it would be about what the module does not do
            raise
        made = TorchModel(
            trace, self.layout, self.timesteps, shapes, read, given, dict(self.example), lowered, None, kinds
        )
        self._prove(made)
        if trace.random:
            made.example |= self._drawn_with_example(made)
        for name, module in trace.modules.items():  # what is run later leaves the user's module alone
            trace.leaves[name] = again_of(copy.deepcopy(module))
        return made

    def _values(self, trace: Trace, numbers: Sequence[int]) -> Mapping[int, torch.Tensor]:
        given = self.inputs(trace.batch, "example")
        inputs = self.arranged(given) | (self.record(given).drawn if trace.random else {})
        _, watched = trace.run(inputs, trace.batch, numbers)
        return watched

    def _drawn_with_example(self, model: TorchModel) -> dict[str, Array]:
        """What random operations draw when the live module runs on the example."""
        size = len(next(iter(self.example.values()), ()))
        if not size:
            return {}
        told = self.record(self.inputs(size, "example"))
        return {name: _random_given(model, name, drawn) for name, drawn in told.drawn.items()}

    def _is_binary(self, name: str) -> bool:
        example = self.example.get(name)
        return example is not None and name not in self.whole and bool(np.isin(example, (0, 1)).all())

    # -- the proof -----------------------------------------------------------------------------------------------------

    def _check_returns(self, first: Recording) -> None:
        if not _flat(first.returned):
            fix = "let it return what is to be read: the spikes or currents of its last layer"
            raise UnsupportedModel(Problem("forward returns no tensor", _forward_of(self.module), fix=fix))

    def _check_unrecorded(self, first: Recording) -> None:
        """It does the same when nobody records it; a hard-coded cast is made in float64 while somebody does."""
        if first.cast:
            return
        self.again()
        given = {
            name: [x.clone() for x in tensors] for name, tensors in self.arranged(self.inputs(3, "example")).items()
        }
        steps = 0 if self.layout == "loop" else self.timesteps
        what, place = "it gives something else while it is recorded than it gives alone", ""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                alone = _flat([in_time(self.module(*step), steps) for step in zip(*given.values())])
            except Exception as error:
                alone, place = [], _line_of(error, self.module)
        recorded = _flat(first.returned)
        if len(alone) != len(recorded) or not all(map(same_bits, recorded, alone)):
            raise NotTheSame(Problem(what, place or _forward_of(self.module), fix=_FIX_FAULT))

    def _check_repeats(self, first: Recording) -> None:
        """The same inputs give the same again, from fresh state, and samples do not hear each other."""
        given = self.inputs(3, "example")
        changed = {name: x.copy() for name, x in given.items()}
        other = self.inputs(3, "fresh")
        for name, x in changed.items():
            x[0] = other[name][0]
        second = self.record(changed)
        if not all(same_bits(a, b) for name, drawn in first.drawn.items() for a, b in zip(drawn, second.drawn[name])):
            what = "what it draws depends on its input, with the same seed"
            raise UnsupportedModel(Problem(what, _forward_of(self.module), fix=FIX_CHANCE))
        axis = {"TN": 1, "fold": None}.get(self.layout, 0)
        for a, b in zip(_flat(first.returned), _flat(second.returned), strict=False):
            if a.shape != b.shape:
                what = "how large its output is depends on the values of its input"
                raise UnsupportedModel(
                    Problem(what, _forward_of(self.module), fix="decide on shapes and settings only")
                )
            if not _others_equal(a, b, axis, self.timesteps):
                what = "what it gives for a sample depends on the other samples of the batch"
                place = self._where_mixed(first, second) or _forward_of(self.module)
                raise UnsupportedModel(Problem(what, place, fix=_FIX_BATCH))

    def _check_draws(self, first: Recording) -> None:
        """Random numbers are drawn once for a sample, or once a step."""
        problems = []
        for name, numbers in first.trace.random.items():
            if len(numbers) not in (1, self.timesteps):
                what = f"it draws random numbers {len(numbers)} times"
                problems.append(Problem(what, first.drawn_at[name], "", f"1 or {self.timesteps}",
                                        "draw them once for all steps, or once a step"))  # fmt: skip
        if problems:
            raise UnsupportedModel(problems)

    def _check_forgets(self, first: Recording) -> None:
        """A second call, after the states of neurons were cleared, gives the same as the first."""
        given = self.inputs(3, "example")
        forget(self.module)
        second = self.record(given, fresh=False)
        if first.trace.random:
            return
        same = len(_flat(first.returned)) == len(_flat(second.returned)) and all(
            same_bits(a, b) for a, b in zip(_flat(first.returned), _flat(second.returned))
        )
        if same:
            return
        numbers = frozenset(range(len(first.trace.shapes)))
        a = self.record(given, numbers).watched
        forget(self.module)
        b = self.record(given, numbers, fresh=False).watched
        place = _forward_of(self.module)
        calls = {call.out: call for call in first.trace.calls}
        for number in sorted(numbers & set(a) | set(calls)):
            x, y, call = a.get(number), b.get(number), calls.get(number)
            if call is not None and x is not None and (y is None or not same_bits(x, y)):
                place = _place(call)
                break
        what = "it does not start anew: the same input gives something else at a second call"
        fix = (
            "clear its state at the start of forward, or in a method reset() or reset_mem(); "
            "draw random numbers with torch"
        )
        raise UnsupportedModel(Problem(what, place, fix=fix))

    def _where_mixed(self, first: Recording, second: Recording) -> str:
        """The line that first mixes samples."""
        numbers = frozenset(
            call.out for call in first.trace.calls if 3 in call.shape and call.out not in first.trace.constants
        )
        given = self.inputs(3, "example")
        changed = {name: x.copy() for name, x in given.items()}
        other = self.inputs(3, "fresh")
        for name, x in changed.items():
            x[0] = other[name][0]
        a, b = self.record(given, numbers).watched, self.record(changed, numbers).watched
        for call in first.trace.calls:
            x, y = a.get(call.out), b.get(call.out)
            if x is None or y is None:
                continue
            axes = [k for k, n in enumerate(x.shape) if n == 3]
            if axes and not any(torch.equal(x.narrow(k, 1, 2), y.narrow(k, 1, 2)) for k in axes):
                return _place(call)
        return ""

    def _prove(self, model: TorchModel) -> None:
        """Hold what was recorded, and the graph, against the live module: the example, fresh, zero and large inputs."""
        size = sum(prod(model.graph.edges[node.name].shape) for node in model.graph.of(Neuron))
        batch = model.trace.batch if model.trace.fixed else 2
        for seed, kind in enumerate(_INPUTS):
            inputs = self._mixed(batch, kind)
            try:
                told = self.record(inputs, model.watch, seed)
            except BadInput:
                if kind == "example":
                    raise
                continue  # it does not take such inputs
            self._same_bits(model.trace, told, inputs, seed, kind, model.watch)
            expected = model.reference(told.returned, told.watched)
            inputs = {**inputs, **{name: _random_given(model, name, told.drawn[name]) for name in told.drawn}}
            if size <= _LARGE or kind == "example":
                self._same_graph(model, inputs, expected, kind)
            if kind == "example":
                model.recorded_inputs, model.recording = inputs, expected
        self._check_recorded(model.trace, "zeros")

    def _check_recorded(self, trace: Trace, *kinds: str) -> None:
        """What was recorded does again what the live module does, with batches of a size that was not recorded."""
        for seed, kind in enumerate(kinds):
            inputs = self._mixed(trace.batch if trace.fixed else 4, kind)
            with contextlib.suppress(BadInput):  # it does not take such inputs
                self._same_bits(trace, self.record(inputs, seed=seed), inputs, seed, kind)

    def _same_bits(
        self, trace: Trace, told: Recording, inputs: Mapping[str, Array], seed: int, kind: str,
        watch: frozenset[int] = frozenset(),
    ) -> None:  # fmt: skip
        given = self.arranged(inputs) | told.drawn
        batch = len(next(iter(inputs.values())))
        what = f"what was recorded does not do again what the live module does, on {_SHOWN[kind]}"
        try:
            returned, watched = trace.run(given, batch, watch)
        except CallFailed as failed:
            raise NotTheSame(Problem(what, _place(failed.call), str(failed), fix=_FIX_HIDDEN)) from failed
        same = all(n in told.watched and same_bits(told.watched[n], x) for n, x in watched.items())
        pairs = zip(_flat(told.returned), _flat(returned), strict=True)
        if not (same and all(same_bits(a, b) for a, b in pairs)):
            place, kind_of = self._first_difference(trace, inputs, given, seed)
            if kind_of in _NARROW:
                name = str(kind_of).removeprefix("torch.")
                what = f"its numbers leave the range of {name}, which wraps round: here whole numbers have 64 bits"
                raise UnsupportedModel(Problem(what, place, fix="count in floats or in torch.int64"))
            raise NotTheSame(Problem(what, place or _forward_of(self.module), fix=_FIX_HIDDEN))

    def _first_difference(
        self, trace: Trace, inputs: Mapping[str, Array], given: Mapping[str, Sequence[torch.Tensor]], seed: int
    ) -> tuple[str, torch.dtype | None]:
        """Where an operation first gives, or is given, something else than in the live module, and of what type."""
        numbers = {call.out for call in trace.calls} | set(trace.constants)
        told = self.record(inputs, frozenset(numbers), seed).watched
        _, found = trace.run(given, len(next(iter(inputs.values()))), numbers)
        wrong = {n for n, x in found.items() if n in told and not same_bits(told[n], x)}
        first = next((call for call in trace.calls if wrong & {call.out, *references(call.args)}), None)
        return ("", None) if first is None else (_place(first), told[first.out].dtype if first.out in told else None)

    def _same_graph(self, model: TorchModel, inputs: Mapping[str, Array], expected: Reference, kind: str) -> None:
        run = run_graph(model.graph, inputs, self.timesteps)
        order = [node.name for node in model.graph.of(Neuron) if node.name in expected.spikes]
        rough = any(region.precision == "float32" for region in model.graph.hosts.values())
        bound = _IN_FLOAT32 if rough else _OUTPUTS
        tied = np.zeros(len(next(iter(inputs.values()))), bool)
        before = model.proof.mismatches
        if order:
            tied = compare_spikes(
                model.proof, expected.spikes, run.spikes, order, 0, expected.margins, expected.thresholds, bound
            )
        if tied.any() and not model.graph.hosts:
            self._check_ties(model, inputs, expected, run, kind)
        if model.proof.mismatches > before:
            first = model.proof.first
            assert first is not None
            what = f"the compiled network does not fire as the live module does, on {_SHOWN[kind]}"
            told = f"{first.actual} at step {first.step}, neuron {list(first.neuron)}"
            raise NotTheSame(Problem(what, first.layer, told, f"{first.expected}", _FIX_FAULT))
        for name, values in expected.outputs.items():
            known, found = values[~tied], run.outputs[name][~tied]
            if known.size and not _near(known, found, bound):
                what = f"the compiled network does not give what the live module gives, on {_SHOWN[kind]}"
                if known.shape != found.shape:
                    raise NotTheSame(Problem(what, name, f"shape {found.shape[1:]}", f"{known.shape[1:]}", _FIX_FAULT))
                worst = float(np.nanmax(np.abs(known - found)))
                raise NotTheSame(Problem(what, name, f"off by {worst:.3g}", "0", _FIX_FAULT))

    def _check_ties(
        self, model: TorchModel, inputs: Mapping[str, Array], expected: Reference, run: Run, kind: str
    ) -> None:
        """Where both membranes are the threshold itself, there is no rounding to excuse another spike."""
        membranes = interpret(model.graph, inputs, self.timesteps, membranes=True).membranes
        for name, margin in expected.margins.items():
            op = model.graph[name].op
            assert isinstance(op, Neuron)
            if op.norm is not None and op.norm.on == "compare":
                continue
            both = (margin == 0) & (membranes[name] == op.threshold)
            wrong = np.argwhere(both & (expected.spikes[name] != run.spikes[name]))
            if len(wrong):
                _, step, *where = map(int, wrong[0])
                what = f"the compiled network compares a membrane that is its threshold otherwise, on {_SHOWN[kind]}"
                told = f"{run.spikes[name][tuple(wrong[0])]} at step {step}, neuron {where}"
                raise NotTheSame(Problem(what, name, told, str(expected.spikes[name][tuple(wrong[0])]), _FIX_FAULT))


_INPUTS = ("example", "fresh", "extreme")
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
_FIX_BATCH = "treat every sample alike, as a chip sees one at a time; for statistics use nn.BatchNorm in eval mode"
_FIX_FILE = "save the model again with neurocompile.save; if it stays so, please report it"
_FIX_FAULT = "please report it with the model: this is a fault of neurocompile; nothing was written"


def _near(a: Array, b: Array, bound: float) -> bool:
    if a.shape != b.shape:
        return False
    size = max(1.0, float(np.abs(a[np.isfinite(a)]).max(initial=0.0)))
    with np.errstate(invalid="ignore"):
        return bool(np.all((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= bound * size)))


def _same_spikes(expected: Mapping[str, Array], found: Mapping[str, Array]) -> bool:
    """Whether layers that both name fire alike."""
    both = [name for name, x in expected.items() if name in found and x.shape == found[name].shape]
    return all(np.array_equal(expected[name], np.sign(found[name])) for name in both)


def _flat(returned: Any) -> list[torch.Tensor]:
    return [x for one in returned for x in _tensors(one)]


def _others_equal(a: torch.Tensor, b: torch.Tensor, axis: int | None, timesteps: int) -> bool:
    """Whether all samples but the first are the same: along whichever axis holds the batch."""
    axes = [k for k, n in enumerate(a.shape) if n in (3, 3 * timesteps)]
    if not axes:
        return True
    for k in axes:
        x, y = a.movedim(k, 0), b.movedim(k, 0)
        if len(x) != 3:
            x, y = (v.unflatten(0, (timesteps, 3)).movedim(1, 0) for v in (x, y))
        if same_bits(x[1:], y[1:]):
            return True
    return False


def _forward_of(module: nn.Module) -> str:
    """Where a forward is written, and whose it is."""
    kind = type(module).__name__
    code = getattr(getattr(module.forward, "__func__", module.forward), "__code__", None)
    if code is None or code.co_filename.startswith((_OURS, _TORCH, *_LIBRARIES, "<")):
        return kind
    return f"{code.co_filename.removeprefix(os.getcwd() + os.sep)}:{code.co_firstlineno} ({kind})"


def _line_of(error: BaseException, module: nn.Module) -> str:
    """The user's file:line at which an exception was raised, and the path of the module in whose code that is."""
    paths = {id(m): path for path, m in module.named_modules()}
    line = where = ""
    frame = error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        if not code.co_filename.startswith((_OURS, _TORCH, *_LIBRARIES, "<")):
            line = f"{code.co_filename.removeprefix(os.getcwd() + os.sep)}:{frame.tb_lineno}"
        owner = frame.tb_frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        where = paths.get(id(owner), where) or where
        frame = frame.tb_next
    return f"{line} ({where})" if line and where else line or where
