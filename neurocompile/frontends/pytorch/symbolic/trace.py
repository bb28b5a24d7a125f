"""A live torch module becomes a torch.fx graph whose leaves are layers and neurons."""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import fx, nn

from neurocompile.errors import BadInput, Problem, UnsupportedModel
from neurocompile.frontends.pytorch.checks import check_module
from neurocompile.frontends.pytorch.onhost import is_host
from neurocompile.frontends.pytorch.places import user_line
from neurocompile.frontends.pytorch.symbolic.neurons import NEURONS, READOUTS, is_registered
from neurocompile.printable import first_line
from neurocompile.vocabulary.feedback import Feedback
from neurocompile.vocabulary.temporal import TemporalGain

__all__ = ["check_module", "cleaned", "is_leaf", "prepare", "trace_module"]

# torch says on stderr that it found no Triton, whoever asks.
logging.getLogger("torch._library.triton").setLevel(logging.ERROR)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is lowered as a whole rather than through its forward."""
    if is_registered(module) or is_host(module) or isinstance(module, (*NEURONS, *READOUTS, Feedback, TemporalGain)):
        return True
    if type(module) in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
        return False
    home = type(module).__module__
    return home.startswith(("torch.nn.", "spikingjelly.activation_based.")) and ".model." not in home


def prepare(model: nn.Module) -> nn.Module:
    """A float64 copy in eval mode with cleared states; the model itself stays as it is."""
    prepared = cleaned(model).double().eval()
    for module in prepared.modules():
        if is_registered(module):
            module.register_forward_hook(_in_the_precision_of_its_input)
    return prepared


def _in_the_precision_of_its_input(module: nn.Module, args: Any, sent: Any) -> Any:
    """Authors' neurons often make float32 of whatever they are given."""
    return sent.to(args[0].dtype) if isinstance(sent, torch.Tensor) else sent


def cleaned(model: nn.Module) -> nn.Module:
    """A copy with cleared states."""
    copied = copy.deepcopy(model, _kept_tensors(model))
    functional.reset_net(copied)
    for module in copied.modules():
        if getattr(module, "v_seq", None) is not None:
            setattr(module, "v_seq", None)  # noqa: B010 (a state, no submodule)
    return copied


def _kept_tensors(model: nn.Module) -> dict[int, torch.Tensor]:
    """A memo for deepcopy: states left from training hang on a graph of gradients, which deepcopy refuses."""
    states = [value for m in model.modules() for value in (*vars(m).values(), *vars(m).get("_memories", {}).values())]
    return {id(s): s.detach().clone() for s in states if isinstance(s, torch.Tensor) and not s.is_leaf}


def trace_module(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> fx.GraphModule:
    """Trace a prepared module (:func:`prepare`) on float64 inputs in the layout of its forward.

    Whole numbers (int64) among the inputs are given to forward as such, by a ``long()`` at the head of the graph, whose
    own inputs are float64 all the same. Decisions that a forward takes on shapes are taken as for these inputs; sizes
    themselves stay symbolic, so the result runs on any batch.

    Raises:
        BadInput: if the model cannot run on such inputs.
        UnsupportedModel: if its forward decides on values, or does what torch.fx cannot follow.
    """
    if is_leaf(model):
        model = nn.Sequential(model)
    tracer = _Tracer(inputs)
    try:
        with torch.no_grad():
            graph = tracer.trace(model)
    except (BadInput, UnsupportedModel):
        raise
    except Exception as error:
        what = f"torch.fx cannot follow this forward: {error}"
        fix = "write the forward with tensor operations only, without print, numpy or decisions on values"
        raise UnsupportedModel(Problem(what, tracer.where or type(model).__name__, fix=fix)) from error
    return fx.GraphModule(model, graph, type(model).__name__)


class _Proxy(fx.Proxy):
    """A proxy that knows its value on the example, so that loops over time and checks of shapes can be followed.

    Once forward has forgotten it, so is the value, whose place the next ones need.
    """

    tracer: _Tracer

    def __del__(self) -> None:
        if self.node.op != "placeholder":
            self.node.meta.pop("value", None)

    def __index__(self) -> int:
        value = self.tracer.known(self.node)
        if not isinstance(value, int):
            raise TypeError(f"{type(value).__name__} is not a whole number")
        return value

    def __len__(self) -> int:
        return len(self.tracer.known(self.node))

    def __getattr__(self, k: str) -> fx.proxy.Attribute:
        return _Attribute(self, k)


class _Attribute(fx.proxy.Attribute):
    """Something of a tensor, as ``x.shape``, that knows how long it is."""

    tracer: _Tracer

    def __len__(self) -> int:
        return len(self.tracer.known(self.node))


class _Tracer(fx.Tracer):
    def __init__(self, inputs: tuple[torch.Tensor, ...]) -> None:
        super().__init__()
        self._inputs = list(inputs)
        self._computing = False  # while the example's values are computed, nothing is traced
        self.where = ""

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(module)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if self._computing:
            return forward(*args, **kwargs)
        self.where = self.path_of_module(m)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self._computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **named: Any) -> Any:
        if kind == "placeholder":
            if str(target).startswith("*"):
                what, fix = f"forward takes {target}", "give each argument a name of its own"
                raise UnsupportedModel(Problem(what, self.where or type(self.root).__name__, fix=fix))
            if args and not self._inputs:
                return args[0]  # as in a call that leaves this argument out
            args = ()
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **named)
        if line := user_line(trace_module):
            proxy.node.meta["line"] = line
        value = proxy.node.meta["value"] = self._value(proxy.node)
        if kind == "placeholder" and value.dtype == torch.int64:
            proxy.node.meta["value"] = value.double()
            return proxy.long()
        return proxy

    def _value(self, node: fx.Node) -> Any:
        """What the node gives on the example."""
        if node.op == "placeholder":
            if not self._inputs:
                what = f"forward takes the argument {node.target!r}, for which there is no input"
                raise BadInput(Problem(what, fix="give one example input for each argument of forward"))
            return self._inputs.pop(0)
        if node.op == "output":
            return None
        given: Any = fx.node.map_arg((node.args, node.kwargs), self.known)
        args, kwargs = given
        if node.op == "call_module" and isinstance(self.root.get_submodule(str(node.target)), Feedback):
            node.meta["step"] = tuple(x[0].clone() for x in args)  # of which what is inside is traced
        self._computing = True
        try:
            return run_node(self.root, node, args, kwargs)
        finally:
            self._computing = False

    def known(self, node: fx.Node) -> Any:
        """The value of a node, computed (again) where there is none: fx makes nodes for buffers without a proxy."""
        if "value" not in node.meta:
            node.meta["value"] = self._value(node)
        return node.meta["value"]

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = self.known(obj.node)
        if isinstance(value, torch.Tensor):
            what = "its forward decides on the values of a tensor"
            raise UnsupportedModel(Problem(what, self.where, fix="decide on shapes or settings only"))
        return bool(value)

    def iter(self, obj: fx.Proxy) -> Any:
        value = self.known(obj.node)
        items: Any = obj
        return iter([items[i] for i in range(len(value))])


@torch.no_grad()
def run_node(root: Any, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """Do what one node says, on values.

    Raises:
        BadInput: if torch refuses.
    """
    try:
        match node.op:
            case "get_attr":
                value = root
                for part in str(node.target).split("."):
                    value = getattr(value, part)
                return value
            case "call_module":
                module = root.get_submodule(str(node.target))
                functional.reset_net(module)
                value = module(*args, **kwargs)
                # SpikingJelly's DSR nodes give float32 whatever they are given.
                return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            case "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            case _:
                assert callable(node.target)
                return node.target(*args, **kwargs)
    except Exception as error:
        shapes = ", ".join(str(list(a.shape)) for a in args if isinstance(a, torch.Tensor))
        what = f"torch cannot run it: {first_line(error)}"
        fix = "check --input-shape (without batch and time), --timesteps and --layout"
        if node.op == "call_module" and is_registered(root.get_submodule(str(node.target))):
            fix += "; a neuron that keeps its state between calls needs a method reset(), which clears it"
        raise BadInput(Problem(what, _where(node), f"input {shapes}" if shapes else "", "", fix)) from error


def _where(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else f"{node.name} ({node.op})"
