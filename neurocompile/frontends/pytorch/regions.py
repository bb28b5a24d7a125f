"""What becomes a host region: classes that users mark, and what torch has that no chip computes.

A region is exported as ONNX from float64 (from float32, where ONNX Runtime lacks an operation in float64), with the
batch first and time second. Where each step is computed from the same step alone it is a region of one step.
"""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from neurocompile.frontends.pytorch.axes import Axes
from neurocompile.frontends.pytorch.exporting import Held, TensorsForNumbers, exported, filled, macs, moved, with_places
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
    holder = with_places(arguments, iter(range(len(values))), Value)
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
        args, kwargs = filled(self.arguments, tensors)
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
        with TensorsForNumbers(self._grids):
            result = self.natural(*given)
        axes = self.result_axes
        if self.one_step:
            axes = tuple("1" if name == "T" else "N" if name in ("TN", "NT") else name for name in axes)
        return batch_first(result, axes, self.steps).to(self.kind)

    def in_float32(self) -> _Call:
        """A copy that computes in float32."""
        copied = copy.copy(self)
        copied.kind = torch.float32
        copied.arguments = moved(copied.arguments)
        if isinstance(copied.function, nn.Module):
            copied.function = copy.deepcopy(copied.function).float()
        return copied


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
        work = macs(call, examples) * (low.timesteps if per_step else 1)
        region = replace(exported(place_of(term.place.module, term.place.line), region, call, examples), macs=work)
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
    held = [Held(k) for k in range(len(term.args))]
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
    call = _Call(_Summed(term.data.summands), (tuple(Held(k) for k in range(len(term.args))), {}), axes, examples, 1)
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
