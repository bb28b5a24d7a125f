"""A live module runs in float64, and what torch really computes is written down below Python.

In-place changes, views, aliases, item assignment, loops, hooks, patched forwards and parametrizations are so what
torch says they are. Every tensor is a view of a cell of memory; writing to one makes a new value of the cell, and
whoever looks at that cell later sees it.
"""

# mypy: disable-error-code="assignment,no-any-return,no-untyped-call"
from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from neurocompile.errors import Problem, UnsupportedModel
from neurocompile.frontends.pytorch.places import is_ours, is_torch, kinds_of, line_of, place_of, problem_at
from neurocompile.frontends.pytorch.trace import Call, Ref, Trace, references, replaced, same_bits
from neurocompile.frontends.pytorch.values import FIX_HOST
from neurocompile.frontends.pytorch.vocabulary import OPERATIONS, SYNONYMS, VIEWS

__all__ = ["Recording", "in_time", "record"]

FIX_CHANCE = "draw what is the same for every input and compare: torch.rand_like(p) < p is 1 with probability p"
_LOW_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


# -- recording ---------------------------------------------------------------------------------------------------------


@dataclass
class Recording:
    """A trace, what the live module returned, and what random operations drew; where forward casts."""

    trace: Trace
    returned: Any
    watched: dict[int, torch.Tensor]
    drawn: dict[str, list[torch.Tensor]]
    casts: list[str]


def record(
    model: nn.Module,
    inputs: Mapping[str, Sequence[torch.Tensor]],
    batch: int,
    leaves: Callable[[nn.Module], bool],
    watch: frozenset[int] = frozenset(),
    strict: bool = True,
    timesteps: int = 0,
) -> Recording:
    """Run a module that is :func:`live` and write down what torch computes.

    Args:
        model: called once, or once a step where ``inputs`` has several tensors each.
        inputs: by the names that the trace gives them, in the order of forward's arguments.
        batch: of these.
        leaves: which modules are one whole.
        watch: the numbers of values to keep, from an earlier recording.
        strict: whether what no recording can hold is an error; else what forward returned is all that counts.
        timesteps: T, where forward makes all steps: a list of so many tensors of one shape is one output in time.

    Raises:
        UnsupportedModel: if forward does what no recording can hold: with each such place.
        Exception: whatever forward raises.
    """
    # Neurons may share a surrogate function: what it computes is the neuron's.
    paths = {id(module): path for path, module in model.named_modules() if "surrogate" not in type(module).__module__}
    recorder = _Recorder(paths, kinds_of(model), watch)
    given = {name: [x.clone() for x in tensors] for name, tensors in inputs.items()}
    numbers = {name: [recorder.given(x) for x in tensors] for name, tensors in given.items()}
    steps = len(next(iter(given.values())))
    with _one_call_each(model, leaves, paths, recorder) as found, _HostReads(recorder), recorder:
        returned = [model(*(tensors[t] for tensors in given.values())) for t in range(steps)]
        returned = [in_time(value, timesteps) for value in returned]
    if recorder.problems and strict:
        raise UnsupportedModel(recorder.told())
    returned_refs = [_returned(recorder, value) for value in returned]
    random = recorder.random_inputs()
    trace = Trace(
        numbers,
        [replace(call, turns=recorder.turns(call)) for call in recorder.calls],
        returned_refs,
        recorder.constants,
        recorder.shapes,
        {},
        batch,
        random=random,
    )
    trace.modules = found
    trace.remembers = frozenset(path for path, module in model.named_modules() if recorder.left_in(module))
    drawn = {name: [recorder.drawn[n].double() for n in own] for name, own in random.items()}
    trace.drawn_at = {name: recorder.random_lines[own[0]] for name, own in random.items()}
    return Recording(trace, returned, recorder.watched, drawn, recorder.casts)


@contextmanager
def _one_call_each(
    model: nn.Module, leaves: Callable[[nn.Module], bool], paths: Mapping[int, str], recorder: _Recorder
) -> Iterator[dict[str, nn.Module]]:
    """Modules that are one whole are recorded as one call; gives them by path."""
    found: dict[str, nn.Module] = {}
    try:
        for module in model.modules():
            if leaves(module):
                path = paths[id(module)]
                found[path] = module
                module.__dict__["forward"] = recorder.whole(path, module.forward)
        yield found
    finally:
        for module in found.values():
            del module.__dict__["forward"]


def in_time(value: Any, timesteps: int) -> Any:
    """What forward returned, with each list of one tensor a step as a tensor ``[T, ...]``."""
    if isinstance(value, dict):
        return {key: in_time(item, timesteps) for key, item in value.items()}
    if type(value) not in (list, tuple):
        return value
    tensors = all(isinstance(x, torch.Tensor) for x in value)
    if isinstance(value, list) and len(value) == timesteps > 1 and tensors and len({x.shape for x in value}) == 1:
        return torch.stack(value)
    return type(value)(in_time(x, timesteps) for x in value)


def _returned(recorder: _Recorder, value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return recorder.ref(value)
    if isinstance(value, dict):
        return {str(key): _returned(recorder, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_returned(recorder, item) for item in value]
    return None


@dataclass
class _Cell:
    """A piece of memory: the value in it, how often it was written to, and the constants whose numbers lie in it."""

    value: int
    version: int = 0
    held: list[int] = field(default_factory=list)


@dataclass
class _View:
    """How a tensor sees a cell: the views on the way, and its value as of a version."""

    cell: _Cell
    way: tuple[tuple[Any, ...], ...]
    value: int
    version: int


class _Recorder(TorchDispatchMode):
    def __init__(self, paths: Mapping[int, str], kinds: Mapping[str, str], watch: frozenset[int]) -> None:
        super().__init__()
        self.paths = paths
        self.kinds = kinds
        self.watch = watch
        self.calls: list[Call] = []
        self.constants: dict[int, torch.Tensor] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.random: list[tuple[int, str]] = []
        self.random_lines: dict[int, str] = {}
        self.drawn: dict[int, torch.Tensor] = {}
        self.problems: list[Problem] = []
        self.watched: dict[int, torch.Tensor] = {}
        self.casts: list[str] = []
        self._seen: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._widened: dict[int, int] = {}
        self._ways: dict[tuple[tuple[str, int], ...], int] = {}
        self._turns: dict[tuple[str, str], int] = {}
        self._count = 0
        self._paused = 0
        self.function: Any = None  # what forward calls, while torch computes it

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What torch computes meanwhile is not written down."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def random_inputs(self) -> dict[str, list[int]]:
        """What was drawn, as inputs: the values of one place in the order of their steps."""
        sites: dict[str, list[int]] = {}
        for number, site in self.random:
            sites.setdefault(site, []).append(number)
        return {"random" if not k else f"random.{k + 1}": own for k, own in enumerate(sites.values())}

    # -- values --------------------------------------------------------------------------------------------------------

    def _number(self, shape: Sequence[int]) -> int:
        self.shapes[self._count] = tuple(shape)
        self._count += 1
        return self._count - 1

    def given(self, tensor: torch.Tensor) -> int:
        """Take a tensor in as a value that is given from outside."""
        number = self._number(tensor.shape)
        self._take(tensor, number)
        return number

    def _take(self, tensor: torch.Tensor, number: int) -> None:
        """A tensor with memory of its own."""
        held = [number] if number in self.constants else []
        self._seen[tensor] = _View(_Cell(number, held=held), (), number, 0)
        self._keep(number, tensor)

    def _keep(self, number: int, tensor: torch.Tensor) -> None:
        """What a tensor has now, if its value is watched."""
        if number in self.watch:
            with self.pause():
                self.watched[number] = tensor.detach().clone()

    def ref(self, tensor: torch.Tensor) -> Ref:
        """The value that a tensor has now; one that was never seen is a constant."""
        view = self._seen.get(tensor)
        if view is None:
            number = self._number(tensor.shape)
            with self.pause():
                self.constants[number] = tensor.detach()
            self._take(tensor, number)
            return Ref(number)
        if view.version != view.cell.version:
            value = view.cell.value
            for name, *rest in view.way:
                shape = VIEWS[name].run(torch.empty(self.shapes[value], device="meta"), *rest).shape
                value = self._call(name, (Ref(value), *rest), shape)
            view.value, view.version = value, view.cell.version
            self._keep(value, tensor)
        return Ref(view.value)

    def is_static(self, args: Any) -> bool:
        """Whether everything among arguments comes of constants alone."""
        return all(number in self.constants for number in references(args))

    def _call(
        self, operation: str, args: tuple[Any, ...], shape: Sequence[int], result: torch.Tensor | None = None,
        leaf: str = "",
    ) -> int:  # fmt: skip
        """Write a call down. Where it comes of constants alone, so does its ``result`` (None: it is computed)."""
        out = self._number(shape)
        module, line, site = self.where()
        turn = self._turns[site, operation] = self._turns.get((site, operation), -1) + 1
        self.calls.append(Call(operation, args, out, tuple(shape), module, line, site, leaf, turn))
        if not leaf and self.is_static(args):
            if result is None:
                with self.pause():
                    filled = replaced(args, lambda part: self.constants[part.number])
                    result = OPERATIONS[operation].run(*filled)
            self.constants[out] = result.detach()
        return out

    def left_in(self, module: nn.Module) -> bool:
        """Whether what a module holds now depends on the input."""
        held = (x for x in _leaves(vars(module)) if isinstance(x, torch.Tensor))
        return any(view.cell.value not in self.constants for x in held if (view := self._seen.get(x)) is not None)

    # -- where it happens ----------------------------------------------------------------------------------------------

    def where(self) -> tuple[str, str, str]:
        """The path of the innermost module, the user's file:line, and a key for all lines on the way."""
        module: str | None = None
        line = ""
        way: list[tuple[str, int]] = []
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if is_ours(code):
                if code is record.__code__:
                    break
            else:
                if not is_torch(code):
                    way.append((code.co_filename, frame.f_lineno))
                line = line or line_of(code, frame.f_lineno)
                if module is None and code.co_argcount:
                    owner = frame.f_locals.get(code.co_varnames[0])
                    module = self.paths.get(id(owner)) if isinstance(owner, nn.Module) else None
            frame = frame.f_back
        site = f"{module} {self._ways.setdefault(tuple(way), len(self._ways))}"
        return module or "", line, site

    def _instruction(self) -> int:
        """Which call of the user's innermost line this is: two draws on one line are two."""
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None and (is_ours(frame.f_code) or is_torch(frame.f_code)):
            frame = frame.f_back
        return -1 if frame is None else frame.f_lasti

    def turns(self, call: Call) -> int:
        """How often the lines of a call computed its operation."""
        return self._turns.get((call.site, call.operation), 0) + 1

    def refuse(self, what: str, fix: str) -> None:
        """Note something that no recording can hold."""
        module, line, _ = self.where()
        problem = problem_at(what, module, line, fix, self.kinds)
        if problem not in self.problems:
            self.problems.append(problem)

    def told(self) -> list[Problem]:
        """What was noted. Where Python reads a value, it does not matter what value that is."""
        read = {problem.where for problem in self.problems if problem.what == _READ}
        return [problem for problem in self.problems if problem.what == _READ or problem.where not in read]

    # -- what torch computes -------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for each operator."""
        kwargs = dict(kwargs or {})
        if self._paused:
            return func(*args, **kwargs)
        args, kwargs = self._promoted(func, args, kwargs)
        schema = func._schema
        name = schema.name.split("::")[-1]
        given = dict(zip((a.name for a in schema.arguments), args)) | kwargs
        for argument in schema.arguments:
            if argument.name not in given and argument.has_default_value():
                given[argument.name] = argument.default_value
        written = [a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write]
        if written:
            return self._write(func, name, given, written, args, kwargs)
        if not any(isinstance(x, torch.Tensor) for x in _leaves(given)) or name in _RANDOM:
            if name in _RANDOM:
                self._check_chance(name, given)
            out = func(*args, **kwargs)
            if name in _RANDOM:
                self._draw(out, name)
            elif isinstance(out, torch.Tensor):
                for part, operation, made in _parts(name, given, {}, out):
                    self._value(part, operation, made, name)
            return out
        refs = {key: self._refs(value) for key, value in given.items()}
        out = func(*args, **kwargs)
        if name in _READS or not any(isinstance(x, torch.Tensor) for x in _leaves(out)):
            if not self.is_static(refs):
                self._host_read(name)
            return out
        views = any(r.alias_info is not None for r in schema.returns)
        source = next(x for x in _leaves(given) if isinstance(x, torch.Tensor))
        for part, operation, operands in _parts(name, given, refs, out):
            if operation == "same":
                self._same(part, source, views)
            elif views and operation in VIEWS:
                self._view(part, source, operation, operands)
            else:
                self._value(part, operation, operands, name)
        return out

    def _refs(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self.ref(value)
        if isinstance(value, list | tuple):
            return [self._refs(item) for item in value]
        return value

    def _promoted(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Casts and factories in low precision are made in float64, and so is what would meet them.

        Constants in low precision are such until they meet something else: what torch rounds among them is theirs.
        """
        if kwargs.get("dtype") in _LOW_FLOATS:
            self._check_rounds(func, args, kwargs["dtype"])
            kwargs["dtype"] = torch.float64
            self._cast()
        given = [x for x in _leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if not any(x.dtype in _LOW_FLOATS for x in given) or self._are_low_constants(given):
            return args, kwargs

        def promote(value: Any) -> Any:
            if isinstance(value, torch.Tensor) and value.dtype in _LOW_FLOATS:
                return self._wide(value)
            if isinstance(value, list | tuple):
                return type(value)(promote(item) for item in value)
            return value

        kept = 1 if func._schema.is_mutable else 0  # what is written to stays what it is
        args = (*args[:kept], *(promote(x) for x in args[kept:]))
        return args, {key: x if key == "out" else promote(x) for key, x in kwargs.items()}

    def _cast(self) -> None:
        """Note where something has low precision."""
        module, line, _ = self.where()
        place = place_of(module, line)
        if place not in self.casts:
            self.casts.append(place)

    def _are_low_constants(self, tensors: Sequence[torch.Tensor]) -> bool:
        return all(x.dtype != torch.float64 and self.ref(x).number in self.constants for x in tensors)

    def _wide(self, value: torch.Tensor) -> torch.Tensor:
        """A tensor of low precision as one in float64."""
        self._cast()
        number = self.ref(value).number
        with self.pause():
            wide = value.detach().to(torch.float64)
        if number in self.constants:
            known = self._widened.get(number)
            if known is None:
                known = self._widened[number] = self._call("to", (Ref(number), "float"), wide.shape, wide)
            self._take(wide, known)
        else:
            self._seen[wide] = self._seen[value]
        return wide

    def _check_rounds(self, func: Any, args: Any, dtype: torch.dtype) -> None:
        """A cast to 16 bits that changes numbers is something that the module does."""
        if dtype == torch.float32 or func._schema.name != "aten::_to_copy":
            return
        with self.pause():
            rounds = not same_bits(args[0].to(dtype), args[0])
        if rounds:
            what = f"a cast to {str(dtype).removeprefix('torch.')} rounds its numbers, and here all is float64"
            self.refuse(what, "leave the cast out, or cast spikes only: they are the same in any precision")

    def _same(self, out: torch.Tensor, source: torch.Tensor, views: bool) -> None:
        """Another name for the same memory, or a copy of its value."""
        number = self.ref(source).number
        if views:
            view = self._seen[source]
            self._seen[out] = _View(view.cell, view.way, number, view.cell.version)
        elif out is not source:
            if number in self.constants:
                self._value(out, "to", (Ref(number), _kind(out.dtype)), "clone")
            else:
                self._take(out, number)

    def _view(self, out: torch.Tensor, source: torch.Tensor, operation: str, operands: tuple[Any, ...]) -> None:
        view = self._seen[source]
        number = self._call(operation, operands, out.shape, out)
        self._seen[out] = _View(view.cell, (*view.way, (operation, *operands[1:])), number, view.cell.version)
        self._keep(number, out)
        if number in self.constants:
            view.cell.held.append(number)

    def _value(self, out: torch.Tensor, operation: str, operands: tuple[Any, ...], name: str) -> None:
        if operation == "?":
            if self.is_static(operands):
                number = self._number(out.shape)
                self.calls.append(Call("constant", (), number, tuple(out.shape)))
                self.constants[number] = out.detach()
            else:
                number = self._unknown(name, out.shape)
        else:
            number = self._call(operation, operands, out.shape, out)
        self._take(out, number)

    def _unknown(self, name: str, shape: Sequence[int]) -> int:
        if name.endswith("_backward"):
            self.refuse("forward computes a gradient", "leave it out: what is compiled only runs forward")
            return self._number(shape)
        called = f"torch's {name.strip('_')}" if self.function is None else resolve_name(self.function) or name
        fix = _INSTEAD.get(name.removesuffix("_"), FIX_HOST)
        how = " with statistics of the batch" if name == "native_batch_norm" else ""
        self.refuse(f"{called.removesuffix('.__get__')} is not supported{how}", fix)
        return self._number(shape)

    # -- what is written -----------------------------------------------------------------------------------------------

    def _write(self, func: Any, name: str, given: dict[str, Any], written: list[str], args: Any, kwargs: Any) -> Any:
        into = given[written[0]]
        base = name.rstrip("_")
        if isinstance(into, list) or len(written) > 1 or base in ("set", "resize", "resize_as"):
            refs = {key: self._refs(value) for key, value in given.items()}
            if not self.is_static(refs):
                self.refuse(f"torch's {name} is not supported", "write to one tensor, by its own operation")
            out = func(*args, **kwargs)
            for part in _leaves([given[key] for key in written]):
                self._seen.pop(part, None)  # its shape or its memory is another: it is taken in anew
            return out
        refs = {key: self._refs(value) for key, value in given.items()}
        view = self._seen[into]
        if base in _SHAPES_CHANGED:
            (_, operation, operands), *_ = _parts(base, given, refs, into)
            out = func(*args, **kwargs)
            if operation != "same":
                number = self._call(operation, operands, into.shape, into)
                way = (*view.way, (operation, *operands[1:]))
                self._seen[into] = _View(view.cell, way, number, view.cell.version)
            return out
        for number in view.cell.held:
            with self.pause():
                self.constants[number] = self.constants[number].clone()
        view.cell.held.clear()
        shape = tuple(into.shape)
        if name in _RANDOM:
            self._check_chance(name, {key: x for key, x in given.items() if key not in written})
            out = func(*args, **kwargs)
            number = self._draw(into, name)
            self._store(into, number, view)
            return out
        new = self._new(base, given, refs, written[0], shape)
        out = func(*args, **kwargs)
        if new < 0:  # of constants alone, by an operation that the vocabulary has no word for
            new = self._number(into.shape)
            self.calls.append(Call("constant", (), new, tuple(into.shape)))
            with self.pause():
                self.constants[new] = into.detach().clone()
        if tuple(into.shape) != shape:  # an empty tensor for a result was made as large as that
            self.shapes[new] = tuple(into.shape)
            self._take(into, new)
        else:
            self._store(into, new, view)
        self._keep(new, into)
        beside = [x for x in _leaves(out) if isinstance(x, torch.Tensor) and x is not into]
        if beside and not self.is_static(refs):
            for part in beside:  # it writes to one tensor, and gives another
                self._take(part, self._unknown(name, part.shape))
        return out

    def _new(self, base: str, given: dict[str, Any], refs: dict[str, Any], target: str, shape: tuple[int, ...]) -> int:
        """The value that an operation writes, in the shape and kind of what it writes to."""
        kind = _kind(given[target].dtype)
        if base == "zero" or (base == "fill" and not isinstance(given["value"], torch.Tensor)):
            value = 0.0 if base == "zero" else float(given["value"])
            return self._call("full", (list(shape), value, kind), shape)
        if base in ("copy", "fill"):
            source = "src" if base == "copy" else "value"
            new, before = refs[source].number, tuple(given[source].shape)
            from_kind = _kind(given[source].dtype)
        else:
            if target == "out":
                given = {key: x for key, x in given.items() if key != "out"}
                refs = {key: x for key, x in refs.items() if key != "out"}
            first = next(x for x in _leaves(given) if isinstance(x, torch.Tensor))
            (_, operation, operands), *_ = _parts(base, given, refs, first)
            if operation == "same":
                return self.ref(first).number
            if operation == "?":
                return -1 if self.is_static(operands) else self._unknown(f"{base}_", shape)
            with self.pause():
                empties = replaced(operands, lambda part: torch.empty(self.shapes[part.number], device="meta"))
                before = tuple(OPERATIONS[operation].run(*empties).shape)
            new = self._call(operation, operands, before)
            from_kind = kind
        if from_kind != kind:
            new = self._call("to", (Ref(new), kind), before)
        if before != shape and target != "out":
            new = self._call("expand", (Ref(new), list(shape)), shape)
        return new

    def _store(self, into: torch.Tensor, new: int, view: _View) -> None:
        cell = view.cell
        if view.way:
            way = [list(step) for step in view.way]
            cell.value = self._call("write", (Ref(cell.value), Ref(new), way), self.shapes[cell.value])
        else:
            cell.value = new
        cell.version += 1
        view.value, view.version = new, cell.version

    # -- modules that are one whole ------------------------------------------------------------------------------------

    def whole(self, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A forward that is written down as one call."""

        def run(*args: Any, **kwargs: Any) -> Any:
            if self._paused:
                return forward(*args, **kwargs)
            refs = self._refs(list(args)), {key: self._refs(value) for key, value in kwargs.items()}
            with self.pause():
                out = forward(*args, **kwargs)
                if isinstance(out, torch.Tensor) and out.dtype in _LOW_FLOATS:
                    out = out.double()
                    self._cast()
            if not isinstance(out, torch.Tensor):
                self.refuse(f"{path} gives a {type(out).__name__}", "let it give one tensor")
                return out
            number = self._call("leaf", refs, out.shape, leaf=path)
            self._take(out, number)
            return out

        return run

    # -- what cannot be in a trace -------------------------------------------------------------------------------------

    def _draw(self, out: torch.Tensor, name: str) -> int:
        if "dropout" in getattr(self.function, "__name__", ""):
            what = "dropout is on, as it is unless it is told otherwise"
            self.refuse(what, "give it training=self.training, or use nn.Dropout, and call model.eval()")
        number = self._number(out.shape)
        module, line, site = self.where()
        self.random.append((number, f"{site} {self._instruction()}"))
        self.random_lines[number] = place_of(module, line)
        with self.pause():
            self.drawn[number] = out.detach().clone()
        self._take(out, number)
        return number

    def _check_chance(self, name: str, given: Mapping[str, Any]) -> None:
        """What is drawn becomes an input of its own: how it is drawn must not depend on another."""
        if name.endswith("_like") or self.is_static(self._refs(list(given.values()))):
            return
        if name != "native_dropout":
            self.refuse(f"how {name.rstrip('_')} draws depends on the input", FIX_CHANCE)

    def _host_read(self, name: str) -> None:
        if name in ("nonzero", "masked_select", "_unique2", "unique_dim", "argwhere"):
            what = f"how large the result of {name} is depends on the values of the input"
        else:
            what = _READ
        self.refuse(what, "keep it in a tensor: torch.where(condition, a, b) chooses without .item(), if and while")

    def outside(self, what: str, tensor: torch.Tensor) -> None:
        """Something leaves torch: refused, unless it comes of weights alone."""
        if not self._paused and not self.is_static(self.ref(tensor)):
            self.refuse(f"{what} takes values that depend on the input out of torch", "compute it with torch instead")


class _HostReads(TorchFunctionMode):
    """Sees what never reaches torch's operators."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for each function of a tensor."""
        name = getattr(func, "__name__", "")
        if name in ("numpy", "tolist", "__array__", "__dlpack__", "data_ptr") and isinstance(args[0], torch.Tensor):
            self.recorder.outside(f".{name}()", args[0])
        before, self.recorder.function = self.recorder.function, func
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.recorder.function = before


_RANDOM = frozenset({
    "rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm", "bernoulli", "bernoulli_",
    "normal",
    "normal_", "uniform_", "random_", "poisson", "exponential_", "multinomial", "cauchy_", "geometric_", "log_normal_",
    "native_dropout",
})  # fmt: skip
_READ = "Python reads the value of a tensor that depends on the input"
# What to write instead of operations that are not supported, by torch's names for them.
_INSTEAD = {
    "native_batch_norm": "use nn.BatchNorm and model.eval(), trained with track_running_stats=True",
    **dict.fromkeys(
        ("upsample_bilinear2d", "upsample_bicubic2d", "upsample_linear1d", "upsample_trilinear3d"),
        'use mode="nearest", which a chip can do; or: ' + FIX_HOST,
    ),
    **dict.fromkeys(("any", "all"), "count instead: x.sum(dim) > 0"),
}
_READS = frozenset({"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "unique_dim",
                    "argwhere"})  # fmt: skip
_SHAPES_CHANGED = frozenset({"squeeze", "unsqueeze", "t", "transpose", "swapaxes", "swapdims", "detach"})


def _parts(name: str, given: dict[str, Any], refs: dict[str, Any], out: Any) -> Iterator[tuple[Any, str, Any]]:
    """Each tensor that an operator gave, with its operation in our words and all of its arguments.

    "same" is the value of the first argument; "?" is what the vocabulary has no word for.
    """
    kind = _kind(out.dtype) if isinstance(out, torch.Tensor) else ""
    size = list(out.shape) if isinstance(out, torch.Tensor) else []
    first = next(iter(refs.values()), None)
    base = name.removeprefix("new_").removesuffix("_like")
    if name in ("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk"):
        start, dim = 0, given["dim"]
        for part in out:
            yield part, "slice", (first, dim, start, start + part.shape[dim], 1)
            start += part.shape[dim]
    elif name == "unbind":
        for number, part in enumerate(out):
            yield part, "select", (first, given["dim"], number)
    elif name == "t":
        yield out, "permute", (first, list(range(given["self"].ndim))[::-1])
    elif name in ("transpose", "swapaxes", "swapdims"):
        x, one, other = list(given.values())[:3]
        order = list(range(x.ndim))
        order[one], order[other] = order[other], order[one]
        yield out, "permute", (first, order)
    elif name == "rsub":
        yield out, "sub", (refs["other"], first, *([refs["alpha"]] if refs["alpha"] != 1 else []))
    elif base in ("zeros", "empty", "empty_strided", "empty_permuted", "ones"):
        yield out, "full", (size, float(base == "ones"), kind)
    elif base in ("full", "scalar_tensor"):
        yield out, "full", (size, float(given["fill_value" if base == "full" else "s"]), kind)
    elif name == "arange":
        yield out, "arange", (float(given.get("start", 0)), float(given["end"]), float(given.get("step", 1)), kind)
    elif name == "_to_copy":
        if kind == _kind(given["self"].dtype):
            yield out, "same", ()
        else:
            yield out, "to", (first, kind)
    elif name in ("cat", "stack"):
        yield out, name, (first, given["dim"])
    elif (
        name == "clone" and given.get("memory_format") is torch.contiguous_format and not given["self"].is_contiguous()
    ):
        yield out, "contiguous", (first,)  # torch rounds otherwise where numbers lie otherwise
    elif name in SYNONYMS:
        try:
            step = SYNONYMS[name](refs)
        except KeyError:
            step = ("?",)
        part = out[0] if isinstance(out, list | tuple) else out
        if step is None:
            yield part, "same", ()
        elif step[0] == "?":
            yield part, "?", tuple(refs.values())
        else:
            yield part, step[0], (first, *step[1:])
    else:
        for part in _leaves(out):
            if isinstance(part, torch.Tensor):
                yield part, "?", tuple(refs.values())


def _kind(dtype: torch.dtype) -> str:
    return "bool" if dtype == torch.bool else "float" if dtype.is_floating_point else "int"


def _leaves(value: Any) -> Iterator[Any]:
    """Everything in nested lists, tuples and dictionaries."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    else:
        yield value
