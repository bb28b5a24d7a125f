"""``model.pt``: what :func:`save` writes, pickled modules, state_dicts; read without running what they contain."""

from __future__ import annotations

import builtins
import importlib
import io
import operator
import os
import pickletools
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from spikingjelly.activation_based import layer, neuron, surrogate
from torch import fx, nn

from neurocompile.data import write_file
from neurocompile.errors import BadInput, NeurocompileError, Problem, UnsupportedModel, UsageError
from neurocompile.frontends.pytorch.lower import FUNCTIONS, METHODS
from neurocompile.frontends.pytorch.model import LAYOUTS, Layout, Reference, TorchModel, likely_layouts, separate
from neurocompile.frontends.pytorch.neurons import Recorded, is_registered, lower_neuron
from neurocompile.frontends.pytorch.trace import check_module, cleaned, is_leaf, prepare
from neurocompile.ir.ops import Array, Neuron, Read
from neurocompile.models.mpbn import MPBNLIF, StrictRectangle

__all__ = ["load_model", "save"]

_FORMAT = "neurocompile-model"
_VERSION = 1

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


def save(
    model: nn.Module,
    path: str | os.PathLike[str],
    example_input: torch.Tensor | tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor],
    *,
    layout: Layout | None = None,
    timesteps: int | None = None,
    readout: Read | None = None,
    carries: Literal["real", "spikes"] = "real",
) -> None:
    """Write a model so that ``neurocompile export`` needs neither its class nor its source.

    The file holds the traced torch graph: torch and SpikingJelly modules with their weights, how they are connected,
    and the example input. Used as a reference it is rebuilt and run by torch. For neuron classes that were registered
    with :func:`neurocompile.neuron` it holds their equation and a recording of the live model in float64.

    Args:
        model: in eval mode; it stays as it is.
        path: the file, written completely or not at all.
        example_input: a few real samples as forward takes them: they also choose the ranges of inputs.
        layout: how forward takes time and batch: "TN" [T, N, ...], "NT", "N..T", "fold" [T*N, ...], "loop" (one step
            a call), "N" ([N, ...]; forward itself makes the steps). None: found out.
        timesteps: T, where the layout does not tell it.
        readout: how an output that still has time is read; None: its mean.
        carries: "spikes" if the inputs are 0 or 1.

    Raises:
        UnsupportedModel: with everything in the model that cannot be lowered exactly.
        UsageError: if the number of steps is not known, or the layout is none of these.
    """
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(Problem("unknown layout", "layout", str(layout), ", ".join(LAYOUTS)))
    tensors = _tensors(example_input)
    chosen = layout or likely_layouts(model)[0]
    steps = _timesteps(next(iter(tensors.values())), chosen, timesteps)
    example = {name: separate(x, chosen, steps) for name, x in tensors.items()}
    broken = [name or "example_input" for name, x in example.items() if not np.isfinite(x).all()]
    if broken:
        raise BadInput(
            [Problem("the example holds NaN or infinite values", name, fix="give real samples") for name in broken]
        )
    rank = next(iter(tensors.values())).ndim - (0 if chosen in ("TN", "NT", "N..T") else -1)
    shapes = {name: x.shape[x.ndim - (rank - 2) :] for name, x in example.items()}
    traced = TorchModel.from_module(model, shapes, steps, chosen, readout, carries)
    traced.example = dict(zip(traced.input_shapes, example.values(), strict=True))
    content = _content(model, traced)
    if traced.registered:
        inputs = _with_time(traced.example, traced.input_shapes, steps)
        content["recording"] = _recording_to_plain(traced.run(inputs))
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_file(Path(path), buffer.getvalue())


def _tensors(example: Any) -> dict[str, torch.Tensor]:
    if isinstance(example, torch.Tensor):
        return {"": example}
    if isinstance(example, Mapping):
        return dict(example)
    return {str(number): x for number, x in enumerate(example)}


def _timesteps(x: torch.Tensor, layout: Layout, given: int | None) -> int:
    axis = {"TN": 0, "NT": 1, "N..T": -1}.get(layout)
    if axis is not None and given not in (None, x.shape[axis]):
        what, fix = f"axis {axis} of the example is time", "leave out timesteps"
        raise UsageError(Problem(what, "timesteps", str(given), str(x.shape[axis]), fix))
    if axis is None and given is not None:
        return given
    if axis is None:
        what = f"layout {layout!r} does not tell the number of steps"
        raise UsageError(Problem(what, "timesteps", fix="give timesteps=T"))
    return int(x.shape[axis])


def _with_time(example: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], timesteps: int) -> dict[str, Array]:
    return {
        name: x if x.ndim > len(shapes[name]) + 1 else np.repeat(x[:, None], timesteps, axis=1)
        for name, x in example.items()
    }


# -- writing -----------------------------------------------------------------------------------------------------------


def _content(model: nn.Module, traced: TorchModel) -> dict[str, Any]:
    graph = traced.traced.graph
    graph.eliminate_dead_code()
    root = nn.Sequential(model) if is_leaf(model) else model
    leaves = {str(n.target): root.get_submodule(str(n.target)) for n in graph.nodes if n.op == "call_module"}
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "layout": traced.layout,
        "timesteps": traced.timesteps,
        "input_shapes": {name: tuple(shape) for name, shape in traced.input_shapes.items()},
        "readout": traced.read,
        "carries": traced.carries,
        "nodes": [_node_to_plain(node) for node in graph.nodes],
        "modules": {path: _module_to_plain(path, module, traced) for path, module in leaves.items()},
        "tensors": {
            str(n.target): _attribute(root, str(n.target)).detach().clone() for n in graph.nodes if n.op == "get_attr"
        },
        "example": {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in traced.example.items()},
    }


def _module_to_plain(path: str, module: nn.Module, traced: TorchModel) -> Any:
    if is_registered(module):
        shape = traced.graph.edges[path].shape
        op = lower_neuron(module, shape, path)
        plain = {k: torch.from_numpy(np.array(v)) if isinstance(v, np.ndarray) else v for k, v in vars(op).items()}
        return {"registered": type(module).__name__, "equation": plain}
    if any(is_registered(inner) for inner in module.modules()):
        what = "a registered neuron inside a SpikingJelly container cannot be saved"
        raise UsageError(Problem(what, path, fix="call it outside the container, in multi-step mode"))
    return cleaned(module)


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
    return {
        "op": node.op,
        "name": node.name,
        "target": target,
        "args": _argument_to_plain(node.args),
        "kwargs": _argument_to_plain(dict(node.kwargs)),
    }


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


def _recording_to_plain(reference: Reference) -> dict[str, Any]:
    def tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in arrays.items()}

    return {
        "outputs": tensors(reference.outputs),
        "spikes": tensors(reference.spikes),
        "margins": tensors(reference.margins),
        "thresholds": dict(reference.thresholds),
    }


# -- reading -----------------------------------------------------------------------------------------------------------


def load_model(
    path: Path,
    *,
    input_shape: tuple[int, ...] | None = None,
    timesteps: int | None = None,
    layout: Layout | None = None,
    readout: Read | None = None,
    carries: Literal["real", "spikes"] | None = None,
    arch: str | None = None,
    trust: bool = False,
    otherwise: tuple[tuple[int, ...], int] | None = None,
) -> TorchModel:
    """Read a model, trace it and lower it.

    Args:
        path: written by :func:`save`, a pickled module, or a state_dict.
        input_shape: without batch and time; a save file knows it.
        timesteps: T; a save file knows it.
        layout: as for :func:`save`.
        readout: as for :func:`save`.
        carries: as for :func:`save`; None: what the file says, or "real".
        arch: ``package.module:factory``, which makes the module that a state_dict belongs to.
        trust: unpickle anything, which runs whatever code the file holds.
        otherwise: the input shape and T for a file that does not say them, where the user gave none.

    Raises:
        BadInput: for a file that is missing, damaged, or that wants classes which are not allowed.
        UsageError: if the shape or the number of steps is not known.
        UnsupportedModel: with everything in the model that cannot be lowered exactly.
    """
    found = _unpickle(path, trust)
    if isinstance(found, dict) and found.get("format") == _FORMAT:
        _check_agrees(found, input_shape, timesteps, layout)
        return _from_plain(found, path, readout, carries)
    if isinstance(found, dict) and found and all(isinstance(v, torch.Tensor) for v in found.values()):
        found = _with_state(found, path, arch)
    if not isinstance(found, nn.Module):
        what = f"this holds a {type(found).__name__}, no model"
        raise BadInput(Problem(what, str(path), fix="write it with neurocompile.save or torch.save(model, path)"))
    if otherwise is not None:
        input_shape, timesteps = input_shape or otherwise[0], timesteps or otherwise[1]
    missing = [
        Problem(f"a pickled module does not say its {what}", option, fix=f"give {option}, or use neurocompile.save")
        for what, option, value in (
            ("input shape", "--input-shape C,H,W", input_shape),
            ("number of steps", "--timesteps T", timesteps),
        )
        if value is None
    ]
    if missing:
        raise UsageError(missing)
    assert input_shape is not None
    assert timesteps is not None
    return TorchModel.from_module(found, input_shape, timesteps, layout, readout, carries or "real")


def _unpickle(path: Path, trust: bool) -> Any:
    if not path.is_file():
        what = "no such file" if not path.exists() else "this is a folder, not a model"
        raise BadInput(Problem(what, str(path), fix="check the path"))
    damaged = "train or save it again, or copy it again: it may be cut short"
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_allowed()):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=not trust)
    except Exception as error:
        unsafe = [] if trust else _unsafe_names(path)
        if any(name.endswith(".UninitializedParameter") for name in unsafe):
            what, fix = (
                "it holds lazy modules, which have no weights yet",
                "run the model once on real data, then save it",
            )
            raise UnsupportedModel(Problem(what, str(path), fix=fix)) from error
        if not unsafe:
            raise BadInput(
                Problem(f"cannot be read as a torch file: {_first(error)}", str(path), fix=damaged)
            ) from error
        what = "the file wants to load " + ", ".join(unsafe) + ", which could run anything; nothing was run"
        fix = (
            "in the program that has the class: neurocompile.save(model, path, example_input); "
            "or save model.state_dict() and give --arch package.module:factory; "
            "or, only if you trust who made the file, --trust"
        )
        raise BadInput(Problem(what, str(path), fix=fix)) from error


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _unsafe_names(path: Path) -> list[str]:
    """What a checkpoint would import beyond what is allowed, without importing it."""
    known = {f"{kind.__module__}.{kind.__qualname__}" for kind in _allowed() if isinstance(kind, type)}
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
        except (zipfile.BadZipFile, OSError, EOFError):
            return []
    else:
        pickles = [path.read_bytes()]
    found = {name for content in pickles for name in _imports(content)}
    usual = ("torch._", "torch.nn.parameter.Parameter", "torch.Size", "torch.float", "collections.", "_codecs.")
    return sorted(name for name in found - known if not name.startswith(usual) and not name.endswith("Storage"))


def _imports(content: bytes) -> Iterator[str]:
    """The names that pickles, one after the other, would import: read from their opcodes, which are not run."""
    stream = io.BytesIO(content)
    strings: list[str] = []
    try:
        while stream.tell() < len(content):
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    yield str(argument).replace(" ", ".").replace("__builtin__.", "builtins.")
                elif opcode.name == "STACK_GLOBAL":
                    yield ".".join(strings[-2:])
                elif isinstance(argument, str):
                    strings.append(argument)
    except Exception:  # the rest is no pickle: storages follow, or the file is cut short
        return


def _allowed() -> list[Any]:
    """The classes that a model file may name: torch's and SpikingJelly's layers and neurons, and the MPBN neuron."""
    found: list[Any] = [MPBNLIF, StrictRectangle, set, slice, operator.add, torch.add]
    for name, kind in vars(nn).items():
        if isinstance(kind, type) and issubclass(kind, nn.Module) and not name.startswith("_"):
            found.append(kind)
    for home in (layer, neuron, surrogate):
        for kind in vars(home).values():
            # FlexSN compiles what it is given, so it stays outside.
            if isinstance(kind, type) and issubclass(kind, nn.Module) and "flexsn" not in kind.__module__:
                found.append(kind)
    return found


def _with_state(state: dict[str, torch.Tensor], path: Path, arch: str | None) -> nn.Module:
    if arch is None:
        fix = "give --arch package.module:factory, a function without arguments that makes the module"
        raise BadInput(Problem("this is a state_dict: weights without a network", str(path), fix=fix))
    home, _, factory = arch.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the user's own code lies where the command is run
    usage = "give package.module:factory, a function without arguments that returns the module"
    try:
        module = getattr(importlib.import_module(home), factory)()
    except Exception as error:
        what = f"cannot make the module: {type(error).__name__}: {_first(error)}"
        raise UsageError(Problem(what, "--arch", arch, fix=usage)) from error
    if not isinstance(module, nn.Module):
        raise UsageError(Problem(f"it made a {type(module).__name__}, no module", "--arch", arch, fix=usage))
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        what = "the weights do not belong to this architecture: " + " ".join(str(error).split())
        raise BadInput(Problem(what, str(path), arch, fix="name the factory that made the trained module")) from error
    result: nn.Module = module.eval()
    return result


def _from_plain(content: dict[str, Any], path: Path, readout: Read | None, carries: Any) -> TorchModel:
    try:
        version = content["version"]
        if version > _VERSION:
            what = "a later version of neurocompile wrote this model"
            raise BadInput(Problem(what, str(path), f"format {version}", f"format {_VERSION}", "update neurocompile"))
        _check_plain(content, path)
        module = _module_of(content)
        check_module(module)
        recording = content.get("recording")
        return TorchModel(
            prepare(module),  # type: ignore[arg-type]
            content["layout"],
            content["timesteps"],
            {name: tuple(shape) for name, shape in content["input_shapes"].items()},
            readout or content["readout"],
            carries or content["carries"],
            {name: x.numpy() for name, x in content["example"].items()},
            None if recording is None else _recording_from_plain(recording),
        )
    except NeurocompileError:
        raise
    except Exception as error:
        what = f"the model file is damaged: {type(error).__name__}: {_first(error)}"
        raise BadInput(Problem(what, str(path), fix="save it again with neurocompile.save")) from error


def _check_agrees(
    content: Mapping[str, Any], input_shape: tuple[int, ...] | None, timesteps: int | None, layout: Layout | None
) -> None:
    """Refuse options that say other than a save file does."""
    shapes = [tuple(shape) for shape in content.get("input_shapes", {}).values()]
    problems = [
        Problem(f"the file was saved with another {what}", option, str(given), str(known), f"leave out {option}")
        for what, option, given, known in (
            ("layout", "--layout", layout, content.get("layout")),
            ("number of steps", "--timesteps", timesteps, content.get("timesteps")),
            ("input shape", "--input-shape", input_shape, shapes[0] if shapes else None),
        )
        if given is not None and given != known
    ]
    if problems:
        raise UsageError(problems)


def _module_of(content: Mapping[str, Any]) -> fx.GraphModule:
    """The torch graph of a file that was checked, as a module."""
    root = nn.Module()
    for target, plain in content["modules"].items():
        _place(root, target, _module_from_plain(plain))
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


def _check_plain(content: Mapping[str, Any], path: Path) -> None:
    """Hold a file against what :func:`save` writes, before torch.fx turns its graph into source code.

    Raises:
        BadInput: if a node names anything but the layers, functions and methods that can be lowered.
    """
    nodes = content["nodes"]
    wrong = [
        str(node.get("name"))
        for node in nodes
        if not isinstance(node, dict) or not _is_known(node, content) or not _is_plain((node["args"], node["kwargs"]))
    ]
    wrong += [str(name) for name in content["input_shapes"] if not str(name).isidentifier()]
    header = {
        "layout": content["layout"] in LAYOUTS,
        "timesteps": type(content["timesteps"]) is int and content["timesteps"] >= 1,
        "readout": content["readout"] in (None, *get_args(Read)),
        "carries": content["carries"] in ("real", "spikes"),
        "output": [node.get("op") for node in nodes].count("output") == 1,
    }
    wrong += [name for name, fits in header.items() if not fits]
    wrong += [
        target
        for target, module in content["modules"].items()
        if isinstance(module, dict) and not _is_equation(module["equation"])
    ]
    if wrong:
        what = "the model file holds what neurocompile.save never writes; nothing was run"
        raise BadInput(
            Problem(what, str(path), ", ".join(wrong[:5]), fix="save the model again with neurocompile.save")
        )


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


def _is_equation(values: Any) -> bool:
    """Whether the fields of a neuron equation hold numbers and the names of resets only."""
    names = {f.name for f in fields(Neuron)}
    return set(values) <= names and all(
        value is None or isinstance(value, torch.Tensor | int | bool) or value in ("to", "by", "none")
        for value in values.values()
    )


def _module_from_plain(plain: Any) -> nn.Module:
    if isinstance(plain, nn.Module):
        return plain
    values: dict[str, Any] = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in plain["equation"].items()}
    return Recorded(plain["registered"], Neuron(**values))


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


def _recording_from_plain(plain: Mapping[str, Any]) -> Reference:
    arrays = {kind: {name: x.numpy() for name, x in plain[kind].items()} for kind in ("outputs", "spikes", "margins")}
    return Reference(arrays["outputs"], arrays["spikes"], arrays["margins"], dict(plain["thresholds"]))
