"""Model files of the first version: a graph of torch.fx whose leaves are torch modules. They are only read."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import fx, nn

from neurocompile.errors import BadInput, Problem
from neurocompile.frontends.pytorch.axes import LAYOUTS
from neurocompile.frontends.pytorch.onhost import OnHost
from neurocompile.frontends.pytorch.plain import neuron_of
from neurocompile.ir.host import host_from_plain
from neurocompile.ir.ops import Read
from neurocompile.models.feedback import Feedback

__all__ = ["check_version1", "module_of"]

_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    F.linear,
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
    F.batch_norm,
    F.avg_pool1d,
    F.avg_pool2d,
    F.avg_pool3d,
    F.max_pool1d,
    F.max_pool2d,
    F.max_pool3d,
    torch.max_pool1d,
    torch.max_pool2d,
    torch.max_pool3d,
    F.adaptive_avg_pool1d,
    F.adaptive_avg_pool2d,
    F.adaptive_avg_pool3d,
    F.interpolate,
    F.upsample,
    F.dropout,
    F.dropout2d,
    F.dropout3d,
    torch.flatten,
    torch.reshape,
    torch.unsqueeze,
    torch.squeeze,
    torch.unflatten,
    torch.permute,
    torch.transpose,
    torch.movedim,
    torch.cat,
    torch.concat,
    torch.stack,
    torch.add,
    operator.add,
    operator.iadd,
    torch.sub,
    operator.sub,
    operator.isub,
    torch.mul,
    operator.mul,
    operator.imul,
    torch.div,
    operator.truediv,
    operator.itruediv,
    operator.neg,
    torch.mean,
    torch.sum,
    operator.getitem,
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

METHODS = frozenset(['abs', 'add', 'add_', 'argmax', 'argmin', 'bmm', 'clamp', 'clone', 'contiguous', 'cos', 'cpu', 'detach', 'dim', 'div', 'double', 'exp', 'expand', 'flatten', 'float', 'int', 'log', 'long', 'matmul', 'mean', 'movedim', 'mul', 'numel', 'permute', 'pow', 'relu', 'repeat', 'reshape', 'sigmoid', 'sin', 'size', 'softmax', 'sqrt', 'squeeze', 'squeeze_', 'sub', 'sum', 'tanh', 'to', 'transpose', 'type_as', 'unflatten', 'unsqueeze', 'unsqueeze_', 'view'])


def _name(function: Callable[..., Any]) -> str:
    home = function.__module__ or "torch"
    return f"{home.removeprefix('_')}.{function.__name__}"


_BY_NAME: dict[str, Callable[..., Any]] = {_name(f): f for f in _FUNCTIONS}


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


def check_version1(content: Mapping[str, Any], path: Path) -> None:
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
        elif "host" in module and not _is_host(module):
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
    return neuron_of(plain, timesteps)


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
    return graph.create_node(plain["op"], target, args, kwargs, plain["name"])


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
