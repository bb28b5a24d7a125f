"""Wrong on purpose: each place where a recording or its lowering could lose something loses it, and is found out.

A case is a network that comes in as it is, and a loss that is planted in the compiler. The proof against the live
module, or the check that is there for it, has to find each: nothing is written then.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import neurocompile
from neurocompile.errors import NotTheSame, UnsupportedModel
from neurocompile.frontends.pytorch import files, live, proof
from neurocompile.frontends.pytorch import model as models
from neurocompile.frontends.pytorch import record as recording
from neurocompile.frontends.pytorch.operations import HANDLERS
from neurocompile.frontends.pytorch.trace import Ref, Trace, references, replaced
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Conv, Delay, Neuron, Op, Output
from tests.cli.helpers import run
from tests.idioms.cases import Net, T, removed, static, step, times, vote

Body = Callable[[Net, torch.Tensor], Any]
Plant = Callable[[pytest.MonkeyPatch], None]
LEAST, MOST = 0.02, 0.8
LINE = r"\w\.py:\d+"
SPIKE = r"got -?\d at step \d, neuron \["
OUTPUT = r"off by \d"


@dataclass(frozen=True, eq=False)
class Network:
    """A forward and what it needs; ``saves`` are the arguments of :func:`neurocompile.save`."""

    body: Body
    init: Callable[[Net], Any] | None = None
    around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    shape: tuple[int, ...] = (4, 2, 8, 8)
    saves: dict[str, Any] = field(default_factory=lambda: {"layout": "N", "timesteps": T})
    called: str = ""

    @property
    def name(self) -> str:
        return self.called or self.body.__name__

    def build(self) -> tuple[Net, torch.Tensor]:
        """The module, and an example for it."""
        torch.manual_seed(0)
        return Net(self.body, self.init).eval(), torch.rand(*self.shape, generator=torch.Generator().manual_seed(1))

    def save(self, path: Path) -> None:
        """Write a model file, or fail."""
        net, x = self.build()
        with self.around():
            neurocompile.save(net, path, x, **self.saves)

    def model(self) -> models.TorchModel:
        """What is in such a file."""
        net, x = self.build()
        example = {"x": x.transpose(0, 1).numpy() if self.saves["layout"] == "TN" else x.numpy()}
        with self.around():
            return models.TorchModel.from_module(net, self.shape[-3:], T, self.saves["layout"], example=example)


@dataclass(frozen=True)
class Loss:
    """What is lost, of which network, how that is planted, and what the one who looks says about it."""

    name: str
    network: Network
    plant: Plant
    says: str
    error: type[Exception] = NotTheSame


# -- how something is lost ---------------------------------------------------------------------------------------------


def within(name: str) -> bool:
    """Whether the innermost function of the user's is the one of this name."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == __file__ and frame.f_code.co_name not in PLANTING:
            return frame.f_code.co_name == name
        frame = frame.f_back  # type: ignore[assignment]
    return False


PLANTING = frozenset({"lossy", "within"})


def write(name: str) -> Plant:
    """An operation that writes in place is run, and not written down."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        real = recording._Recorder._write

        def lossy(self: Any, func: Any, operator: str, given: Any, written: Any, args: Any, kwargs: Any) -> Any:
            if operator == name:
                return func(*args, **kwargs)
            return real(self, func, operator, given, written, args, kwargs)

        patch.setattr(recording._Recorder, "_write", lossy)

    return plant


def operation(name: str, inside: str) -> Plant:
    """What an operation makes of its first argument is taken for that argument."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        real = recording._parts

        def lossy(operator: str, given: Any, refs: Any, out: Any) -> Iterator[Any]:
            lost = operator == name and within(inside)
            for part, kind, operands in real(operator, given, refs, out):
                yield (part, "same", ()) if lost else (part, kind, operands)

        patch.setattr(recording, "_parts", lossy)

    return plant


def call(name: str, change: Callable[..., tuple[Any, ...]], number: int | None = None) -> Plant:
    """The recording holds other arguments of an operation than torch had (of all, or of the so many-th)."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def other(trace: Trace) -> Trace:
            own = [c for c in trace.calls if c.operation == name]
            wrong = {c.out for c in (own if number is None else [own[number]])}
            calls = [replace(c, args=change(*c.args)) if c.out in wrong else c for c in trace.calls]
            return replace(trace, calls=calls)

        trace(other)(patch)

    return plant


def trace(change: Callable[[Trace], Trace]) -> Plant:
    """The recording is another, just made or read from a file."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        for owner, maker in ((models, "generalized"), (models, "settled"), (files, "trace_of")):
            patch.setattr(owner, maker, _changed(getattr(owner, maker), change))

    return plant


def _changed(maker: Callable[..., Trace | None], change: Callable[[Trace], Trace]) -> Callable[..., Trace | None]:
    def lossy(*given: Any) -> Trace | None:
        made = maker(*given)
        return None if made is None else change(made)

    return lossy


def meaning(name: str, change: Callable[..., tuple[Any, ...]]) -> Plant:
    """An operation is lowered as if it had other arguments."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setitem(HANDLERS, name, lambda low, *args, real=HANDLERS[name]: real(low, *change(*args)))

    return plant


def changed(kind: type[Op], number: int = 0, **fields: Callable[[Any], Any]) -> Callable[[Graph], Graph]:
    """A graph of which a node has other fields than it should have."""

    def change(graph: Graph) -> Graph:
        found = graph.of(kind)[number]
        op = replace(found.op, **{name: new(getattr(found.op, name)) for name, new in fields.items()})
        return graph.rewritten({found.name: replace(found, op=op)})

    return change


def node(kind: type[Op], number: int = 0, **fields: Callable[[Any], Any]) -> Plant:
    """A node of the graph has other fields than it should have."""
    return graphs(changed(kind, number, **fields))


def graphs(change: Callable[[Graph], Graph]) -> Plant:
    """The graph is another."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        real = models.lower

        def lossy(*given: Any, **named: Any) -> Any:
            made = real(*given, **named)
            made.graph = change(made.graph)
            return made

        patch.setattr(models, "lower", lossy)

    return plant


def blind(owner: Any, name: str, instead: Callable[..., Any] = lambda *given: None) -> Plant:
    """A check of the compiler does nothing."""
    return lambda patch: patch.setattr(owner, name, instead)


def unwatched(mode: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """A function of a tensor, and nobody looks."""
    return func(*args, **(kwargs or {}))


# -- networks ----------------------------------------------------------------------------------------------------------


def of(**given: Any) -> Callable[[Body], Network]:
    return lambda body: Network(body, **given)


def with_places(m: Net) -> None:
    m.register_buffer("mask", torch.arange(8) % 3 == 0)
    m.register_buffer("picked", torch.tensor([1, 4]))


@of(init=with_places)
def written_in_place(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    y.add_(0.2)
    y.mul_(1.5)
    y.sub_(0.1)
    y.div_(1.2)
    y.masked_fill_(m.mask, 0.25)
    y[:, 0].fill_(0.15)
    y[:, 1] = y[:, 2] * 2
    y[:, 3, 2:4].zero_()
    y[:, m.picked] = y[:, m.picked.flip(0)] * 0.9
    torch.mul(y, 0.8, out=y)
    other = y.detach()
    other.neg_()
    return static(m, 0.2 - y)


@of()
def written_through_data(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    y.data.add_(0.3)
    return static(m, y)


@of()
def written_step_by_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros(T, len(x), 6, 8, 8, dtype=x.dtype)
    for t in range(T):
        y[t] = m.conv(x)
    return vote(m, y)


def with_mask(m: Net) -> None:
    m.register_buffer("kept", (torch.arange(6) != 2).double().view(6, 1, 1))


@of(init=with_mask)
def moved(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = torch.roll(m.conv(x), 1, 3).flip(2) * m.kept
    y = torch.cat([y[:, 3:], y[:, :3]], 1)
    return static(m, y.transpose(2, 3))


@of()
def clamped(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x.clamp(0.2, 0.6)))


@of()
def truncated(m: Net, x: torch.Tensor) -> torch.Tensor:
    s = m.lif(times(m.conv(x))) * 1.7
    return m.fc(s.long().to(x.dtype).flatten(2)).mean(0)


def with_geometry(m: Net) -> None:
    m.special = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3)
    m.small = nn.Conv2d(6, 6, 3, stride=2, padding=1)
    m.pool = nn.AvgPool2d(3, 2, 1)
    m.last = nn.Linear(24, 5)


@of(init=with_geometry, shape=(4, 2, 4, 4))
def layers(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(m.special(m.lif(times(m.conv(x))).flatten(0, 1)))
    y = (m.small(y) + m.pool(y)).unflatten(0, (T, -1)) + 0.2
    return m.last(m.lif2(y).flatten(2)).mean(0)


def halved(module: nn.Module, given: Any, out: torch.Tensor) -> torch.Tensor:
    return out * 0.5


def raised(module: nn.Module, given: Any) -> Any:
    return (given[0] + 0.25,)


def everywhere(module: nn.Module, given: Any, out: torch.Tensor) -> torch.Tensor | None:
    return out.mul(0.9) if isinstance(module, nn.Conv2d) else None


def patched(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return nn.functional.conv2d(x, weight, bias, padding=1) - 0.1


def with_hooks(m: Net) -> None:
    m.conv.register_forward_hook(halved)
    m.conv.register_forward_pre_hook(raised)
    m.conv.forward = lambda x: patched(x, m.conv.weight, m.conv.bias)


@of(init=with_hooks, around=lambda: removed(nn.modules.module.register_module_forward_hook, everywhere))
def hooked(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


class Rounded(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return (weight * 8).round() / 8


PARAMETRIZED = {
    "parametrization": lambda m: parametrize.register_parametrization(m.conv, "weight", Rounded()),
    "weight_norm": lambda m: (
        parametrizations.weight_norm(m.conv),
        m.conv.parametrizations.weight.original0.data.mul_(2),
    ),
    "spectral_norm": lambda m: parametrizations.spectral_norm(m.conv),
}


def convolved(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x))


@of()
def by_hand(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = torch.full((len(x), 6, 8, 8), 0.15, dtype=x.dtype), 0
    for _ in range(T):
        v = 0.6 * v + m.conv(x)
        s = (v >= 0.3).to(x.dtype)
        v = v - v * s
        out = out + m.fc(s.flatten(1))
    return out


@of()
def on_a_grid(m: Net, x: torch.Tensor) -> torch.Tensor:
    v, out = torch.zeros(len(x), 2, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        v = v + 0.25 * (x > 0.5).to(x.dtype)
        s = (v >= 0.5).to(x.dtype)
        v = v - 0.5 * s
        out = out + m.fc(s.flatten(1).repeat(1, 3))
    return out


@of()
def states_set_by_forward(m: Net, x: torch.Tensor) -> torch.Tensor:
    functional.reset_net(m)
    m.one.v_threshold = 0.15
    m.two.v = 0.5 * m.two.v_threshold
    return torch.stack([step(m, x) for _ in range(T)]).mean(0)


@of()
def leaks_between_calls(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = 0
    for t in range(T):
        if t:
            m.one.v = m.one.v * 0.6
        out = out + step(m, x)
    return out / T


@of()
def feedback(m: Net, x: torch.Tensor) -> torch.Tensor:
    s, out = torch.zeros(len(x), 6, 8, 8, dtype=x.dtype), 0
    for _ in range(T):
        s = m.one(m.conv(x) + 0.3 * m.conv6(s))
        out = out + m.fc(s.flatten(1))
    return out


@of(shape=(T, 4, 2, 8, 8), saves={"layout": "TN"})
def over_time(m: Net, x: torch.Tensor) -> torch.Tensor:
    return sum(step(m, x[t]) for t in range(T))


@of(shape=(T, 4, 2, 8, 8), saves={"layout": "TN"})
def at_the_last_step(m: Net, x: torch.Tensor) -> torch.Tensor:
    return [step(m, x[t]) for t in range(T)][-1]


@of(saves={"layout": "loop", "timesteps": T})
def one_step_a_call(m: Net, x: torch.Tensor) -> torch.Tensor:
    return step(m, x)


@of()
def two_outputs(m: Net, x: torch.Tensor) -> Any:
    s = m.lif(times(m.conv(x))).flatten(2)
    return m.fc(s).mean(0), m.fc(s * 0.5).mean(0)


@of()
def read_by_numpy(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, torch.from_numpy(np.abs(m.conv(x).numpy())))


@of()
def branch_on_a_value(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    if x.sum() > 0:
        y = y * 0.5
    return static(m, y)


@of()
def drawn_spikes(m: Net, x: torch.Tensor) -> torch.Tensor:
    return m.fc(torch.bernoulli(torch.sigmoid(times(m.conv(x)))).flatten(2)).mean(0)


@of()
def samples_mixed(m: Net, x: torch.Tensor) -> torch.Tensor:
    return static(m, m.conv(x - 0.5 * x.mean(0)))


# -- losses ------------------------------------------------------------------------------------------------------------

IN_PLACE = ("add_", "mul_", "sub_", "div_", "masked_fill_", "fill_", "copy_", "zero_", "index_put_", "mul", "neg_")


def without_bias(x: Any, weight: Any, bias: Any, *rest: Any) -> tuple[Any, ...]:
    return x, weight, None, *rest


def without_stride(x: Any, weight: Any, bias: Any, stride: Any, *rest: Any) -> tuple[Any, ...]:
    return x, weight, bias, [1, 1], *rest


def without_dilation(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, *rest: Any) -> Any:
    return x, weight, bias, stride, [1, 1], [1, 1], *rest


def without_groups(*given: Any) -> tuple[Any, ...]:
    return *given[:-1], 1


def without_statistics(x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> tuple[Any, ...]:
    return x, weight, bias, bias, var, eps


def without_padding_counted(x: Any, kernel: Any, stride: Any, padding: Any, ceil: Any, counted: Any, *rest: Any) -> Any:
    return x, kernel, stride, padding, ceil, not counted, *rest


def of_the_step_before(x: Any, dim: int, at: int) -> tuple[Any, ...]:
    return x, dim, min(at, T - 2)


def without_second(first: Any, second: Any, *rest: Any) -> tuple[Any, ...]:
    return first, 0.0, *rest


def not_scaled(first: Any, second: Any) -> tuple[Any, ...]:
    return first, 1.0


def a_little_higher(membrane: Any, level: float) -> tuple[Any, ...]:
    return membrane, level + 1e-12


def from_zero(size: Any, value: Any, kind: Any) -> tuple[Any, ...]:
    return size, 0.0, kind


def the_other_way(x: Any, by: Any, dims: Any) -> tuple[Any, ...]:
    return x, [-n for n in by], dims


def not_turned(x: Any, dims: Any) -> tuple[Any, ...]:
    return x, []


def of_nothing(bias: Any, *rest: Any) -> tuple[Any, ...]:
    return bias * 0, *rest


def in_the_old_order(parts: Any, dim: int) -> tuple[Any, ...]:
    return parts[::-1], dim


def earlier(trace: Trace) -> Trace:
    """Forward returns what the step before gave."""
    (last,) = references(trace.outputs)
    kinds = {c.out: (c.operation, c.shape) for c in trace.calls}
    like = [out for out, kind in kinds.items() if kind == kinds[last]]
    return replace(trace, outputs=replaced(trace.outputs, lambda ref: Ref(like[-2])))


def backwards(trace: Trace) -> Trace:
    """The first step is given what the last one should be."""
    return replace(trace, inputs={name: numbers[::-1] for name, numbers in trace.inputs.items()})


def outputs_swapped(trace: Trace) -> Trace:
    return replace(trace, outputs=[one[::-1] for one in trace.outputs])


def raw_weights(patch: pytest.MonkeyPatch) -> None:
    """A convolution has the parameter that its weight is made of."""
    real = models.generalized

    def lossy(first: Trace, second: Trace) -> Trace | None:
        made = real(first, second)
        assert made is not None
        weights = {next(iter(list(references(c.args))[1:2])) for c in made.calls if c.operation == "convolve"}
        raw = {n: next(x for x in first.constants.values() if x.shape == made.constants[n].shape) for n in weights}
        return replace(made, constants={**made.constants, **raw})

    patch.setattr(models, "generalized", lossy)


def of_this_batch(patch: pytest.MonkeyPatch) -> None:
    """Sizes that go with the batch are kept as those of the second recording."""
    real = models.generalized

    def lossy(first: Trace, second: Trace) -> Trace | None:
        made = real(first, second)
        assert made is not None
        size = second.batch
        fixed = lambda part: part if isinstance(part, Ref) else part.factor * size  # noqa: E731
        return replace(made, calls=[replace(c, args=replaced(c.args, fixed)) for c in made.calls])

    patch.setattr(models, "generalized", lossy)


def example_kept(patch: pytest.MonkeyPatch) -> None:
    """What an operation gave for the example is taken for a constant."""
    real = recording._Recorder._value

    def lossy(self: Any, out: torch.Tensor, operation: str, operands: Any, name: str) -> None:
        if operation == "convolve":
            self.constants[self._count] = out.detach().clone()
            self._take(out, self._number(out.shape))
        else:
            real(self, out, operation, operands, name)

    patch.setattr(recording._Recorder, "_value", lossy)


def aliases_are_copies(patch: pytest.MonkeyPatch) -> None:
    real = recording._Recorder._same
    patch.setattr(recording._Recorder, "_same", lambda self, out, source, views: real(self, out, source, False))


def views_are_copies(patch: pytest.MonkeyPatch) -> None:
    real = recording._Recorder._store

    def lossy(self: Any, into: torch.Tensor, new: int, view: Any) -> None:
        if view.way:
            view.value = new
        else:
            real(self, into, new, view)

    patch.setattr(recording._Recorder, "_store", lossy)


def writes_are_not_heard(patch: pytest.MonkeyPatch) -> None:
    """Whoever looked at memory before a write goes on to see what was there."""
    real = recording._Recorder.ref

    def lossy(self: Any, tensor: torch.Tensor) -> Ref:
        view = self._seen.get(tensor)
        return real(self, tensor) if view is None else Ref(view.value)

    patch.setattr(recording._Recorder, "ref", lossy)


def rounded_while_recorded(patch: pytest.MonkeyPatch) -> None:
    """The recorder itself changes what torch computes."""
    real = recording._Recorder._promoted

    def lossy(self: Any, func: Any, args: Any, kwargs: Any) -> Any:
        args, kwargs = real(self, func, args, kwargs)
        if "convolution" in str(func):
            with self.pause():
                narrow = args[0].bfloat16().double()
            self._seen[narrow] = self._seen[args[0]]
            args = (narrow, *args[1:])
        return args, kwargs

    patch.setattr(recording._Recorder, "_promoted", lossy)


def samples_turned_round(patch: pytest.MonkeyPatch) -> None:
    real = proof.run_graph
    patch.setattr(
        proof, "run_graph", lambda graph, inputs, steps: real(graph, {k: x[::-1] for k, x in inputs.items()}, steps)
    )


def read_swapped(graph: Graph) -> Graph:
    first, second = graph.of(Output)
    return graph.rewritten(
        {first.name: replace(first, inputs=second.inputs), second.name: replace(second, inputs=first.inputs)}
    )


def times_(factor: float) -> Callable[[Any], Any]:
    return lambda x: x * factor


def becomes(value: Any) -> Callable[[Any], Any]:
    return lambda before: value


# fmt: off
LOSSES = [
    # What the recorder does not see.
    *(Loss(f"{name} is not seen", written_in_place, write(name), LINE) for name in IN_PLACE),
    Loss("an alias is a copy", written_in_place, aliases_are_copies, LINE),
    Loss("a view is a copy", written_in_place, views_are_copies, LINE),
    Loss("a step that is written is a copy", written_step_by_step, views_are_copies, LINE),
    Loss("a write is not heard", written_in_place, writes_are_not_heard, LINE),
    Loss("a write to .data is not seen", written_through_data, write("add_"), LINE),
    Loss("writes to steps are not seen", written_step_by_step, write("copy_"), LINE),
    Loss("a roll is not seen", moved, operation("roll", "moved"), LINE),
    Loss("a flip is not seen", moved, operation("flip", "moved"), LINE),
    Loss("a mask is not seen", moved, operation("mul", "moved"), LINE),
    Loss("a transposed view is not seen", moved, operation("transpose", "moved"), LINE),
    Loss("a clamp is not seen", clamped, operation("clamp", "clamped"), LINE),
    Loss("a cast is not seen", truncated, operation("_to_copy", "truncated"), LINE),
    Loss("a forward hook is not seen", hooked, operation("mul", "halved"), LINE),
    Loss("a forward pre-hook is not seen", hooked, operation("add", "raised"), LINE),
    Loss("a hook of all modules is not seen", hooked, operation("mul", "everywhere"), LINE),
    Loss("a patched forward is not seen", hooked, operation("sub", "patched"), LINE),
    *(Loss(f"a {name} is left out", Network(convolved, init, called=name), raw_weights, LINE)
      for name, init in PARAMETRIZED.items()),
    Loss("the example is baked in", written_in_place, example_kept, LINE),
    Loss("the recorder rounds", by_hand, rounded_while_recorded, "while it is recorded"),
    Loss("a state written between calls", leaks_between_calls, operation("mul", "leaks_between_calls"), LINE),
    # What the recording does not hold.
    Loss("sizes of one batch", by_hand, of_this_batch, LINE),
    Loss("a convolution without its bias", layers, call("convolve", without_bias), LINE),
    Loss("a convolution without its dilation", layers, call("convolve", without_dilation), LINE),
    Loss("a convolution without its stride", layers, call("convolve", without_stride), LINE),
    Loss("a convolution without its groups", layers, call("convolve", without_groups), LINE),
    Loss("a norm without its statistics", layers, call("batch_norm", without_statistics), LINE),
    Loss("an average that leaves its padding out", layers, call("avg_pool", without_padding_counted), LINE),
    Loss("channels in another order", moved, call("cat", in_the_old_order), LINE),
    Loss("a membrane that starts at rest", by_hand, call("full", from_zero), LINE),
    Loss("a decay dropped at one step", by_hand, call("mul", not_scaled, number=2), LINE),
    Loss("a reset dropped at one step", by_hand, call("sub", without_second, number=1), LINE),
    Loss("a threshold that is a little higher", on_a_grid, call("ge", a_little_higher), LINE),
    Loss("a step that reads another's input", over_time, call("select", of_the_step_before), LINE),
    Loss("an output of another step", at_the_last_step, trace(earlier), LINE),
    Loss("steps in another order", one_step_a_call, trace(backwards), LINE),
    Loss("outputs in another order", two_outputs, trace(outputs_swapped), LINE),
    # What the lowering does not do.
    Loss("a roll the other way", moved, meaning("roll", the_other_way), SPIKE),
    Loss("a flip left out", moved, meaning("flip", not_turned), SPIKE),
    Loss("channels lowered in another order", moved, meaning("cat", in_the_old_order), SPIKE),
    Loss("a norm lowered without its statistics", layers, meaning("batch_norm", without_statistics), SPIKE),
    Loss("a bias of the last layer left out", by_hand, meaning("addmm", of_nothing), OUTPUT),
    Loss("padding on one side", layers, node(Conv, 1, padding=becomes(((0, 4), (2, 2)))), SPIKE),
    Loss("a strict comparison", on_a_grid, node(Neuron, -1, strict=becomes(True)), SPIKE),
    Loss("a threshold of two per cent more", by_hand, node(Neuron, threshold=times_(1.02)), SPIKE),
    Loss("a comparison of the input itself", on_a_grid, node(Neuron, 0, threshold=times_(1.1)), SPIKE),
    Loss("a reset left out", by_hand, node(Neuron, reset=becomes("none")), SPIKE),
    Loss("a reset that falls a step late", by_hand, node(Neuron, deaf=becomes(True)), SPIKE),
    Loss("a leak left out", by_hand, node(Neuron, decay=becomes(np.asarray(1.0))), SPIKE),
    Loss("a neuron that rests after a spike", by_hand, node(Neuron, refractory=becomes(1)), SPIKE),
    Loss("membranes that start at rest", by_hand, node(Neuron, v_init=times_(0)), SPIKE),
    Loss("membranes that forward set", states_set_by_forward, node(Neuron, 1, v_init=times_(0)), SPIKE),
    Loss("a threshold that forward set", states_set_by_forward, node(Neuron, threshold=times_(4 / 3)), SPIKE),
    Loss("a delay that is one step longer", feedback, node(Delay, steps=becomes(2)), SPIKE),
    Loss("a state that every call clears", one_step_a_call, node(Neuron, decay=times_(0)), SPIKE),
    Loss("outputs exchanged", two_outputs, graphs(read_swapped), OUTPUT),
    Loss("the last step for the sum", over_time, node(Output, read=becomes("last")), OUTPUT),
    Loss("the mean for the last step", at_the_last_step, node(Output, read=becomes("mean")), OUTPUT),
    Loss("samples in another order", over_time, samples_turned_round, SPIKE),
    # What the checks that are there for it do not notice: others do.
    Loss("a read by numpy", read_by_numpy, blind(recording._HostReads, "__torch_function__", unwatched),
         LINE),
    Loss("a branch", branch_on_a_value, blind(recording._Recorder, "_host_read"), LINE),
    Loss("a draw that goes by the input", drawn_spikes, blind(recording._Recorder, "_check_chance"), LINE,
         UnsupportedModel),
    Loss("samples that hear each other", samples_mixed, blind(live.Live, "_check_repeats"), LINE, UnsupportedModel),
]
# fmt: on
REFUSED = [read_by_numpy, branch_on_a_value, drawn_spikes, samples_mixed]
BY_NAME = {loss.name: loss for loss in LOSSES}


NETWORKS = {loss.network.name: loss.network for loss in LOSSES if loss.network not in REFUSED}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors: threads would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planted here is in the way by recording."""
    if hasattr(models, "_symbolic"):
        monkeypatch.setattr(models, "_symbolic", lambda *given: None)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_comes_in_as_it_is(name: str) -> None:
    rates = NETWORKS[name].model().proof.firing_rates
    assert rates
    assert all(LEAST <= rate <= MOST for rate in rates.values()), rates


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("name", BY_NAME)
def test_a_planted_loss_is_found(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loss = BY_NAME[name]
    loss.plant(monkeypatch)
    with pytest.raises(loss.error, match=loss.says):
        loss.network.save(tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("network", REFUSED, ids=lambda network: network.name)
def test_what_is_refused_is_refused(network: Network, tmp_path: Path) -> None:
    """Of these the planted loss is that nobody refuses them."""
    with pytest.raises(UnsupportedModel, match=LINE):
        network.save(tmp_path / "model.pt")


@pytest.mark.usefixtures("recorded")
def test_compile_and_the_command_find_it_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a pickled module as well."""
    net = nn.Sequential(nn.Linear(4, 6), neuron.LIFNode(v_threshold=0.1, step_mode="m"), nn.Linear(6, 3)).eval()
    torch.save(net, tmp_path / "model.pt")
    node(Neuron, threshold=times_(1.1))(monkeypatch)
    with pytest.raises(NotTheSame, match=SPIKE):
        neurocompile.compile(net, input_shape=(4,), timesteps=T, layout="TN")
    found = run("export", tmp_path / "model.pt", "--input-shape", 4, "--timesteps", T, "-o", tmp_path / "out")
    assert (found.code, "the compiled network does not fire" in found.err) == (5, True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


IN_A_FILE = {
    "a bias": call("convolve", without_bias),
    "a start": call("full", from_zero),
    "a reset": call("sub", without_second),
    "the lowering": node(Neuron, threshold=times_(1.02)),
}


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("name", IN_A_FILE)
def test_a_loss_on_the_way_from_a_file_is_found(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is held against what the live module did when it was saved."""
    by_hand.save(tmp_path / "model.pt")
    IN_A_FILE[name](monkeypatch)
    with pytest.raises(NotTheSame, match="the live module"):
        neurocompile.compile(tmp_path / "model.pt")


BY_CLASS = {
    "a threshold": changed(Neuron, threshold=times_(1.1)),
    "a bias": changed(Conv, bias=becomes(None)),
    "a leak": changed(Neuron, decay=becomes(np.asarray(1.0))),
    "padding on one side": changed(Conv, padding=becomes(((2, 0), (1, 1)))),
    "the last step for the mean": changed(Output, read=becomes("last")),
}


@pytest.mark.skipif(not hasattr(models, "SymbolicModel"), reason="there is no way by class any more")
@pytest.mark.parametrize("name", BY_CLASS)
def test_a_loss_of_the_way_by_class_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording is taken then."""
    network = Network(convolved)
    assert network.model().symbolic is not None
    real = models.SymbolicModel.from_module

    def lossy(*given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        found.graph = BY_CLASS[name](found.graph)
        return found

    monkeypatch.setattr(models.SymbolicModel, "from_module", staticmethod(lossy))
    made = network.model()
    assert made.symbolic is None
    assert made.proof.mismatches == 0
