"""A case as a small file that a person can read: the graph as text, and all of it as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic, Lif
from neurocompile.compiler import Options
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import OPS, MembraneNorm
from tests.fuzz.graphs.cases import Case, Plan, compiled, made, of_integers
from tests.fuzz.graphs.tape import Recipe

__all__ = ["read", "written"]

_TYPES = {**OPS, "MembraneNorm": MembraneNorm}


def written(case: Case, executor: str, said: list[str]) -> str:
    """The file's text; a case whose network cannot be said in it (the host's parts, torch) is its recipe."""
    body: dict[str, Any] = {"executor": executor, "said": said, "recipe": case.recipe}
    if case.recipe == "":
        body |= {"timesteps": case.timesteps, "text": str(case.graph).splitlines()}
        if case.integer:
            assert case.program is not None
            body |= {"target": case.program.target, "arithmetic": case.program.arithmetic.plain()}
            inputs = case.program.integers(case.inputs)[0]
        else:
            assert case.plan is not None
            body |= {"target": case.plan.target, "options": asdict(case.plan.options)}
            inputs = case.inputs
        body |= {"inputs": {name: _plain(x) for name, x in inputs.items()}}
        body |= {"nodes": [_node(node) for node in case.graph]}
    return _lines(body)


def read(path: Path) -> tuple[Case, str]:
    """The case of a file, and the executor that found it."""
    body = json.loads(path.read_text())
    if body["recipe"]:
        return made(Recipe.of(body["recipe"])), body["executor"]
    nodes = [Node(each["name"], _value(each["op"]), tuple(each["inputs"])) for each in body["nodes"]]
    graph, inputs = Graph(nodes), {name: _value(x) for name, x in body["inputs"].items()}
    if "arithmetic" in body:
        given = body["arithmetic"]
        arithmetic = Arithmetic(**{**given, "lif": Lif(**given["lif"]) if given["lif"] else None})
        case = of_integers(graph, arithmetic, inputs, body["target"])
    else:
        case = compiled(
            Case("", inputs, body["timesteps"], real=graph), Plan(body["target"], Options(**body["options"]))
        )
    return replace(case, recipe=""), body["executor"]


def _node(node: Node) -> dict[str, Any]:
    return {"name": node.name, "op": _plain(node.op), "inputs": list(node.inputs)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        default = {f.name: f for f in fields(value)}
        told = {name: getattr(value, name) for name in default if not _is_default(default[name], getattr(value, name))}
        return {"is": type(value).__name__, **{name: _plain(each) for name, each in told.items()}}
    if isinstance(value, np.ndarray | np.floating):
        value = np.asarray(value)
        return {"shape": list(value.shape), "type": value.dtype.name, "values": value.reshape(-1).tolist()}
    if isinstance(value, tuple):
        return {"tuple": [_plain(each) for each in value]}
    return int(value) if isinstance(value, np.integer) else value


def _is_default(field: Any, value: Any) -> bool:
    made_default = field.default_factory() if callable(field.default_factory) else field.default
    if isinstance(value, np.ndarray):
        return isinstance(made_default, np.ndarray) and value.dtype == made_default.dtype and bool(
            value.shape == made_default.shape and value == made_default)  # fmt: skip
    return type(value) is type(made_default) and bool(value == made_default)


def _value(plain: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    if "is" in plain:
        return _TYPES[plain["is"]](**{name: _value(each) for name, each in plain.items() if name != "is"})
    if "tuple" in plain:
        return tuple(_value(each) for each in plain["tuple"])
    return np.asarray(plain["values"], plain["type"]).reshape(plain["shape"])


def _lines(body: dict[str, Any]) -> str:
    """One line for each key, and for each node."""
    told = []
    for key, value in body.items():
        if isinstance(value, list) and value:
            each = ",\n  ".join(json.dumps(item) for item in value)
            told.append(f'"{key}": [\n  {each}\n ]')
        else:
            told.append(f'"{key}": {json.dumps(value)}')
    return "{\n " + ",\n ".join(told) + "\n}\n"
