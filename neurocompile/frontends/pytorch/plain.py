"""The content of a model file: a recorded forward as numbers and names, and back.

The file holds operations of our own vocabulary, weights, and what the live module did with the example; never our
graph. Nothing in it is code: :func:`trace_of` checks every operation against the vocabulary and its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from math import prod
from typing import Any

import numpy as np
import torch

from neurocompile.frontends.pytorch.axes import LAYOUTS
from neurocompile.frontends.pytorch.model import TorchModel
from neurocompile.frontends.pytorch.neurons import Recorded, is_registered, layout_of, registered_equation
from neurocompile.frontends.pytorch.onhost import OnHost
from neurocompile.frontends.pytorch.trace import Batch, Call, Ref, Trace, references
from neurocompile.frontends.pytorch.vocabulary import KINDS, OPERATIONS, VIEWS
from neurocompile.frontends.pytorch.whole import taken_axes
from neurocompile.ir import trace as ir_trace
from neurocompile.ir.host import host_from_plain, host_to_plain
from neurocompile.ir.ops import Array, Integrator, Neuron

__all__ = ["FORMAT", "VERSION", "leaves_of", "recording_of", "to_plain", "trace_of"]

FORMAT = "neurocompile-model"
VERSION = 2

# No tensor of a file may be larger than this; what is larger is no network that anybody compiles.
_LARGEST = 1 << 31
# The end of a slice is written as the largest number.
_ENDLESS = (1 << 63) - 1


# -- to plain data -----------------------------------------------------------------------------------------------------


def to_plain(model: TorchModel) -> dict[str, Any]:
    """What a model file holds."""
    trace = model.trace
    assert model.recording is not None
    calls, leaves = _leaves(model)
    return {
        "format": FORMAT,
        "version": VERSION,
        "layout": model.layout,
        "timesteps": model.timesteps,
        "input_shapes": {name: tuple(shape) for name, shape in model.input_shapes.items()},
        "readout": model.read,
        "carries": dict(model.carries),
        "example": _tensors(model.example),
        "module_kinds": dict(model.module_kinds),
        "whole": sorted(trace.whole),
        "batch": trace.batch,
        "fixed": trace.fixed,
        "inputs": {name: list(numbers) for name, numbers in trace.inputs.items()},
        "random": {name: list(numbers) for name, numbers in trace.random.items()},
        "random_batch": dict(trace.random_batch),
        "drawn_at": dict(trace.drawn_at),
        "notes": list(model.notes),
        "remembers": None if trace.remembers is None else sorted(trace.remembers),
        "shapes": {
            name: [list(trace.shapes[n]) for n in numbers] for name, numbers in {**trace.inputs, **trace.random}.items()
        },
        "constants": {number: tensor.detach().clone() for number, tensor in trace.constants.items()},
        "calls": [_call_to_plain(call) for call in calls],
        "outputs": _to_plain(trace.outputs),
        "leaves": leaves,
        "recording": {
            "inputs": _tensors(model.recorded_inputs),
            "outputs": _tensors(model.recording.outputs),
            "spikes": _tensors(model.recording.spikes),
        },
    }


def _tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in arrays.items()}


def _call_to_plain(call: Call) -> dict[str, Any]:
    return {
        **{f.name: getattr(call, f.name) for f in fields(call)},
        "args": _to_plain(call.args),
        "shape": list(call.shape),
    }


def _to_plain(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"value": value.number}
    if isinstance(value, Batch):
        return {"batch": value.factor}
    if isinstance(value, list | tuple):
        return [_to_plain(item) for item in value]
    if isinstance(value, dict):
        return {"named": {key: _to_plain(item) for key, item in value.items()}}
    return value


def _leaves(model: TorchModel) -> tuple[list[Call], dict[str, Any]]:
    """The calls, and what each whole module is: an equation, or a region (one for each way in which it was called)."""
    calls = []
    leaves: dict[str, Any] = {}
    for call in model.trace.calls:
        if call.leaf:
            module = model.trace.modules[call.leaf]
            if is_registered(module):
                axes = taken_axes(module, len(call.shape))
                features = tuple(n for name, n in zip(axes, call.shape) if name == "F")
                edge = model.graph.edges.get(call.leaf)  # it has none where all that it hears is numbers
                leaves[call.leaf] = _neuron_to_plain(module, features if edge is None else edge.shape, call.leaf)
            else:
                name = model.lowered.regions[call.out]
                leaves.setdefault(name, _host_to_plain(model, name, call))
                call = replace(call, leaf=name)
        calls.append(call)
    return calls, leaves


def _neuron_to_plain(module: Any, shape: tuple[int, ...], path: str) -> dict[str, Any]:
    op = registered_equation(module, shape, path)
    plain = {k: torch.from_numpy(np.array(v)) if isinstance(v, np.ndarray) else v for k, v in vars(op).items()}
    name = module.class_name if isinstance(module, Recorded) else type(module).__name__
    return {"registered": name, "layout": layout_of(module), "equation": plain, "membrane": isinstance(op, Integrator)}


def _host_to_plain(model: TorchModel, name: str, call: Call) -> dict[str, Any]:
    region = model.graph.hosts[name]
    axes, result = model.lowered.region_axes[name]
    plain = {**host_to_plain(region), "model": torch.from_numpy(np.frombuffer(region.model, np.uint8).copy())}
    return {"host": plain, "axes": [list(names) for names in axes], "result_axes": list(result)}


# -- and back, from a file that may hold anything ----------------------------------------------------------------------


def trace_of(content: Mapping[str, Any]) -> Trace:
    """The recorded forward of a file.

    Raises:
        ValueError: for what no recording has; nothing was run then.
    """
    known: dict[int, tuple[int, ...] | None] = {}
    inputs = {str(name): [int(n) for n in numbers] for name, numbers in content["inputs"].items()}
    random = {str(name): [int(n) for n in numbers] for name, numbers in content["random"].items()}
    for name, numbers in {**inputs, **random}.items():
        _require(name.replace(".", "_").isidentifier(), f"input {name!r}")
        known.update(dict.fromkeys(numbers))
    constants = {}
    for number, tensor in content["constants"].items():
        _require(type(number) is int and isinstance(tensor, torch.Tensor), f"constant {number!r}")
        constants[number] = tensor
        known[number] = tuple(tensor.shape)
    calls = []
    for plain in content["calls"]:
        call = _call_of(plain, content["leaves"])
        _require(call.out not in known and all(n in known for n in references(call.args)), f"value {call.out}")
        known[call.out] = call.shape
        calls.append(call)
    outputs = _of_plain(content["outputs"])
    _require(all(n in known for n in references(outputs)), "outputs")
    shapes = {n: tuple(int(k) for k in shape) for name, numbers in {**inputs, **random}.items()
              for n, shape in zip(numbers, content["shapes"][name], strict=True)}  # fmt: skip
    random_batch = {str(name): int(axis) for name, axis in content.get("random_batch", {}).items()}
    drawn_at = {str(name): str(line) for name, line in content.get("drawn_at", {}).items()}
    remembers = content.get("remembers")
    batch = content["batch"]
    _require(type(batch) is int and 1 <= batch <= 1 << 20, "batch")
    return Trace(inputs, calls, outputs, constants, shapes, batch=batch, fixed=bool(content["fixed"]), random=random,
                 whole=frozenset(map(str, content["whole"])), random_batch=random_batch, drawn_at=drawn_at,
                 remembers=None if remembers is None else frozenset(map(str, remembers)))  # fmt: skip


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _call_of(plain: Mapping[str, Any], leaves: Mapping[str, Any]) -> Call:
    operation, leaf = plain["operation"], plain["leaf"]
    args = _of_plain(plain["args"])
    args = tuple(args)
    texts = all(type(plain[key]) is str for key in ("module", "line", "site"))
    shape = tuple(plain["shape"])
    turn, turns = plain.get("turn", 0), plain.get("turns", 1)
    numbers = [plain["out"], turn, turns, *shape]
    _require(texts and all(type(n) is int for n in numbers) and min(turn, turns, *shape, 0) >= 0, "a call")
    _require(prod(shape) <= _LARGEST, f"a value of {prod(shape)} numbers")
    if leaf:
        _require(
            operation == "leaf" and leaf in leaves and len(args) == 2 and isinstance(args[1], dict), f"leaf {leaf!r}"
        )
    else:
        _require(operation in OPERATIONS, f"operation {operation!r}")
        _check_arguments(operation, args)
    return Call(operation, args, plain["out"], shape, plain["module"], plain["line"], plain["site"], leaf, turn, turns)


def _check_arguments(operation: str, args: tuple[Any, ...]) -> None:
    """Hold arguments against the schema of an operation (:class:`Operation`)."""
    op = OPERATIONS[operation]
    least = len(op.arguments) - op.optional
    _require(least <= len(args) <= len(op.arguments), f"arguments of {operation}")
    for position, (letter, value) in enumerate(zip(op.arguments, args)):
        optional = position >= least or letter in "tIin"
        _require((value is None and optional) or _fits(letter, value), f"arguments of {operation}")


def _is_size(value: Any) -> bool:
    return isinstance(value, Batch) or (type(value) is int and (abs(value) <= _LARGEST or value == _ENDLESS))


def _fits(letter: str, value: Any) -> bool:
    match letter:
        case "t":
            return isinstance(value, Ref)
        case "T":
            return isinstance(value, list) and all(isinstance(x, Ref) for x in value)
        case "i":
            return _is_size(value)
        case "I":
            sizes = isinstance(value, list) and len(value) <= 16 and all(map(_is_size, value))
            return sizes and prod(abs(n) or 1 for n in value if type(n) is int) <= _LARGEST
        case "n":
            return isinstance(value, Ref) or type(value) in (int, float, bool)
        case "f":
            return type(value) in (int, float)
        case "b":
            return type(value) is bool
        case "s":
            return value in (*KINDS, "none", "tanh", "floor", "trunc")
        case "x":
            return isinstance(value, list) and all(x is None or isinstance(x, Ref) for x in value)
        case "w":
            if not isinstance(value, list) or not all(isinstance(s, list) and s and s[0] in VIEWS for s in value):
                return False
            for name, *rest in value:
                _check_arguments(name, (Ref(0), *rest))
            return True
    return False


def _of_plain(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"value"} and type(value["value"]) is int:
            return Ref(value["value"])
        if set(value) == {"batch"} and type(value["batch"]) is int and 0 < value["batch"] <= _LARGEST:
            return Batch(value["batch"])
        if set(value) == {"named"}:
            return {str(key): _of_plain(item) for key, item in value["named"].items()}
        raise ValueError("an argument")
    if isinstance(value, list | tuple):
        return [_of_plain(item) for item in value]
    _require(value is None or type(value) in (int, float, bool, str), "an argument")
    return value


def leaves_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The whole modules of a file: equations of registered neurons, and regions."""
    made: dict[str, Any] = {}
    for name, plain in content["leaves"].items():
        if "host" in plain:
            axes = [tuple(names) for names in plain["axes"]]
            _require(
                all(n in ("T", "N", "TN", "NT", "F", "1") for names in (*axes, plain["result_axes"]) for n in names),
                name,
            )
            region = host_from_plain(plain["host"], plain["host"]["model"].numpy().tobytes())
            made[name] = OnHost(region, axes, tuple(plain["result_axes"]), content["timesteps"])
        else:
            made[name] = neuron_of(plain, content["timesteps"])
    return made


def neuron_of(plain: Mapping[str, Any], timesteps: int) -> Recorded:
    """A neuron of a registered class, from its equation."""
    kind: type[Any] = Integrator if plain.get("membrane") else Neuron
    values = plain["equation"]
    names = {f.name for f in fields(kind)}
    right = set(values) <= names and all(
        value is None or isinstance(value, torch.Tensor | int | bool) or value in ("to", "by", "none")
        for value in values.values()
    )
    _require(right and plain.get("layout") in (None, *LAYOUTS), "an equation")
    op = kind(**{k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in values.items()})
    made = Recorded(str(plain["registered"]), op, plain.get("layout"))
    made.timesteps = timesteps
    return made


def recording_of(content: Mapping[str, Any]) -> tuple[dict[str, Array], ir_trace.Trace]:
    """What the live module did with its example: the inputs ``[N, T, ...]``, and what came of them."""
    plain = content["recording"]
    found = {
        kind: {str(name): x.numpy() for name, x in plain[kind].items()} for kind in ("inputs", "outputs", "spikes")
    }
    return found["inputs"], ir_trace.Trace(outputs=found["outputs"], spikes=found["spikes"])
