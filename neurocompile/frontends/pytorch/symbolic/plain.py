"""The content of a model file: a traced torch graph as numbers, names and modules, and back."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import fx, nn

from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.frontends.pytorch.axes import LAYOUTS
from neurocompile.frontends.pytorch.onhost import OnHost, is_host
from neurocompile.frontends.pytorch.symbolic.lower import FUNCTIONS, METHODS
from neurocompile.frontends.pytorch.symbolic.lowering import HostCall
from neurocompile.frontends.pytorch.symbolic.model import SymbolicModel
from neurocompile.frontends.pytorch.symbolic.neurons import NEURONS, Recorded, is_registered, layout_of, lower_neuron
from neurocompile.frontends.pytorch.symbolic.trace import cleaned, is_leaf, prepare, trace_module
from neurocompile.ir.host import HostRegion, host_from_plain, host_to_plain
from neurocompile.ir.ops import Array, Integrator, Neuron, Read
from neurocompile.ir.trace import Trace
from neurocompile.vocabulary.feedback import Feedback

__all__ = ["FORMAT", "VERSION", "check_plain", "module_of", "recording_from_plain", "recording_to_plain", "to_plain"]

FORMAT = "neurocompile-model"
VERSION = 1

# Functions that a traced graph may name beside those that are lowered: arithmetic on sizes.
_ON_SIZES = (
    builtins.getattr,
    operator.floordiv,
    operator.mod,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.gt,
    operator.le,
    operator.ge,
)


def _name(function: Callable[..., Any]) -> str:
    home = function.__module__ or "torch"
    return f"{home.removeprefix('_')}.{function.__name__}"


_BY_NAME: dict[str, Callable[..., Any]] = {_name(f): f for f in (*FUNCTIONS, *_ON_SIZES)}


# -- to plain data -----------------------------------------------------------------------------------------------------


def to_plain(model: nn.Module, traced: SymbolicModel) -> dict[str, Any]:
    """What a model file holds: everything but a recording."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "layout": traced.layout,
        "timesteps": traced.timesteps,
        "input_shapes": {name: tuple(shape) for name, shape in traced.input_shapes.items()},
        "readout": traced.read,
        "carries": traced.carries,
        **_graph_to_plain(nn.Sequential(model) if is_leaf(model) else model, traced.traced.graph, "", traced),
        "example": {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in traced.example.items()},
    }


def _graph_to_plain(root: nn.Module, graph: fx.Graph, prefix: str, traced: SymbolicModel) -> dict[str, Any]:
    """A traced graph, the modules that it calls (of the live model), the tensors that it reads."""
    graph.eliminate_dead_code(lambda node: node.is_impure() or _keeps_state(root, node))
    modules: dict[str, Any] = {}
    renamed: dict[fx.Node, dict[str, str]] = {}
    for node in graph.nodes:
        if node.op != "call_module":
            continue
        path = str(node.target)
        module = root.get_submodule(path)
        if isinstance(module, Feedback):
            if path in modules:
                what = "a Feedback that is called more than once cannot be saved"
                raise UsageError(Problem(what, f"{prefix}{path}", fix="give each place its own Feedback"))
            modules[path] = _feedback_to_plain(module, node, f"{prefix}{path}", traced)
        elif is_host(module):  # one for each call, as each may read other axes and shapes
            call = traced.host_calls[f"{prefix}{node.name}"]
            path = call.region.removeprefix(prefix)
            modules[path], renamed[node] = _host_to_plain(traced.graph.hosts[call.region], call), {"target": path}
        else:
            modules[path] = _module_to_plain(f"{prefix}{path}", module, traced)
    return {
        "nodes": [{**_node_to_plain(node), **renamed.get(node, {})} for node in graph.nodes],
        "modules": modules,
        "tensors": {
            str(n.target): _tensor(root, graph, str(n.target)).detach().clone()
            for n in graph.nodes
            if n.op == "get_attr"
        },
    }


def _keeps_state(root: nn.Module, node: fx.Node) -> bool:
    """Whether a call changes what a later call of the same module gives, even if nothing reads its result."""
    if node.op != "call_module":
        return False
    return any(
        is_registered(m) or isinstance(m, tuple(NEURONS)) for m in root.get_submodule(str(node.target)).modules()
    )


def _feedback_to_plain(module: Feedback, node: fx.Node, path: str, traced: SymbolicModel) -> dict[str, Any]:
    """What is fed back, as a graph of its own: one step of it."""
    steps = node.meta["step"]
    last = steps[0].new_zeros(len(steps[0]), *module.shape)
    inner = trace_module(prepare(module.inner), (*steps, last))
    return {"shape": list(module.shape), "inner": _graph_to_plain(module.inner, inner.graph, f"{path}.inner.", traced)}


def _module_to_plain(path: str, module: nn.Module, traced: SymbolicModel) -> Any:
    if is_registered(module):
        shape = traced.graph.edges[path].shape
        op = lower_neuron(module, shape, path)
        plain = {k: torch.from_numpy(np.array(v)) if isinstance(v, np.ndarray) else v for k, v in vars(op).items()}
        known = {"registered": type(module).__name__, "layout": layout_of(module), "equation": plain}
        return {**known, "membrane": True} if isinstance(op, Integrator) else known
    if any(is_registered(inner) for inner in module.modules()):
        what = "a registered neuron inside a SpikingJelly container cannot be saved"
        raise UsageError(Problem(what, path, fix="call it outside the container, in multi-step mode"))
    if any(is_host(inner) for inner in module.modules()):
        what = "a module that a host computes cannot be saved inside a SpikingJelly container"
        fix = "call it outside the container, or write its loop with neurocompile.vocabulary.feedback.Feedback"
        raise UsageError(Problem(what, path, fix=fix))
    return cleaned(module)


def _host_to_plain(region: HostRegion, call: HostCall) -> dict[str, Any]:
    plain = {**host_to_plain(region), "model": torch.from_numpy(np.frombuffer(region.model, np.uint8).copy())}
    return {"host": plain, "axes": [list(names) for names in call.axes], "result_axes": list(call.result_axes)}


def _tensor(root: nn.Module, graph: fx.Graph, path: str) -> torch.Tensor:
    """A tensor of the live model; or one that its forward made, which torch.fx keeps."""
    made = path.startswith("_tensor_constant")
    found: torch.Tensor = _attribute(graph.owning_module if made else root, path)
    return found


def _attribute(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = getattr(root, part)
    return root


def _node_to_plain(node: fx.Node) -> dict[str, Any]:
    target: Any = node.target
    if node.op == "call_function":
        target = _name(target)
        if target not in _BY_NAME:
            raise UsageError(Problem(f"{target} cannot be saved", node.name, fix="write it with torch functions"))
    plain = {
        "op": node.op,
        "name": node.name,
        "target": target,
        "args": _argument_to_plain(node.args),
        "kwargs": _argument_to_plain(dict(node.kwargs)),
    }
    return {**plain, "line": node.meta["line"]} if "line" in node.meta else plain


def _argument_to_plain(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"kind": "node", "name": value.name}
    if isinstance(value, slice):
        return {"kind": "slice", "parts": [_argument_to_plain(p) for p in (value.start, value.stop, value.step)]}
    if isinstance(value, torch.dtype):
        return {"kind": "dtype", "name": str(value).removeprefix("torch.")}
    if isinstance(value, tuple):
        return {"kind": "tuple", "items": [_argument_to_plain(item) for item in value]}
    if isinstance(value, list):
        return [_argument_to_plain(item) for item in value]
    if isinstance(value, dict):
        return {"kind": "dict", "items": {key: _argument_to_plain(item) for key, item in value.items()}}
    return value


def recording_to_plain(reference: Trace) -> dict[str, Any]:
    """A reference run as tensors."""

    def tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in arrays.items()}

    return {
        "outputs": tensors(reference.outputs),
        "spikes": tensors(reference.spikes),
        "margins": tensors(reference.margins),
        "thresholds": dict(reference.thresholds),
    }


# -- and back, from a file that may hold anything ----------------------------------------------------------------------


def module_of(content: Mapping[str, Any]) -> fx.GraphModule:
    """The torch graph of a file that was checked, as a module."""
    root = nn.Module()
    for target, plain in content["modules"].items():
        _place(root, target, _module_from_plain(plain, content["timesteps"]))
    for target, tensor in content["tensors"].items():
        _place(root, target, nn.Parameter(tensor, requires_grad=False))
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    for plain in content["nodes"]:
        made[plain["name"]] = _node_from_plain(graph, plain, made)
    graph.lint()
    module = fx.GraphModule(root, graph)
    module.training = False
    return module


# What a traced graph asks of a tensor besides computing with it.
_ATTRIBUTES = ("shape", "ndim", "dtype", "device")


def check_plain(content: Mapping[str, Any], path: Path) -> None:
    """Hold a file against what :func:`save` writes, before torch.fx turns its graph into source code.

    Raises:
        BadInput: if a node names anything but the layers, functions and methods that can be lowered.
    """
    wrong = _unknown(content)
    wrong += [str(name) for name in content["input_shapes"] if not str(name).isidentifier()]
    header = {
        "layout": content["layout"] in LAYOUTS,
        "timesteps": type(content["timesteps"]) is int and content["timesteps"] >= 1,
        "readout": content["readout"] in (None, *get_args(Read)),
        "carries": content["carries"] in ("real", "spikes"),
    }
    wrong += [name for name, fits in header.items() if not fits]
    if wrong:
        what = "the model file holds what neurocompile.save never writes; nothing was run"
        raise BadInput(
            Problem(what, str(path), ", ".join(wrong[:5]), fix="save the model again with neurocompile.save")
        )


def _unknown(content: Mapping[str, Any]) -> list[str]:
    """The nodes and modules of a graph that no traced model has."""
    wrong = [
        str(node.get("name"))
        for node in content["nodes"]
        if not isinstance(node, dict) or not _is_known(node, content) or not _is_plain((node["args"], node["kwargs"]))
    ]
    # torch.fx writes paths into the source code that it makes.
    wrong += [str(path) for path in (*content["modules"], *content["tensors"]) if not _is_path(path)]
    if [node.get("op") for node in content["nodes"] if isinstance(node, dict)].count("output") != 1:
        wrong.append("output")
    for target, module in content["modules"].items():
        if not isinstance(module, dict):
            continue
        if "inner" in module:
            wrong += [f"{target}.inner.{name}" for name in _unknown(module["inner"])]
        elif not (_is_host(module) if "host" in module else _is_neuron(module)):
            wrong.append(target)
    return wrong


def _is_path(path: Any) -> bool:
    """Whether this is a dotted path of names and numbers."""
    return isinstance(path, str) and all(f"_{part}".isidentifier() and part for part in path.split("."))


def _is_known(node: Mapping[str, Any], content: Mapping[str, Any]) -> bool:
    target, args = node["target"], node["args"]
    if not str(node["name"]).isidentifier() or not isinstance(target, str):
        return False
    match node["op"]:
        case "placeholder" | "output":
            return target.isidentifier()
        case "call_module":
            return target in content["modules"]
        case "get_attr":
            return target in content["tensors"]
        case "call_method":
            return target in METHODS
        case "call_function":
            attribute = args["items"][1] if target == _name(getattr) else _ATTRIBUTES[0]
            return target in _BY_NAME and attribute in _ATTRIBUTES
    return False


def _is_plain(value: Any) -> bool:
    """Whether an argument is built of numbers, strings of options and references to nodes only."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        match value.get("kind"):
            case "node":
                return str(value["name"]).isidentifier()
            case "dtype":
                return isinstance(getattr(torch, str(value["name"]), None), torch.dtype)
            case "slice":
                return all(map(_is_plain, value["parts"]))
            case "tuple":
                return all(map(_is_plain, value["items"]))
            case "dict":
                return all(str(key).isidentifier() and _is_plain(item) for key, item in value["items"].items())
        return False
    if isinstance(value, str):
        return value.replace("-", "_").isidentifier()
    return value is None or type(value) in (int, float, bool)


def _is_neuron(module: Mapping[str, Any]) -> bool:
    """Whether a stand-in for a registered neuron holds a layout, and an equation of numbers and names of resets."""
    values = module["equation"]
    if module.get("layout") not in (None, *LAYOUTS):
        return False
    names = {f.name for f in fields(Integrator if module.get("membrane") else Neuron)}
    return set(values) <= names and all(
        value is None or isinstance(value, torch.Tensor | int | bool) or value in ("to", "by", "none")
        for value in values.values()
    )


def _is_host(module: Mapping[str, Any]) -> bool:
    """Whether a stand-in for a host region is made of names, numbers and ONNX only."""
    axes = [*module["axes"], module["result_axes"]]
    return isinstance(module["host"].get("model"), torch.Tensor) and all(
        name in ("T", "N", "TN", "F", "1") for names in axes for name in names
    )


def _module_from_plain(plain: Any, timesteps: int) -> nn.Module:
    if isinstance(plain, nn.Module):
        return plain
    if "inner" in plain:
        inner = module_of({**plain["inner"], "timesteps": timesteps})
        return Feedback(inner, tuple(plain["shape"]))
    if "host" in plain:
        region = host_from_plain(plain["host"], plain["host"]["model"].numpy().tobytes())
        return OnHost(region, [tuple(names) for names in plain["axes"]], tuple(plain["result_axes"]), timesteps)
    values: dict[str, Any] = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in plain["equation"].items()}
    # Before there were layouts, every registered neuron took [T, N, ...] or one step.
    equation = Integrator(**values) if plain.get("membrane") else Neuron(**values)
    made = Recorded(plain["registered"], equation, plain.get("layout"))
    made.timesteps = timesteps
    return made


def _place(root: nn.Module, target: str, value: Any) -> None:
    """Put a module or parameter under a dotted path, with plain modules on the way."""
    *way, last = target.split(".")
    for part in way:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    setattr(root, last, value)


def _node_from_plain(graph: fx.Graph, plain: Mapping[str, Any], made: Mapping[str, fx.Node]) -> fx.Node:
    target = _BY_NAME[plain["target"]] if plain["op"] == "call_function" else plain["target"]
    args, kwargs = (_argument_from_plain(plain[key], made) for key in ("args", "kwargs"))
    node = graph.create_node(plain["op"], target, args, kwargs, plain["name"])
    if "line" in plain:
        node.meta["line"] = str(plain["line"])
    return node


def _argument_from_plain(value: Any, made: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_argument_from_plain(item, made) for item in value]
    if not isinstance(value, dict):
        return value
    match value["kind"]:
        case "node":
            return made[value["name"]]
        case "slice":
            return slice(*(_argument_from_plain(part, made) for part in value["parts"]))
        case "dtype":
            return getattr(torch, value["name"])
        case "tuple":
            return tuple(_argument_from_plain(item, made) for item in value["items"])
    return {key: _argument_from_plain(item, made) for key, item in value["items"].items()}


def recording_from_plain(plain: Mapping[str, Any]) -> Trace:
    """The reference run that a file holds."""
    arrays: dict[str, Any] = {
        kind: {name: x.numpy() for name, x in plain[kind].items()} for kind in ("outputs", "spikes", "margins")
    }
    return Trace(**arrays, thresholds=dict(plain["thresholds"]))
