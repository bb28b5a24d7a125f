"""What becomes a host region: classes that users mark, and what torch has that no chip computes.

A region is exported as ONNX from float64 (from float32, where ONNX Runtime lacks an operation in float64), with the
batch first and time second. Where each step is computed from the same step alone it is a region of one step.
"""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from neurocompile.backends.onnx import HostSession
from neurocompile.errors import NeurocompileError, Problem, ToolFailed, UnsupportedModel
from neurocompile.frontends.pytorch.axes import Axes
from neurocompile.frontends.pytorch.onhost import Carries, OnHost, arranged, batch_first, carries_of, time_of
from neurocompile.frontends.pytorch.operations import HostCall, Lowering
from neurocompile.frontends.pytorch.places import place_of
from neurocompile.frontends.pytorch.summing import Recurrence
from neurocompile.frontends.pytorch.terms import NotAlike, Term, digest
from neurocompile.frontends.pytorch.trace import Call, references
from neurocompile.frontends.pytorch.values import FIX_HOST, Refused, Value, is_time
from neurocompile.frontends.pytorch.vocabulary import OPERATIONS
from neurocompile.ir.host import HostRead, HostRegion
from neurocompile.ir.ops import Array, Input, Integrator, Neuron, Output

__all__ = ["emit_region", "function_on_host", "module_on_host"]


# -- from a trace to terms ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Held:
    """Where a tensor stands among the arguments of a call."""

    number: int


def function_on_host(low: Lowering, call: Call, args: tuple[Any, ...]) -> Value:
    """A function that no chip computes, on values of the network."""
    if any(isinstance(x, Value) for x in _flat(args)):
        run = OPERATIONS[call.operation].run
        module = low.module_classes.get(call.module, "")
        kind = module.rsplit(".", 1)[-1] if module.startswith("torch.nn.") else call.operation
        return _called(low, call, (args, {}), run, kind, "real", None, call.operation)
    raise Refused(f"{call.operation} is not supported", FIX_HOST)


def module_on_host(module: nn.Module) -> Callable[..., Value]:
    """What lowers the calls of a module that users marked."""
    kind = module.region.kind if isinstance(module, OnHost) else type(module).__name__

    def handler(low: Lowering, call: Call, positional: Any, named: Any) -> Value:
        return _called(
            low, call, (tuple(positional), named), module, kind, carries_of(module), time_of(module), call.leaf
        )

    return handler


def _called(
    low: Lowering, call: Call, arguments: Any, function: Any, kind: str, carries: Carries, time: int | None, key: str
) -> Value:
    values = [x for x in _flat(arguments) if isinstance(x, Value)]
    if not values:
        raise Refused(f"{kind} reads nothing of the network", "leave it out of the model")
    numbers = [n for n in references(call.args) if n not in low.trace.constants and isinstance(low.value(n), Value)]
    examples = [low.example(n) for n in numbers]
    holder = _with_places(arguments, iter(range(len(values))))
    made = _Call(function, holder, [v.axes for v in values], examples, low.timesteps)
    made.result_axes = _result_axes(made, low.timesteps, time, call.shape)
    timed = any(is_time(name) for v in values for name in v.axes)
    stepwise = timed and _is_stepwise(made)
    constants = tuple(digest(x.detach().numpy()) if isinstance(x, torch.Tensor) else x for x in _flat(arguments)
                      if not isinstance(x, Value))  # fmt: skip
    full_key = (key, tuple(v.axes for v in values), tuple(v.shape for v in values), repr(constants))
    host = HostCall(
        full_key, kind, made, tuple(v.axes for v in values), made.result_axes, tuple(examples), carries=carries
    )
    shape = tuple(n for name, n in zip(made.result_axes, call.shape) if name == "F")
    binary = carries == "spikes"
    if not timed:
        term = low.terms.host(shape, [v.steps[0] for v in values], host, full_key, binary)
        low.host_calls[call.out] = term.data.key
        return Value(made.result_axes, call.shape, term)
    low.host_calls[call.out] = full_key
    if stepwise:
        steps = []
        for t in range(low.timesteps):
            args = [v.steps[t] if v.timed else v.steps[0] for v in values]
            steps.append(low.terms.host(shape, args, host, full_key, binary))
        return Value(made.result_axes, call.shape, tuple(steps))
    whole = [low.roller.unify(v.steps) if v.timed else v.steps[0] for v in values]
    host = replace(host, whole=True)
    has_time = any(is_time(name) for name in made.result_axes)
    term = low.terms.uniform("host", shape, tuple(whole), host, ("whole", full_key), binary=binary)
    if not has_time:
        term.static = True
        return Value(made.result_axes, call.shape, term)
    return Value(made.result_axes, call.shape, tuple(low.terms.at(term, t) for t in range(low.timesteps)))


def _flat(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in _flat(item)]
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _flat(item)]
    return [value]


def _with_places(args: Any, numbers: Any) -> Any:
    """Arguments with a place for each value of the network."""
    if isinstance(args, Value):
        return _Held(next(numbers))
    if isinstance(args, tuple | list):
        return type(args)(_with_places(item, numbers) for item in args)
    if isinstance(args, dict):
        return {key: _with_places(item, numbers) for key, item in args.items()}
    return args


class _Call(nn.Module):
    """A call as a module of tensors with the batch first and time second.

    ``whole[k]`` says that the call takes whole numbers there (indices). ``one_step``: time is an axis of size one,
    which the tensors that are given do not have.
    """

    def __init__(
        self, function: Any, arguments: Any, axes: Sequence[Axes], examples: Sequence[torch.Tensor], steps: int
    ) -> None:
        super().__init__()
        self.function = function
        self.arguments = arguments
        self.axes = list(axes)
        self.examples = list(examples)
        self.whole = [not x.is_floating_point() for x in examples]
        self.steps = steps
        self.one_step = False
        self.result_axes: Axes = ()
        self.kind = torch.float64
        self._grids: dict[str, torch.Tensor] = {}

    def natural(self, *tensors: torch.Tensor) -> Any:
        """The call itself, on tensors as forward has them."""
        args, kwargs = _filled(self.arguments, tensors)
        return self.function(*args, **kwargs)

    def stepped(self) -> _Call:
        """The same for one step."""
        made = copy.copy(self)
        made.one_step, made.steps = True, 1
        return made

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        given = []
        for x, axes, whole in zip(tensors, self.axes, self.whole):
            if self.one_step:
                axes = tuple("1" if name == "T" else "N" if name in ("TN", "NT") else name for name in axes)
            given.append(arranged(x.long() if whole else x.to(self.kind), axes))
        with _TensorsForNumbers(self._grids):
            result = self.natural(*given)
        axes = self.result_axes
        if self.one_step:
            axes = tuple("1" if name == "T" else "N" if name in ("TN", "NT") else name for name in axes)
        return batch_first(result, axes, self.steps).to(self.kind)

    def in_float32(self) -> _Call:
        """A copy that computes in float32."""
        copied = copy.copy(self)
        copied.kind = torch.float32
        copied.arguments = _moved(copied.arguments)
        if isinstance(copied.function, nn.Module):
            copied.function = copy.deepcopy(copied.function).float()
        return copied


class _TensorsForNumbers(TorchFunctionMode):
    """Numbers in arithmetic are tensors of the precision of what they meet: torch.onnx would write them as float32.

    ``grids`` has the tensors that were made of numbers alone, by what made them: torch.onnx is given their values.
    """

    def __init__(self, grids: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._grids = grids

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for every function of a tensor, and for those that make one."""
        kwargs = kwargs or {}
        given = (*args, *kwargs.values())
        if not any(isinstance(x, float) and float(np.float32(x)) != x for x in given):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "").strip("_")
        if name in _GRIDS:
            key = f"{name} {args} {kwargs}"
            if not torch.compiler.is_exporting():
                self._grids[key] = func(*args, **kwargs)
            known = self._grids.get(key)
            return func(*args, **kwargs) if known is None else torch.tensor(known.tolist(), dtype=known.dtype)
        if name in _FULL:
            values = [1.0 if isinstance(x, float) else x for x in args]
            ones = func(*values, **{key: 1.0 if key == "fill_value" else x for key, x in kwargs.items()})
            (number,) = (x for x in given if isinstance(x, float))
            return ones * torch.tensor(number, dtype=ones.dtype)
        kind = next((x.dtype for x in given if isinstance(x, torch.Tensor) and x.is_floating_point()), None)
        if name not in _TAKES_TENSORS or kind is None:
            return func(*args, **kwargs)

        def tensor(x: Any) -> Any:
            return torch.tensor(x, dtype=kind) if type(x) in (int, float) else x

        return func(*map(tensor, args), **{key: x if key == "alpha" else tensor(x) for key, x in kwargs.items()})


_TAKES_TENSORS = frozenset({
    "add", "radd", "sub", "rsub", "mul", "rmul", "div", "rdiv", "truediv", "rtruediv", "true_divide", "pow", "rpow",
    "remainder", "fmod", "mod", "clamp", "clip", "clamp_min", "clamp_max", "where", "masked_fill", "gt", "ge", "lt",
    "le", "eq", "ne",
})  # fmt: skip
_FULL = ("full", "full_like", "new_full")
_GRIDS = ("linspace", "arange")


def _macs(call: _Call, examples: Sequence[torch.Tensor]) -> int:
    """Multiplications with additions of a sample, those of matrices and convolutions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(*examples)
    return int(counter.get_total_flops() // 2 // len(examples[0]))


def _filled(args: Any, tensors: Sequence[torch.Tensor]) -> Any:
    if isinstance(args, _Held):
        return tensors[args.number]
    if isinstance(args, tuple | list):
        return type(args)(_filled(item, tensors) for item in args)
    if isinstance(args, dict):
        return {key: _filled(item, tensors) for key, item in args.items()}
    return args


def _moved(args: Any) -> Any:
    """Arguments with tensors in float32."""
    if isinstance(args, torch.Tensor):
        return args.float() if args.is_floating_point() else args
    if isinstance(args, tuple | list):
        return type(args)(map(_moved, args))
    if isinstance(args, dict):
        return {key: _moved(item) for key, item in args.items()}
    return args


# -- axes --------------------------------------------------------------------------------------------------------------


def _longer(x: torch.Tensor, axes: Axes, name: str, steps: int) -> torch.Tensor:
    """The example with one sample or one step more."""
    folded = axes.index("TN") if "TN" in axes else None
    if folded is not None:
        x = x.unflatten(folded, (steps, -1))
        at = folded + (name == "N")
    elif name in axes:
        at = axes.index(name)
    else:
        return x
    x = torch.cat((x, x.narrow(at, 0, 1)), at)
    return x if folded is None else x.flatten(folded, folded + 1)


def _result_axes(call: _Call, steps: int, given: int | None, base: Sequence[int]) -> Axes:
    """The names of the axes of a result, found by giving one sample more, and one step more."""
    changed: dict[str, list[int]] = {}
    for name in ("N", "T"):
        if not any(name in axes or "TN" in axes for axes in call.axes):
            continue
        try:
            with torch.no_grad():
                longer = (_longer(x, axes, name, steps) for x, axes in zip(call.examples, call.axes))
                shape = tuple(call.natural(*longer).shape)
        except Exception:
            continue  # it was made for so many steps
        if len(shape) == len(base):
            changed[name] = [i for i, (a, b) in enumerate(zip(base, shape)) if a != b]
    if len(changed.get("N", [])) != 1:
        what = f"no axis of its result {list(base)} is the batch"
        raise Refused(what, "a host region treats every sample alike, and gives one result for each")
    axes = ["F"] * len(base)
    axes[changed["N"][0]] = "N"
    time = changed.get("T", _where_time_was(call, base, steps)) if given is None else [given % len(base)]
    if not any("T" in name for own in call.axes for name in own):
        time = []
    elif not time and changed["N"] == [1] and base[0] == steps:
        time = [0]  # what stands before the batch can be nothing else
    if len(time) > 1:
        raise Refused(f"its result {list(base)} has time in several axes", "keep time in one axis")
    for at in time:
        axes[at] = "T" if axes[at] == "F" else "TN"
    return tuple(axes)


def _where_time_was(call: _Call, base: Sequence[int], steps: int) -> list[int]:
    """The axis of time in the result of a call that was made for so many steps: where it was, if it still fits."""
    timed = next((axes for axes in call.axes if "T" in axes or "TN" in axes), None)
    if timed is None or len(timed) != len(base):
        return []
    folded = "TN" in timed
    at = timed.index("TN" if folded else "T")
    return [at] if folded or base[at] == steps else []


def _is_stepwise(call: _Call) -> bool:
    """Whether what a call gives for a step is what it gives for that step alone."""
    if not any("T" in name for name in call.result_axes):
        return False
    if isinstance(call.function, OnHost):
        return call.function.region.per_step
    try:
        with torch.no_grad():
            step = call.stepped()
            whole = batch_first(call.natural(*call.examples).double(), call.result_axes, call.steps)
            firsts = [batch_first(x, axes, call.steps) for x, axes in zip(call.examples, call.axes)]
            for t in (0, call.steps - 1):
                own = [x[:, t] if any("T" in n for n in axes) else x for x, axes in zip(firsts, call.axes)]
                if not torch.allclose(step(*own), whole[:, t], rtol=1e-12, atol=1e-12, equal_nan=True):
                    return False
    except Exception:
        return False
    return call.steps > 1


# -- from terms to regions ---------------------------------------------------------------------------------------------


def emit_region(emission: Any, term: Term) -> str:
    """The region of a uniform term that a host computes."""
    low = emission.low
    call: _Call
    if term.kind == "func":
        call = _of_function(term)
        kind, carries, module = term.data[0], "real", low.module_classes.get(term.place.module, "")
        if module.startswith("torch.nn."):
            kind = module.rsplit(".", 1)[-1]
        whole = False
    elif isinstance(term.data, Recurrence):
        call, kind, carries, whole = _of_recurrence(term), term.data.kind, "real", False
        module = low.module_classes.get(term.place.module, "")
        if module and term.place.module not in low.layer_modules:
            kind = module.rsplit(".", 1)[-1]
    else:
        host: HostCall = term.data
        call, kind, carries, whole = host.function, host.kind, host.carries, host.whole
    stem = (
        emission._stem(term, kind)
        if term.kind == "func" or not isinstance(call.function, nn.Module)
        else term.place.module
    )
    name = emission._fresh("output.layer" if stem == "output" else stem or kind)
    emission._names[term.uid] = name
    # What is fed back reads it before it is whole.
    shape = tuple(int(n) for n in term.shape)
    emission.hosts[name] = HostRegion(name, kind, (), shape, True, carries, b"", per_step=True)  # type: ignore[arg-type]
    reads = tuple(_read(emission, arg, name) for arg in term.args)
    timed = any(read.timed for read in reads) and (not whole or any(is_time(n) for n in call.result_axes))
    per_step = timed and not whole
    if per_step and not all(read.timed for read in reads):
        raise NotAlike(f"{kind} reads what all steps give together, in every step", term, FIX_HOST)
    if per_step:
        firsts = [batch_first(x, a, call.steps) for x, a in zip(call.examples, call.axes)]
        examples = [x[:, 0] if any("T" in n for n in a) else x for x, a in zip(firsts, call.axes)]
        call = call.stepped()
    else:
        examples = [batch_first(x, a, call.steps) for x, a in zip(call.examples, call.axes)]
    region = HostRegion(
        name=name,
        kind=kind,
        reads=reads,
        shape=shape,
        timed=timed,
        carries=carries,  # type: ignore[arg-type]
        model=b"",
        per_step=per_step,
    )
    if isinstance(call.function, OnHost):  # it was exported when the model was saved
        known = call.function.region
        region = replace(region, model=known.model, precision=known.precision, macs=known.macs)
    else:
        macs = _macs(call, examples) * (low.timesteps if per_step else 1)
        region = replace(_exported(term, region, call, examples), macs=macs)
    emission.hosts[name] = region
    if term.kind == "host" and not isinstance(term.data, Recurrence):
        emission.regions[term.data.key] = name
        emission.region_axes[name] = (term.data.axes, term.data.result_axes)
    return name


def _of_function(term: Term) -> _Call:
    """An element-wise function as a call."""
    name, numbers = term.data
    numbers_drawn = torch.Generator().manual_seed(0)
    examples = [torch.rand((3, *a.shape), generator=numbers_drawn, dtype=torch.float64) for a in term.args]
    held = [_Held(k) for k in range(len(term.args))]
    arguments: tuple[Any, ...] = (*held, *numbers)
    if name == "clamp":
        bounds = iter(held[1:])
        arguments = (held[0], *(next(bounds) if has else None for has in numbers))
    run = OPERATIONS[name].run
    axes = [("N", *("F",) * len(a.shape)) for a in term.args]
    call = _Call(run, (arguments, {}), axes, examples, 1)
    call.result_axes = axes[0]
    return call


class _Summed:
    """A sum of products of tensors."""

    def __init__(self, summands: tuple[tuple[tuple[int, ...], Array], ...]) -> None:
        self.summands = [(places, torch.from_numpy(np.array(value, np.float64))) for places, value in summands]

    def __call__(self, *tensors: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(tensors[0])
        for places, value in self.summands:
            product = value.to(tensors[0].dtype).expand(tensors[0].shape[1:])
            for place in places:
                product = product * tensors[place]
            total = total + product
        return total


def _of_recurrence(term: Term) -> _Call:
    """A recurrence as a call for one step."""
    drawn = torch.Generator().manual_seed(0)
    examples = [torch.rand((3, *a.shape), generator=drawn, dtype=torch.float64) for a in term.args]
    axes = [("N", *("F",) * len(a.shape)) for a in term.args]
    call = _Call(_Summed(term.data.summands), (tuple(_Held(k) for k in range(len(term.args))), {}), axes, examples, 1)
    call.result_axes = axes[0]
    return call


def _read(emission: Any, term: Term, reader: str) -> HostRead:
    """What a region reads, as an Output of the chip where it comes from there."""
    low = emission.low
    if term.uniform and len(emission._times(term)) <= 1:
        node = emission.emit(term)
        timed = not term.static
        if node in emission.hosts:
            region = emission.hosts[node]
            if region.shape == term.shape and region.timed == timed:
                return HostRead(node, "host", region.shape, timed)
            emission.feed(node)
        if isinstance(emission.nodes[node].op, Input) and node not in emission.hosts:
            return HostRead(node, "input", term.shape, timed)
        source = _membrane(emission, node, reader)
        how: Any = "sequence" if timed else "last"
        return HostRead(emission._add(f"{reader}.reads", Output(how), source), "chip", term.shape, timed)
    if term.kind in ("func", "host"):
        node = emission.emit(term)
        return HostRead(node, "host", term.shape, emission.hosts[node].timed)
    readings, constant, shape = emission.reading(term)
    op, current, read = emission._as_read(readings, constant, shape)
    source = emission.emit(current)
    source = emission._add(f"{reader}.membrane", op, source) if op is not None else _membrane(emission, source, reader)
    weights = None
    if isinstance(read, tuple):
        read, weights = read
    assert low is not None
    return HostRead(emission._add(f"{reader}.reads", Output(read, weights=weights), source), "chip", shape, False)


def _membrane(emission: Any, node: str, reader: str) -> str:
    op = emission.nodes[node].op
    if isinstance(op, Integrator) or (isinstance(op, Neuron) and np.all(op.amplitude == 1)):
        return node
    return emission._add(f"{reader}.membrane", Integrator(), node)


# -- ONNX --------------------------------------------------------------------------------------------------------------


def _exported(term: Term, region: HostRegion, call: _Call, examples: Sequence[torch.Tensor]) -> HostRegion:
    """A region with its ONNX, in float64 if ONNX Runtime has all of it."""
    where = place_of(term.place.module, term.place.line)
    trials = _trials(call, examples)
    if not all(_same_again(call, trial) for trial in trials):
        fix = "a host region keeps no state, changes nothing that it reads, and draws no random numbers: make these an "
        what = f"{region.kind} gives other numbers when it is called again"
        raise UnsupportedModel(Problem(what, where, fix=fix + "input of the network"))
    if not all(_samples_apart(call, trial) for trial in trials):
        what = f"what {region.kind} gives for a sample depends on the others"
        fix = "a host region treats every sample alike: check which axis it works along"
        raise UnsupportedModel(Problem(what, where, fix=fix))
    problem = ""
    for precision in ("float64", "float32"):
        made = replace(region, precision=precision)
        try:
            moved = call if precision == "float64" else call.in_float32()
            made = replace(made, model=_onnx(moved, [x.to(moved.kind) for x in examples]))
            for trial in trials:
                _check(made, moved, trial)
            return made
        except ToolFailed:
            raise
        except NeurocompileError as error:
            problem = problem or error.problems[0].what
        except Exception as error:
            reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            problem = problem or f"torch.onnx cannot export it: {reason[0]}"
    what, fix = f"{region.kind} would be a host region, and {problem}", "write it otherwise"
    raise UnsupportedModel(Problem(what, where, fix=fix))


@torch.no_grad()
def _trials(call: _Call, examples: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """What a call is held to: twice as many samples as in the examples, and, if it takes them, random numbers."""
    numbers = torch.Generator().manual_seed(0)
    found = [[torch.cat((x, x)) for x in examples]]
    for low, high in ((-1.0, 1.0), (0.0, 1.0)):
        drawn = [low + (high - low) * torch.rand(x.shape, generator=numbers, dtype=torch.float64) for x in found[0]]
        whole = [torch.rand(x.shape, generator=numbers, dtype=torch.float64) < 0.5 for x in found[0]]
        trial = [b.double() if is_whole else a for a, b, is_whole in zip(drawn, whole, call.whole)]
        try:
            if torch.isfinite(call(*trial)).all():
                return [*found, trial]
        except Exception:
            continue  # it takes indices, say
    return found


@torch.no_grad()
def _same_again(call: _Call, trial: Sequence[torch.Tensor]) -> bool:
    return bool(_near(call(*trial).numpy(), call(*trial).numpy(), 0.0).all())


@torch.no_grad()
def _samples_apart(call: _Call, trial: Sequence[torch.Tensor]) -> bool:
    """Whether a call gives the first samples what it gives them among others."""
    few = len(trial[0]) // 2
    return bool(_near(call(*(x[:few] for x in trial)).numpy(), call(*trial)[:few].numpy(), 1e-9).all())


def _onnx(call: _Call, examples: Sequence[torch.Tensor]) -> bytes:
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        nowhere = io.StringIO()  # onnxscript 0.6 prints what it did
        silent = contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere)
        with warnings.catch_warnings(), silent[0], silent[1], torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                call.eval(),
                tuple(examples),
                dynamo=True,
                verbose=False,
                dynamic_shapes=(tuple({0: torch.export.Dim.DYNAMIC} for _ in examples),),
                input_names=[f"x{k}" for k in range(len(examples))],
                output_names=["y"],
            )
    finally:
        logging.disable(before)
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # where the source lay on the machine that exported it
        node.doc_string = None
    return program.model_proto.SerializeToString(deterministic=True)


def _check(region: HostRegion, call: _Call, inputs: Sequence[torch.Tensor]) -> None:
    """Hold the ONNX against torch, on these samples and on one alone."""
    with torch.no_grad():
        expected = call(*(x.to(call.kind) for x in inputs)).double().numpy()
    once = replace(region, per_step=False, timed=region.timed and not region.per_step)
    session = HostSession(once, call.steps)
    exact = region.precision == "float64"
    for part in (slice(None), slice(0, 1)):
        found = session([x[part].double().numpy() for x in inputs])
        near = _near(found, expected[part], 1e-9 if exact else 1e-4)
        # Where it decides on a number, another rounding decides otherwise now and then.
        if near.mean() < (1.0 if exact or region.carries == "real" else 0.999):
            raise RuntimeError("its ONNX computes something else")


def _near(a: Array, b: Array, tolerance: float) -> Array:
    size = np.abs(b[np.isfinite(b)]).max(initial=1.0)
    return np.isclose(a, b, 0, tolerance * size, equal_nan=True)
