"""A Program: a network compiled for one target, as a folder that holds its reals, its integers and how they relate.

``program.json`` has the two graphs, the arithmetic and the log of the compiler; ``arrays.npz`` has every array.
The same model compiled twice gives the same bytes. Checksums tell whether a folder was altered.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.data import Data, arrange_inputs, pack_arrays
from neurocompile.errors import BadInput, Problem, ToolFailed, UsageError
from neurocompile.ir.graph import Graph, InvalidGraph, Node
from neurocompile.ir.host import HostRegion, host_from_plain, host_to_plain
from neurocompile.ir.ops import OPS, Array, Gain, Input, Integrator, MembraneNorm, Neuron

__all__ = ["FORMAT_VERSION", "Program", "is_program", "load_program"]

FORMAT_VERSION = 4
"""2 has host regions, 3 gains for each step, 4 a target of the user's own; a program is written in the first version
that has all it needs."""
_FORMAT = "neurocompile-program"


@dataclass(frozen=True)
class Program:
    """A compiled network.

    ``real`` is the folded graph in float64, ``integer`` the same network in the target's integers; ``units`` gives for
    each neuron and integrator the real value of one step of its membrane. ``example`` holds a few samples by input
    name, if the model brought them. ``notes`` is the log of the passes and of quantization; ``settings`` what the user
    chose. ``lines`` are the user's file:line of the layers of the model's graph, by name, which refusals name.
    ``chip`` is what describes the target, where that was a file of the user's own.
    """

    target: str
    arithmetic: Arithmetic
    timesteps: int
    real: Graph
    integer: Graph
    units: dict[str, Array]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    example: dict[str, Array] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    chip: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, Input]:
        """The inputs of the integer graph, by name."""
        return {node.name: node.op for node in self.integer.of(Input) if isinstance(node.op, Input)}

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each input that the user gives, without batch and time."""
        return dict(self.integer.given_inputs)

    def integers_of(self, name: str, x: Array) -> tuple[Array, int]:
        """One real input as the program takes it, and how many of its numbers lay outside its range."""
        op = self.inputs[name]
        whole = np.rint(x / op.unit)
        clipped = int(((whole < op.low) | (whole > op.high)).sum())
        return np.clip(whole, op.low, op.high).astype(np.int64), clipped

    @property
    def neurons(self) -> int:
        """How many neurons and integrators there are."""
        return sum(self.integer.edges[node.name].size for node in self.integer.of(Neuron, Integrator))

    def integers(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], int]:
        """Real inputs as the program takes them, and how many of them were outside the range and are clipped."""
        found, clipped = {}, 0
        for name in self.inputs:
            found[name], outside = self.integers_of(name, inputs[name])
            clipped += outside
        return found, clipped

    def example_data(self) -> Data | None:
        """The samples that the model brought along, if any."""
        if not self.example:
            return None
        return arrange_inputs(self.example, self.input_shapes, self.timesteps, "the example in the program", self.lines)

    # -- files ---------------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, bytes]:
        """The content of the folder, by file name."""
        arrays: dict[str, Array] = {}
        body: dict[str, Any] = {
            "format": _FORMAT,
            "version": self._version,
            "target": self.target,
            "arithmetic": self.arithmetic.plain(),
            "timesteps": self.timesteps,
            "settings": self.settings,
            "notes": list(self.notes),
            "real": _graph_to_json(self.real, "real", arrays),
            "integer": _graph_to_json(self.integer, "integer", arrays),
            "units": {name: _array_to_json(unit, f"units/{name}", arrays) for name, unit in self.units.items()},
            "example": {name: _array_to_json(x, f"example/{name}", arrays) for name, x in self.example.items()},
        }
        body |= {name: value for name, value in (("lines", self.lines), ("chip", self.chip)) if value}
        packed = pack_arrays(arrays)
        files = {"arrays.npz": packed}
        if self.integer.hosts:
            body["hosts"] = [host_to_plain(region) for region in self.integer.hosts.values()]
            files |= {_host_file(number): r.model for number, r in enumerate(self.integer.hosts.values())}
        body["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        body["sha256"]["program.json"] = _digest(body)
        text = json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n"
        graphs = f"real\n----\n{self.real}\n\ninteger, for {self.target}\n-------\n{self.integer}\n"
        return {"program.json": text.encode(), **files, "graph.txt": graphs.encode()}

    @property
    def _version(self) -> int:
        gains = bool(self.integer.of(Gain) or self.real.of(Gain))
        return 4 if self.chip else 3 if gains else 2 if self.integer.hosts else 1

    def save(self, folder: Path, overwrite: bool = False, more: Mapping[str, bytes] | None = None) -> list[str]:
        """Write the folder, complete or not at all; returns the names of its files.

        Args:
            folder: must not exist, unless ``overwrite`` and it is a Program.
            overwrite: replace what is there.
            more: other files of the target, by name.

        Raises:
            UsageError: if the folder exists.
            ToolFailed: if the disk does not take it.
        """
        check_free(folder, overwrite)
        files = {**self.files(), **(more or {})}
        _write_folder(folder, files)
        return sorted(files)


def check_free(folder: Path, overwrite: bool) -> None:
    """Refuse to write over what is there.

    Raises:
        UsageError: if the folder exists and may not be replaced.
    """
    if not os.path.lexists(folder):
        return
    if not overwrite:
        fix = "give another folder, or --overwrite"
        raise UsageError(Problem("the output exists already", str(folder), fix=fix))
    empty = folder.is_dir() and not any(folder.iterdir())
    if not (_is_ours(folder) or empty):
        fix = "--overwrite replaces programs only; remove it yourself"
        raise UsageError(Problem("the output exists and is no program", str(folder), fix=fix))


def is_program(path: Path) -> bool:
    """Whether a path looks like a Program's folder."""
    return path.is_dir() and (path / "program.json").exists()


def _is_ours(folder: Path) -> bool:
    """Whether this package wrote the folder, however damaged it is now."""
    try:
        body = json.loads((folder / "program.json").read_bytes())
        return isinstance(body, dict) and body.get("format") == _FORMAT
    except (OSError, ValueError):
        return False


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write beside the folder, then rename; whatever stops it, the folder is the old one or the new one."""
    folder = folder.resolve()
    partial = folder.with_name(f".{folder.name}.partial")
    replaced = folder.with_name(f".{folder.name}.replaced")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _restore(replaced, folder)  # an earlier run may have been killed between its two renames
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name, content in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            with open(partial / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
    except OSError as error:
        what = f"cannot write the program: {error.strerror or error}"
        raise ToolFailed(Problem(what, str(folder), fix="free some space, or write elsewhere")) from error
    finally:
        _restore(replaced, folder)
        shutil.rmtree(partial, ignore_errors=True)


def _restore(replaced: Path, folder: Path) -> None:
    """Bring back a folder that was set aside, if nothing took its place; else drop it."""
    if replaced.exists() and not folder.exists():
        replaced.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


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
    fix = "export the model again"
    try:
        body = json.loads((folder / "program.json").read_bytes())
        if body.get("format") != _FORMAT:
            raise BadInput(Problem("this is no program", str(folder / "program.json"), fix=fix))
        if body["version"] > FORMAT_VERSION:
            what = "a later version of neurocompile wrote this program"
            limit = f"format {FORMAT_VERSION}"
            raise BadInput(Problem(what, str(folder), f"format {body['version']}", limit, "update neurocompile"))
        sums = body["sha256"]
        described = body.get("hosts", [])
        names = ["arrays.npz", *(_host_file(number) for number in range(len(described)))]
        contents = {name: (folder / name).read_bytes() for name in names}
        packed = contents["arrays.npz"]
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        altered = [name for name, digest in (("program.json", _digest(body)), *digests.items()) if sums[name] != digest]
        if altered:
            what = "the program was altered after it was written: its checksum does not match"
            raise BadInput([Problem(what, str(folder / name), fix=fix) for name in altered])
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            arrays = {name: _widened(archive[name]) for name in archive.files}
        if not (body["real"] and body["integer"]) and not described:
            raise ValueError("it holds no network")
        hosts = [host_from_plain(plain, contents[_host_file(number)]) for number, plain in enumerate(described)]
        return Program(
            target=body["target"],
            arithmetic=Arithmetic.of(body["arithmetic"]),
            timesteps=body["timesteps"],
            real=_graph_from_json(body["real"], arrays, hosts),
            integer=_graph_from_json(body["integer"], arrays, hosts),
            units={name: _from_json(unit, arrays) for name, unit in body["units"].items()},
            settings=body["settings"],
            notes=tuple(body["notes"]),
            example={name: _from_json(x, arrays) for name, x in body["example"].items()},
            lines={str(name): str(line) for name, line in body.get("lines", {}).items()},
            chip=dict(body.get("chip", {})),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, InvalidGraph) as error:
        what = f"the program is damaged: {type(error).__name__}: {error}"
        raise BadInput(Problem(what, str(folder), fix=fix)) from error


def _digest(body: Mapping[str, Any]) -> str:
    """The checksum of everything in program.json but its own."""
    sums = {name: digest for name, digest in body["sha256"].items() if name != "program.json"}
    text = json.dumps({**body, "sha256": sums}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _widened(array: Array) -> Array:
    return array.astype(np.int64) if array.dtype.kind == "i" else array


def _narrowed(array: Array) -> Array:
    """The narrowest integers that hold the same numbers."""
    if array.dtype.kind != "i" or not array.size:
        return array
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= array.min() and array.max() <= np.iinfo(kind).max:
            return array.astype(kind)
    return array


def _graph_to_json(graph: Graph, prefix: str, arrays: dict[str, Array]) -> list[dict[str, Any]]:
    nodes = []
    for node in graph:
        values = {
            f.name: _to_json(getattr(node.op, f.name), f"{prefix}/{node.name}/{f.name}", arrays)
            for f in fields(node.op)
            if getattr(node.op, f.name) is not None
        }
        nodes.append({"name": node.name, "op": type(node.op).__name__, "inputs": list(node.inputs), "fields": values})
    return nodes


def _to_json(value: Any, key: str, arrays: dict[str, Array]) -> Any:
    if isinstance(value, np.ndarray):
        return _array_to_json(value, key, arrays)
    if isinstance(value, MembraneNorm):
        raise TypeError("a program holds no batch norm of the membrane: it is folded")
    if isinstance(value, tuple):
        return [_to_json(item, key, arrays) for item in value]
    if isinstance(value, float | np.floating):
        return {"number": float(value).hex()}
    return int(value) if isinstance(value, np.integer) else value


def _array_to_json(array: Array, key: str, arrays: dict[str, Array]) -> dict[str, str]:
    arrays[key] = _narrowed(array)
    return {"array": key}


def _graph_from_json(nodes: list[dict[str, Any]], arrays: Mapping[str, Array], hosts: list[HostRegion]) -> Graph:
    built = []
    for node in nodes:
        values = {name: _from_json(value, arrays) for name, value in node["fields"].items()}
        built.append(Node(node["name"], OPS[node["op"]](**values), tuple(node["inputs"])))
    return Graph(built, hosts)


def _host_file(number: int) -> str:
    return f"host/{number}.onnx"


def _from_json(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, dict):
        return arrays[value["array"]] if "array" in value else float.fromhex(value["number"])
    if isinstance(value, list):
        return tuple(_from_json(item, arrays) for item in value)
    return value
