"""What a host computes, called in a trace: classes that users mark, and what torch has that no chip computes."""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from neurocompile.frontends.pytorch.axes import Axes
from neurocompile.frontends.pytorch.exporting import TensorsForNumbers, filled, moved, with_places
from neurocompile.frontends.pytorch.onhost import Carries, OnHost, arranged, batch_first, carries_of, time_of
from neurocompile.frontends.pytorch.operations.lowering import Lowering
from neurocompile.frontends.pytorch.terms import digest
from neurocompile.frontends.pytorch.trace import Call, references
from neurocompile.frontends.pytorch.values import FIX_HOST, Refused, Value, is_time
from neurocompile.frontends.pytorch.vocabulary import OPERATIONS

__all__ = ["HostCall", "TorchCall", "function_on_host", "module_on_host"]


@dataclass(frozen=True)
class HostCall:
    """What a host computes, for one step: which axes its tensors have, and the values of an example of them.

    ``function`` takes tensors with the axes that forward has, time as an axis of size one where it was there
    (``whole``: with all of time). ``carries`` tells whether it gives spikes.
    """

    key: Any
    kind: str
    function: Any
    axes: tuple[Axes, ...]
    result_axes: Axes
    examples: tuple[Any, ...]
    whole: bool = False
    carries: str = "real"

    @property
    def stepwise(self) -> bool:
        """Whether each step is computed from the same step alone."""
        return not self.whole


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
    made = TorchCall(function, holder, [v.axes for v in values], examples, low.timesteps)
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


class TorchCall(nn.Module):
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

    def stepped(self) -> TorchCall:
        """The same for one step."""
        made = copy.copy(self)
        made.one_step, made.steps = True, 1
        return made

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """What the host computes of tensors with the batch first."""
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

    def in_float32(self) -> TorchCall:
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


def _result_axes(call: TorchCall, steps: int, given: int | None, base: Sequence[int]) -> Axes:
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


def _where_time_was(call: TorchCall, base: Sequence[int], steps: int) -> list[int]:
    """The axis of time in the result of a call that was made for so many steps: where it was, if it still fits."""
    timed = next((axes for axes in call.axes if "T" in axes or "TN" in axes), None)
    if timed is None or len(timed) != len(base):
        return []
    folded = "TN" in timed
    at = timed.index("TN" if folded else "T")
    return [at] if folded or base[at] == steps else []


def _is_stepwise(call: TorchCall) -> bool:
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
