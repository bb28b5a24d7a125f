"""Reading a Program's folder, which may hold anything: looked at by its schema before anything is built."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import BadInput, Problem
from neurocompile.files import arrays_of, content_of, json_of
from neurocompile.ir.graph import Graph, InvalidGraph
from neurocompile.ir.host import HostRegion, host_from_plain
from neurocompile.ir.ops import Array, Concat, Integrator, MaxPool, Neuron, Output, Reshape
from neurocompile.program.plain import FORMAT, digest_of, from_json, graph_from_json, host_file, sum_of
from neurocompile.program.program import FORMAT_VERSION, Program
from neurocompile.program.schema import check_arrays, check_body, check_op

__all__ = ["is_program", "load_program", "program_from"]

_FIX = "export the model again"
_LARGEST_JSON = 1 << 28
_RUN = "lava/"
"""What is run where it lies is held against the program by who runs it, unless the user trusts it."""


def is_program(path: Path) -> bool:
    """Whether a path looks like a Program's folder."""
    return path.is_dir() and (path / "program.json").exists()


def load_program(folder: Path) -> Program:
    """Read a Program's folder.

    Raises:
        BadInput: if there is none, if it was altered, or if a later version of this package wrote it.
    """
    folder = folder.resolve()
    if not is_program(folder):
        what = "no such folder" if not folder.exists() else "this is no program (no program.json in it)"
        raise BadInput(
            Problem(what, str(folder), fix="make one with: neurocompile export MODEL --target generic -o OUT")
        )
    body = _body(content_of(folder / "program.json", _LARGEST_JSON, _FIX), folder)
    return _of(body, _contents(folder, body), folder)


def program_from(files: Mapping[str, bytes]) -> Program:
    """The program whose folder would hold these files (:meth:`Program.files`).

    Raises:
        BadInput: if they are none.
    """
    where = Path("a program in memory")
    return _of(_body(files["program.json"], where), files, where)


def _of(body: Mapping[str, Any], contents: Mapping[str, bytes], folder: Path) -> Program:
    arrays = arrays_of(io.BytesIO(contents["arrays.npz"]), str(folder / "arrays.npz"), _FIX)
    _refuse(check_arrays(arrays, str(folder / "arrays.npz")))
    wide = {name: _widened(x) for name, x in arrays.items()}
    try:
        return _built(body, wide, contents)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, InvalidGraph) as error:
        what = f"the program is damaged: {type(error).__name__}: {error}"
        raise BadInput(Problem(what, str(folder), fix=_FIX)) from error


def _body(content: bytes, folder: Path) -> dict[str, Any]:
    """What program.json holds, if it is what this version writes or an earlier one did."""
    file = folder / "program.json"
    try:
        body = json_of(content)
        json.dumps(body, ensure_ascii=False).encode("utf-8")  # no half of a character, which nobody could print
    except (ValueError, RecursionError) as error:
        raise BadInput(Problem(f"the program is damaged: {error}", str(file), fix=_FIX)) from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise BadInput(Problem("this is no program", str(file), fix=_FIX))
    version = body.get("version")
    if type(version) is int and version > FORMAT_VERSION:
        what = "a later version of neurocompile wrote this program"
        limit = f"format {FORMAT_VERSION}"
        raise BadInput(Problem(what, str(folder), f"format {version}", limit, "update neurocompile"))
    _refuse(check_body(body, str(file)))
    return body


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise BadInput(
            [replace(problem, what=f"the program is damaged: {problem.what}", fix=_FIX) for problem in problems[:10]]
        )


def _contents(folder: Path, body: Mapping[str, Any]) -> dict[str, bytes]:
    """The files that the program is made of; all those that it has a checksum of are held against it."""
    sums = body["sha256"]
    needed = ["arrays.npz", *(host_file(number) for number in range(len(body.get("hosts", ()))))]
    contents: dict[str, bytes] = {}
    altered = ["program.json"] if sums.get("program.json") != digest_of(body) else []
    for name in dict.fromkeys((*needed, *sums)):
        path = folder / name
        if name == "program.json" or (name not in needed and not _within(folder, path)):
            continue  # what is only for other tools may have been moved
        if name.startswith(_RUN):
            continue
        content = content_of(path, fix=_FIX)
        if name in needed:
            contents[name] = content
        if sums.get(name) != sum_of(content):
            altered.append(name)
    if altered:
        what = "the program was altered after it was written: its checksum does not match"
        raise BadInput([Problem(what, str(folder / name), fix=_FIX) for name in altered])
    return contents


def _within(folder: Path, path: Path) -> bool:
    """Whether a file is there, and in the folder: a checksum may name anything."""
    try:
        return path.is_file() and folder in path.resolve().parents
    except (OSError, ValueError):
        return False


def _built(body: Mapping[str, Any], arrays: Mapping[str, Array], contents: Mapping[str, bytes]) -> Program:
    described = body.get("hosts", [])
    if not (body["real"] and body["integer"]) and not described:
        raise ValueError("it holds no network")
    hosts = [host_from_plain(plain, contents[host_file(number)]) for number, plain in enumerate(described)]
    program = Program(
        target=body["target"],
        arithmetic=Arithmetic.of(body["arithmetic"]),
        timesteps=body["timesteps"],
        real=_graph(body, "real", arrays, hosts),
        integer=_graph(body, "integer", arrays, hosts),
        units={name: _numbers(unit, arrays) for name, unit in body["units"].items()},
        settings=body["settings"],
        notes=tuple(body["notes"]),
        example={name: _numbers(x, arrays) for name, x in body["example"].items()},
        lines=dict(body.get("lines", {})),
        chip=dict(body.get("chip", {})),
    )
    wrong = list(_unlike(program))
    if wrong:
        raise ValueError("; ".join(wrong[:5]))
    return program


def _graph(body: Mapping[str, Any], name: str, arrays: Mapping[str, Array], hosts: list[HostRegion]) -> Graph:
    """One of the graphs, whose operations do not contradict themselves.

    Raises:
        ValueError, InvalidGraph: if there is none.
    """

    def check(node: str, op: Any) -> None:
        for what, actual, limit in check_op(op, body["timesteps"], name == "integer"):
            raise ValueError(f"{name}.{node}: {what} (got {actual}; allowed: {limit})")

    return graph_from_json(body[name], arrays, hosts, check)


def _numbers(value: Any, arrays: Mapping[str, Array]) -> Array:
    found: Array = from_json(value, arrays)
    return found


def _unlike(program: Program) -> Iterator[str]:
    """What of a program does not belong together: its two graphs, and the units of its membranes."""
    real, integer = program.real, program.integer
    layers = {node.name: integer.edges[node.name].shape for node in integer.of(Neuron, Integrator)}
    for name, unit in program.units.items():
        if name not in layers:
            yield f"units name {name!r}, which is no layer"
        elif not _broadcasts(unit.shape, layers[name]):
            yield f"the units of {name!r} have the shape {unit.shape}"
    yield from (f"there is no unit for {name!r}" for name in layers if name not in program.units)
    for what, one, other in (
        ("inputs", dict(real.given_inputs), dict(integer.given_inputs)),
        ("layers", _layers(real), _layers(integer, pools=real)),
    ):
        if one != other:
            yield f"its graphs have different {what}"
    yield from (
        f"the output {node.name!r} reads currents that no membrane adds up"
        for node in integer.of(Output)
        if not _is_kept(integer, node.inputs[0])
    )


def _is_kept(graph: Graph, name: str) -> bool:
    """Whether what a node of integers gives is events, or the membrane of a readout."""
    node = graph[name]
    if graph.edges[name].is_event or isinstance(node.op, Integrator):
        return True
    return isinstance(node.op, Reshape | Concat) and all(_is_kept(graph, source) for source in node.inputs)


def _layers(graph: Graph, pools: Graph | None = None) -> dict[str, tuple[int, ...]]:
    """The layers of neurons and their shapes, without neurons that are max-pools of the same shape in ``pools``."""
    of_pools = {} if pools is None else {node.name: pools.edges[node.name].shape for node in pools.of(MaxPool)}
    layers = {node.name: graph.edges[node.name].shape for node in graph.of(Neuron)}
    return {name: shape for name, shape in layers.items() if of_pools.get(name) != shape}


def _broadcasts(shape: tuple[int, ...], onto: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, onto) == onto
    except ValueError:
        return False


def _widened(array: Array) -> Array:
    """Integers as graphs compute with them; they are stored as narrow as they are."""
    return array.astype(np.int64) if array.dtype.kind in "iu" else array
