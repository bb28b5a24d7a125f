"""What program.json may hold: types, ranges, lengths, and what refers to what; looked at before anything is built.

A file may hold anything, also with a checksum that fits. What passes here can be built into graphs of bounded size
whose operations have the parameters that engines count on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_type_hints

import numpy as np

from neurocompile.errors import Problem
from neurocompile.ir.ops import (
    MOST_SPIKES,
    OPS,
    Array,
    Conv,
    ConvTranspose,
    Delay,
    Gain,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Output,
    Reshape,
    SumPool,
    Upsample,
)
from neurocompile.keys import ARITHMETIC, LIF, Key, Keys, checked, whole
from neurocompile.typed import origin_of

__all__ = ["check_arrays", "check_body", "check_op"]

_STEPS = 1 << 20
_LARGEST = 1 << 31
"""Elements of a layer, and of what an operation says of its geometry."""
_NUMBER = 1 << 53
"""The largest integer in an array: products of a few of them still have a meaning in float64."""

_HEAD: Keys = {
    "format": Key("text", needed=True),
    "version": whole(1, 1 << 16),
    "target": Key("text", needed=True),
    "timesteps": whole(1, _STEPS),
    **{name: Key("any", needed=True) for name in ("arithmetic", "settings", "notes", "real", "integer", "units")},
    **{name: Key("any", needed=True) for name in ("example", "sha256")},
    **{name: Key("any") for name in ("lines", "chip", "hosts")},
}
_ARITHMETIC: Keys = {**ARITHMETIC, "published": Key("flag", needed=True), "lif": Key("any")}
_SETTINGS: Keys = {
    "bits": whole(2, 16),
    "layer_bits": Key("any"),
    "per_channel": Key("flag"),
    "method": Key("text"),
    "input_bits": whole(1, 16, needed=False),
    "chips": whole(1, 1 << 20, needed=False),
    "encode": Key("any"),
    "reading": Key("any"),
    "plain_weights": Key("flag"),
}
_READING: Keys = {
    **{name: Key("text") for name in ("dialect", "reset", "fire", "spikes", "decay", "gain", "start")},
    "dt": Key(whole=False),
}
"""How a source was read that leaves its meaning open (:class:`neurocompile.frontends.base.Reading`)."""
_NODE: Keys = {
    "name": Key("text", needed=True),
    "op": Key("text", choices=tuple(OPS), needed=True),
    "inputs": Key("texts", needed=True),
    "fields": Key("any", needed=True),
}
_RANGES: dict[str, tuple[int, int]] = {
    "shape": (1, _LARGEST), "kernel": (1, _LARGEST), "stride": (1, _LARGEST), "dilation": (1, _LARGEST),
    "factors": (1, _LARGEST), "groups": (1, _LARGEST), "steps": (1, _STEPS), "padding": (-_LARGEST, _LARGEST),
    "output_padding": (0, _LARGEST), "axis": (0, 8), "refractory": (-1, _LARGEST), "shift": (-63, 63),
    "fraction": (0, 62), "max_spikes": (1, MOST_SPIKES),
}  # fmt: skip
"""Of whole numbers, by the names of the fields that have them."""
_ADDED = ("deaf", "max_spikes")
"""Fields that the first versions did not have; all others are written unless they are None."""


# -- program.json ------------------------------------------------------------------------------------------------------


def check_body(body: object, where: str) -> list[Problem]:
    """Everything in which program.json is none, but for its graphs' numbers, which lie elsewhere.

    Args:
        body: what the file holds.
        where: its name.
    """
    if not isinstance(body, dict):
        return [Problem("it holds no object", where, type(body).__name__, "an object")]
    problems = checked(_HEAD, body, "", where)
    if problems:
        return problems
    arithmetic = body["arithmetic"]
    problems += checked(_ARITHMETIC, arithmetic, "arithmetic", where)
    if isinstance(arithmetic, dict) and arithmetic.get("lif") is not None:
        problems += checked(LIF, arithmetic["lif"], "arithmetic.lif", where)
    settings = body["settings"]
    problems += checked(_SETTINGS, settings, "settings", where)
    if isinstance(settings, dict) and "reading" in settings:
        problems += checked(_READING, settings["reading"], "settings.reading", where)
    if isinstance(settings, dict) and not _widths(settings.get("layer_bits", {})):
        problems.append(Problem("layer_bits says no width of each layer", where, repr(settings["layer_bits"])[:60]))
    kinds: dict[str, Callable[[object], bool]] = {
        "notes": lambda value: isinstance(value, list) and all(isinstance(line, str) for line in value),
        "lines": _texts, "sha256": _texts, "units": _references, "example": _references,
        "chip": lambda value: isinstance(value, dict), "hosts": lambda value: isinstance(value, list),
    }  # fmt: skip
    problems += [
        Problem(f"{name} is not what it should be", where, repr(body[name])[:60])
        for name, fits in kinds.items()
        if name in body and not fits(body[name])
    ]
    for graph in ("real", "integer"):
        problems += list(_of_nodes(body[graph], graph, where))
    return problems


def _texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _widths(value: object) -> bool:
    return isinstance(value, dict) and all(type(bits) is int and 2 <= bits <= 16 for bits in value.values())


def _references(value: object) -> bool:
    return isinstance(value, dict) and all(_is_reference(each) for each in value.values())


def _is_reference(value: object) -> bool:
    return isinstance(value, dict) and list(value) == ["array"] and isinstance(value["array"], str)


def _of_nodes(nodes: object, graph: str, where: str) -> Iterator[Problem]:
    if not isinstance(nodes, list):
        yield Problem(f"{graph} is no list of operations", where, repr(nodes)[:60])
        return
    for number, node in enumerate(nodes):
        wrong = checked(_NODE, node, f"{graph}[{number}]", where)
        yield from wrong
        if not wrong:
            yield from _of_fields(node, f"{graph}.{node['name']}", where)


def _of_fields(node: Mapping[str, Any], name: str, where: str) -> Iterator[Problem]:
    op = OPS[node["op"]]
    hints, given = get_type_hints(op), node["fields"]
    if not isinstance(given, dict):
        yield Problem(f"{name} has no fields", where, repr(given)[:60])
        return
    for field, value in given.items():
        if field not in hints:
            yield Problem(f"{name} is no operation with this field", where, field, ", ".join(hints))
        elif not _takes(hints[field], value) or not _in_range(field, value):
            yield Problem(f"{name}: {field} cannot be this", where, repr(value)[:60], _allowed(hints[field], field))
    missing = [f for f in hints if f not in given and getattr(op, f, "needed") is not None and f not in _ADDED]
    if missing:
        yield Problem(f"{name} lacks fields", where, limit=", ".join(missing))


def _takes(hint: Any, value: object) -> bool:
    """Whether a value is of the type that a field has, as JSON holds it."""
    origin = origin_of(hint)
    if origin in (Union, UnionType):
        return any(_takes(one, value) for one in get_args(hint) if one is not NoneType)
    if origin is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if origin is tuple:
        inner = get_args(hint)
        if not isinstance(value, list):
            return False
        if inner[-1] is Ellipsis:
            return len(value) <= 8 and all(_takes(inner[0], each) for each in value)
        return len(value) == len(inner) and all(map(_takes, inner, value))
    if origin is np.ndarray:
        return _is_reference(value) or _is_number(value)
    if hint is float:
        return _is_number(value)
    return type(value) is hint


def _is_number(value: object) -> bool:
    if isinstance(value, dict):
        return list(value) == ["number"] and _is_hex(value["number"])
    return type(value) is int and abs(value) <= _NUMBER


def _is_hex(text: object) -> bool:
    try:
        return isinstance(text, str) and not np.isnan(float.fromhex(text))
    except (ValueError, OverflowError):
        return False


def _in_range(field: str, value: object) -> bool:
    if isinstance(value, list):
        return all(_in_range(field, each) for each in value)
    if type(value) is not int or field not in _RANGES:
        return True
    low, high = _RANGES[field]
    return low <= value <= high


def _allowed(hint: Any, field: str) -> str:
    if origin_of(hint) is Literal:
        return ", ".join(get_args(hint))
    if field in _RANGES:
        return "{} to {}".format(*_RANGES[field])
    return "numbers" if origin_of(hint) is np.ndarray else getattr(hint, "__name__", str(hint))


# -- arrays ------------------------------------------------------------------------------------------------------------


def check_arrays(arrays: Mapping[str, Array], where: str) -> list[Problem]:
    """Arrays that hold what is no number, or numbers that are too large.

    Args:
        arrays: by their names.
        where: the file.
    """
    problems = []
    for name, x in arrays.items():
        if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:
            problems.append(Problem(f"{name} holds no numbers", where, str(x.dtype), "integers or floats"))
        elif x.dtype.kind == "f" and np.isnan(x).any():
            problems.append(Problem(f"{name} holds what is no number", where, "NaN", "numbers"))
        elif x.dtype.kind in "iu" and x.size and max(-int(x.min()), int(x.max())) > _NUMBER:
            problems.append(Problem(f"{name} holds integers that are too large", where, limit=f"{_NUMBER}"))
    return problems


def check_op(op: Any, timesteps: int, integer: bool) -> Iterator[tuple[str, str, str]]:
    """What contradicts itself in an operation: what is wrong, the actual value, and what it should be.

    Args:
        op: built of fields of the right types.
        timesteps: T of its program.
        integer: whether it is of an integer graph.
    """
    for name, value in vars(op).items():
        if isinstance(value, np.ndarray) and integer and name not in _REALS and not _whole_numbers(value):
            yield f"{name} holds no integers", str(value.dtype), "integers"
    match op:
        case Input():
            if not (np.isfinite(op.unit) and op.unit > 0 and op.low <= op.high):
                yield "its range is none", f"{op.low:g} to {op.high:g} in steps of {op.unit:g}", "low <= high, unit > 0"
            yield from _layer(op.shape)
        case Reshape() | Delay():
            yield from _layer(op.shape)
        case Output():
            wanted = (timesteps,) if op.read == "weighted" else None
            actual = None if op.weights is None else op.weights.shape
            if actual != wanted:
                yield "its weights do not fit its steps", str(actual), str(wanted)
        case Linear():
            yield from _rank(op.weight, 2)
            if op.stored is not None and (op.stored.shape != op.weight.shape or op.stored.dtype.kind != "b"):
                yield "stored does not fit its weights", str(op.stored.shape), str(op.weight.shape)
        case Conv() | ConvTranspose():
            yield from _convolution(op)
        case SumPool() | MaxPool():
            lengths = [op.stride, op.padding, *([op.dilation] if isinstance(op, MaxPool) else [])]
            yield from _axes(len(op.kernel), lengths)
            if min(map(min, op.padding)) < 0:
                yield "its padding is negative", str(list(op.padding)), "0 or more"
        case Upsample():
            yield from _axes(len(op.factors), [])
        case Gain():
            if op.gains.shape != (timesteps,):
                yield "it has no gain for each step", str(list(op.gains.shape)), f"[{timesteps}]"
        case Neuron() | Integrator():
            yield from _units(op, integer)


_REALS = ("unit", "weights")
"""Arrays that are real in an integer graph, too."""


def _whole_numbers(value: Array) -> bool:
    return value.dtype.kind in "biu" or not np.any(value % 1)


def _layer(shape: Sequence[int]) -> Iterator[tuple[str, str, str]]:
    if not shape or len(shape) > 4 or prod(shape) > _LARGEST:
        yield "its shape is that of no layer", str(list(shape)), f"one to four axes, {_LARGEST} numbers"


def _rank(weight: Array, *ranks: int) -> Iterator[tuple[str, str, str]]:
    if weight.ndim not in ranks or not weight.size:
        yield "its weights have the wrong shape", str(list(weight.shape)), f"{' or '.join(map(str, ranks))} axes"


def _axes(axes: int, lengths: Sequence[Sequence[Any]]) -> Iterator[tuple[str, str, str]]:
    if axes not in (1, 2) or any(len(each) != axes for each in lengths):
        yield "its geometry has no one or two axes", str([axes, *map(len, lengths)]), "all the same, 1 or 2"


def _convolution(op: Conv | ConvTranspose) -> Iterator[tuple[str, str, str]]:
    yield from _rank(op.weight, 3, 4)
    more = [op.output_padding] if isinstance(op, ConvTranspose) else []
    yield from _axes(op.weight.ndim - 2, [op.stride, op.padding, op.dilation, *more])
    if isinstance(op, ConvTranspose) and min(op.padding) < 0:
        yield "its padding is negative", str(list(op.padding)), "0 or more"
    if op.weight.ndim and op.weight.shape[0] % op.groups:
        yield "its channels do not divide into its groups", str(op.weight.shape[0]), f"a multiple of {op.groups}"


def _units(op: Neuron | Integrator, integer: bool) -> Iterator[tuple[str, str, str]]:
    if isinstance(op, Neuron) and op.norm is not None:
        yield "it holds a batch norm of the membrane, which a program has folded", "", ""
    if integer and isinstance(op, Neuron) and op.flip.dtype.kind != "b":
        yield "flip is no truth value", str(op.flip.dtype), "bool"
