"""Walking a traced graph: what each value is, what was emitted for it, what could not be lowered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import fx, nn

from neurocompile.errors import BadInput, NeurocompileError, Problem, ToolFailed
from neurocompile.frontends.pytorch.axes import Axes, MixedAxes, features
from neurocompile.frontends.pytorch.symbolic.neurons import NEURONS, READOUTS, is_registered
from neurocompile.frontends.pytorch.symbolic.trace import run_node
from neurocompile.ir.graph import Node
from neurocompile.ir.host import HostRegion
from neurocompile.ir.ops import Delay, Input, Integrator, Neuron, Op, Output, Read, Reshape, Scale

__all__ = [
    "Build",
    "Handler",
    "HostCall",
    "Lowering",
    "Refused",
    "Tables",
    "Value",
    "array",
    "flat",
    "shown",
    "sizes_of",
    "unsupported",
]

Handler: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class HostCall:
    """What became of a call: the name of its region, the axes of what that reads, and of its result."""

    region: str
    axes: tuple[Axes, ...]
    result_axes: Axes


@dataclass(frozen=True)
class Value:
    """A tensor of the traced graph: its node, the names of its axes, its value on the example.

    ``read`` is set once time was taken out of it: the node still emits a value each step, to be read so.
    """

    node: str
    axes: Axes
    example: Any
    read: Read | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor, time and batch included."""
        return tuple(self.example.shape)

    @property
    def features(self) -> tuple[int, ...]:
        """The sizes of its feature axes: the shape of its node."""
        return features(self.axes, self.shape)


@dataclass
class Repeated:
    """What a loop over time in forward calls once for each step: what it reads, its node, the calls so far."""

    source: str
    node: str
    calls: int = 0


class Unknown:
    """The result of something that was reported already."""


class Reported(Exception):
    """What stands in the way was reported already, at an earlier call of the same."""


class Refused(Exception):
    """Something that this operation, used so, cannot be lowered for."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


class Build:
    """The nodes so far, and the problems so far; ``line`` is the user's file:line that is being lowered."""

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps
        self.nodes: dict[str, Node] = {}
        self.problems: list[Problem] = []
        self.stateful: set[str] = set()
        self.repeated: dict[Any, Repeated | None] = {}
        self.hosts: dict[str, HostRegion] = {}
        self.host_calls: dict[str, HostCall] = {}
        self.line = ""

    def emit(self, stem: str, op: Op, *inputs: str) -> str:
        """Add a node with a name that starts with ``stem``; "output" is the name of the network's own."""
        if stem == "output" and not isinstance(op, Output):
            if isinstance(op, Neuron):  # its spikes go by the path of the module, which is taken
                fix = "name it otherwise, as a chip's files name outputs and layers alike"
                self.problems.append(Problem("a layer of neurons cannot be called so", stem, fix=fix))
            stem = "output.layer"
        for source in inputs:
            if source in self.hosts:
                self.feed(source)
        name = self.fresh(stem)
        self.nodes[name] = Node(name, op, inputs, self.line)
        return name

    def feed(self, region: str) -> None:
        """Let the chip have what a host region gives."""
        host = self.hosts[region]
        self.nodes.setdefault(region, Node(region, Input(host.shape, host.carries)))

    def promised(self, stem: str, shape: tuple[int, ...]) -> str:
        """A Delay whose source is not known yet: what is fed back, while what computes it is lowered."""
        name = self.fresh(stem)
        self.nodes[name] = Node(name, Delay(shape), (), self.line)
        return name

    def keep_promise(self, name: str, source: str) -> None:
        """Say what a promised Delay reads."""
        delay = self.nodes.pop(name)
        if source in self.hosts:
            self.feed(source)
        self.nodes[name] = replace(delay, inputs=(source,))

    def step(self, value: Value) -> int | None:
        """Which step of its node a value is, if it is one alone."""
        if value.read == "last":
            return self.timesteps - 1
        return int(value.read.split()[1]) if value.read is not None and value.read.startswith("step") else None

    def same_nodes(self, a: str, b: str) -> bool:
        """Whether two nodes compute the same from the same."""
        if a == b or a in self.hosts or b in self.hosts:
            return a == b
        left, right = self.nodes[a], self.nodes[b]
        if not same_op(left.op, right.op) or len(left.inputs) != len(right.inputs):
            return False
        return all(self.same_nodes(x, y) for x, y in zip(left.inputs, right.inputs))

    def fresh(self, stem: str) -> str:
        """A name that starts with ``stem`` and that nothing has yet."""
        name, number = stem, 2
        while name in self.nodes or name in self.hosts:
            name, number = f"{stem}.{number}", number + 1
        return name


def same_op(left: Op, right: Op) -> bool:
    """Whether two operations without state compute the same."""
    if type(left) is not type(right) or isinstance(left, Neuron | Integrator | Input | Output | Delay):
        return False
    fields = zip(vars(left).values(), vars(right).values())
    return all(np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y for x, y in fields)


def flat(results: Any) -> list[Any]:
    """All values in nested tuples, lists and dicts."""
    if isinstance(results, tuple | list):
        return [leaf for item in results for leaf in flat(item)]
    if isinstance(results, dict):
        return [leaf for item in results.values() for leaf in flat(item)]
    return [results]


@dataclass(frozen=True)
class Tables:
    """What lowers what: handlers by class of a module, by function, by name of a tensor's method;
    ``registered`` is for neuron classes that users registered, ``host`` for modules that they marked.

    A handler is called with the lowering, the module (if it is one) and the arguments of the call.
    """

    modules: Mapping[type, Handler]
    functions: Mapping[Callable[..., Any], Handler]
    methods: Mapping[str, Handler]
    registered: Handler
    host: Handler
    is_host: Callable[[nn.Module], bool]

    def of_module(self, module: nn.Module) -> Handler | None:
        """What lowers a module; None if nothing does."""
        if is_registered(module):
            return self.registered
        if self.is_host(module):
            return self.host
        kinds = (kind for kind in type(module).__mro__ if kind in self.modules and _plain(module, kind))
        return next((self.modules[kind] for kind in kinds), None)


class Lowering:
    """One traced module; containers are lowered by a lowering of their own for what they hold.

    While a handler runs, ``where`` is the path of what it lowers, ``call`` the name of the traced call, which no other
    has, and ``result`` what torch computes there on the example. ``loop`` says that every value is one step of many;
    otherwise time is an axis.
    """

    def __init__(self, build: Build, traced: fx.GraphModule, prefix: str, loop: bool, tables: Tables) -> None:
        self.build = build
        self.tables = tables
        self.traced = traced
        self.prefix = prefix
        self.loop = loop
        self.where = ""
        self.call = ""
        self.result: Any = None
        self.repeats = False  # whether what is being lowered reads one step of many, as in a loop over time

    # -- walking -------------------------------------------------------------------------------------------------------

    def run(self, inputs: Sequence[Value]) -> Any:
        """Lower everything; returns what forward returns, with a value for each tensor.

        A value is forgotten after its last reader: all examples at once take more room than any model.
        """
        values: dict[fx.Node, Any] = {}
        last_readers = {source: node for node in self.traced.graph.nodes for source in node.all_input_nodes}
        given = iter(inputs)
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(given)
                continue
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            if node.op == "output":
                return args[0]
            values[node] = self._node(node, args, kwargs)
            for source in node.all_input_nodes:
                if last_readers[source] is node:
                    del values[source]
            del args, kwargs
        raise AssertionError("a torch.fx graph without an output")

    def _node(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        self.build.line = node.meta.get("line", self.build.line)
        self.call = self.prefix + node.name
        self.where = self.prefix + (str(node.target) if node.op == "call_module" else node.name)
        module = self.traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        handler = self._handler(node, module)
        given = flat((list(args), kwargs))
        if any(isinstance(value, Unknown) for value in given):
            if handler is None and node.target is not getattr:
                self._report(node, module, unsupported(module) if module else _unsupported_call(node))
            return Unknown()
        self.result = run_node(self.traced, node, *_examples((args, kwargs)))
        self.repeats = any(isinstance(value, Value) and self.build.step(value) is not None for value in given)
        if not any(isinstance(value, Value) for value in given):
            return self.result
        if node.op == "call_function" and node.target is getattr and args[1] in ("shape", "ndim", "dtype", "device"):
            return self.result
        try:
            if handler is None:
                raise unsupported(module) if module else _unsupported_call(node)
            return handler(self, *args, **kwargs) if module is None else handler(self, module, *args, **kwargs)
        except (Refused, MixedAxes) as error:
            self._report(node, module, error if isinstance(error, Refused) else Refused(str(error), FIX_MIXED))
        except Reported:
            pass
        except (BadInput, ToolFailed):
            raise
        except NeurocompileError as error:
            self.build.problems += [replace(p, where=self._place(node, module)) for p in error.problems]
        return self._stand_in(given)

    def _handler(self, node: fx.Node, module: nn.Module | None) -> Handler | None:
        if module is not None:
            return self.tables.of_module(module)
        if node.op == "call_method":
            return self.tables.methods.get(str(node.target))
        return self.tables.functions.get(node.target)  # type: ignore[arg-type]

    def _place(self, node: fx.Node, module: nn.Module | None) -> str:
        return f"{self.where} ({type(module).__name__})" if module is not None else self.where

    def _report(self, node: fx.Node, module: nn.Module | None, error: Refused) -> None:
        problem = Problem(error.what, self._place(node, module), fix=error.fix)
        if problem not in self.build.problems:  # a loop over time comes to it at every step
            self.build.problems.append(problem)

    def _stand_in(self, given: list[Any]) -> Any:
        """A made-up value after something unsupported, so that what comes after it is checked too."""
        value = next(v for v in given if isinstance(v, Value))
        if not isinstance(self.result, torch.Tensor) or self.result.ndim != len(value.axes):
            return Unknown()
        shape = features(value.axes, self.result.shape)
        return Value(self.build.emit(f"{self.where}.unsupported", Input(shape)), value.axes, self.result, value.read)

    # -- emitting ------------------------------------------------------------------------------------------------------

    def emit(self, op: Op, *inputs: str, part: str = "") -> str:
        """Add a node named by where it comes from; a layer that a loop over time calls for every step is there once."""
        stem = f"{self.where}.{part}" if part else self.where
        known = self.build.nodes.get(stem) if self.repeats else None
        if known is not None and known.inputs == inputs and same_op(known.op, op):
            return stem
        return self.build.emit(stem, op, *inputs)

    def repeated(self, key: Any, value: Value, make: Callable[[], str]) -> Value:
        """What something gives that a loop over time in forward calls for every step, and that is there once.

        A value without time is the same at every step.

        Raises:
            Refused: if it is not called for the steps in their order, or hears other things at some of them.
            Reported: if it was refused at an earlier step.
        """
        step, last = self.build.step(value), self.build.timesteps - 1
        if step in (0, None) and key not in self.build.repeated:
            self.build.repeated[key] = None
            self.build.repeated[key] = Repeated(value.node, make())
        elif self.build.repeated.get(key, ()) is None:
            raise Reported
        known = self.build.repeated.get(key)
        alike = known is not None and self.build.same_nodes(known.source, value.node)
        if known is None or not alike or step not in (known.calls, None) or known.calls > last:
            what = "a loop over time in forward does not call it once for each step, in order, behind the same layers"
            raise Refused(what, 'call it so, or save a module of one step with layout="loop"')
        read: Any = "last" if known.calls == last else f"step {known.calls}"
        known.calls += 1
        return self.out(known.node, value.axes, read)

    def out(self, node: str, axes: Axes, read: Read | None = None) -> Value:
        """The value of what is being lowered."""
        return Value(node, axes, self.result, read)

    def settled(self, x: Value) -> Value:
        """The value as a layer sees it: axes of size one have become features, or the one step of T = 1."""
        axes = list(x.axes)
        if axes[0] == "1" and "N" in axes and "T" not in axes and self.build.timesteps == 1 and not self.loop:
            axes[0] = "T"
        settled = tuple("F" if name == "1" else name for name in axes)
        if settled == x.axes:
            return x
        value = replace(x, axes=settled)
        if value.features == x.features:
            return value
        return replace(value, node=self.emit(Reshape(value.features), x.node, part="reshape"))

    def layer_input(self, x: Value, module: Any, rank: int | None = None, any_lead: bool = False) -> Value:
        """Check that a layer's leading axes are what it takes for batch (and time), the rest its features."""
        x = self.settled(x)
        lead = 2 if getattr(module, "step_mode", "s") == "m" else 1
        if any_lead:
            lead = len(x.axes) - len(x.features)
        elif lead == 2 and x.axes[:2] != ("T", "N"):
            raise Refused(f"a multi-step layer reads axes {shown(x.axes)}", 'give it [T, N, ...], or set step_mode="s"')
        if x.axes[lead:] != ("F",) * (len(x.axes) - lead) or any(name == "F" for name in x.axes[:lead]):
            raise Refused(f"it reads axes {shown(x.axes)}", "time and batch must come before the channels here")
        if rank is not None and len(x.features) != rank:
            what = f"it reads features of shape {list(x.features)}, where it can have {rank} axes"
            raise Refused(what, "flatten them before, or check --input-shape and --layout")
        return x

    def affine(self, x: Value, op: Any, *, bias: Any = None, **fields: Any) -> str:
        """Emit an operation with a bias, which a sum over time (taken later) counts T times: so a T-th of it."""
        if x.read in ("max", "max-abs"):
            raise Refused(f"a layer after the {x.read} over time cannot be moved before it", "read the maximum last")
        if bias is not None and x.read == "sum":
            bias = bias / self.build.timesteps
        return self.emit(op(**fields, **({} if bias is None else {"shift" if op is Scale else "bias": bias})), x.node)

    def scaled(self, x: Value, scale: Any = 1.0, shift: Any = None) -> Value:
        """Emit ``scale * x + shift``."""
        scale = np.asarray(scale, np.float64)
        shift = None if shift is None else np.asarray(shift, np.float64)
        return self.out(self.affine(x, Scale, bias=shift, scale=scale), x.axes, x.read)


FIX_MIXED = "keep time and batch apart from the features: reshape only one of them at a time"


def shown(axes: Axes) -> str:
    """The names of axes as messages give them."""
    return "[" + ", ".join({"F": "feature"}.get(name, name) for name in axes) + "]"


def _examples(args: Any) -> Any:
    """The same arguments with each value replaced by its example."""
    if isinstance(args, Value):
        return args.example
    if isinstance(args, tuple | list):
        return type(args)(_examples(item) for item in args)
    if isinstance(args, dict):
        return {key: _examples(item) for key, item in args.items()}
    if isinstance(args, slice):
        return slice(*map(_examples, (args.start, args.stop, args.step)))
    return args


def _unsupported_call(node: fx.Node) -> Refused:
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
    return Refused(f"{name} is not supported", "docs/supported.md has a table of what is")


def unsupported(module: nn.Module) -> Refused:
    """Why a module that nothing lowers is refused."""
    bases = [kind.__name__ for kind in (*NEURONS, *READOUTS) if isinstance(module, kind)]
    if bases or hasattr(module, "surrogate_function"):
        derived = f", which derives from {bases[0]}," if bases else ""
        what = f"the neuron {type(module).__name__}{derived} may compute something of its own"
        return Refused(what, "give its equation with the decorator neurocompile.neuron")
    return Refused(f"{type(module).__name__} is not supported", "replace it, or leave it outside the exported model")


def _plain(module: nn.Module, kind: type) -> bool:
    """Whether a module computes what ``kind`` does: it is one, or SpikingJelly's wrapper directly around one."""
    cls = type(module)
    return cls is kind or (cls.__mro__[1] is kind and cls.__module__.startswith("spikingjelly.activation_based.layer"))


def array(tensor: torch.Tensor | None) -> Any:
    """A tensor in float64, None as None."""
    return None if tensor is None else tensor.detach().double().numpy()


def sizes_of(value: Any, rank: int) -> tuple[int, ...]:
    """One number for each of ``rank`` axes."""
    return (int(value),) * rank if isinstance(value, int) else tuple(int(v) for v in value)
