"""The type, and its folder as it is written.

``program.json`` has the two graphs, the arithmetic and the log of the compiler; ``arrays.npz`` has every array.
The same model compiled twice gives the same bytes. Checksums of all files tell whether a folder was altered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.data import Data, arrange_inputs
from neurocompile.errors import Problem, UsageError
from neurocompile.files import pack_arrays, write_folder
from neurocompile.ir.graph import Graph
from neurocompile.ir.host import host_to_plain
from neurocompile.ir.ops import Array, Gain, Input, Integrator, Neuron
from neurocompile.program.plain import FORMAT, array_to_json, digest_of, graph_to_json, host_file, sum_of

__all__ = ["FORMAT_VERSION", "Program", "check_free"]

FORMAT_VERSION = 4
"""2 has host regions, 3 gains for each step, 4 a target of the user's own; a program is written in the first version
that has all it needs."""


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

    def files(self, more: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
        """The content of the folder, by file name, ``more`` files of the target among them."""
        arrays, numbers = self._plain_arrays()
        body: dict[str, Any] = {
            "format": FORMAT,
            "version": self._version,
            "target": self.target,
            "arithmetic": self.arithmetic.plain(),
            "timesteps": self.timesteps,
            "settings": self.settings,
            "notes": list(self.notes),
            **numbers,
        }
        body |= {name: value for name, value in (("lines", self.lines), ("chip", self.chip)) if value}
        graphs = f"real\n----\n{self.real}\n\ninteger, for {self.target}\n-------\n{self.integer}\n"
        files = {"arrays.npz": pack_arrays(arrays), "graph.txt": graphs.encode("utf-8", "backslashreplace")}
        if self.integer.hosts:
            body["hosts"] = [host_to_plain(region) for region in self.integer.hosts.values()]
            files |= {host_file(number): r.model for number, r in enumerate(self.integer.hosts.values())}
        files |= more or {}
        body["sha256"] = {name: sum_of(content) for name, content in sorted(files.items())}
        body["sha256"]["program.json"] = digest_of(body)
        text = json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n"
        return {"program.json": text.encode(), **files}

    @property
    def arrays_sum(self) -> str:
        """The checksum of every array of the program, as its folder says it of ``arrays.npz``."""
        return sum_of(pack_arrays(self._plain_arrays()[0]))

    def _plain_arrays(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """All arrays by name, and what of program.json names them."""
        arrays: dict[str, Array] = {}
        return arrays, {
            "real": graph_to_json(self.real, "real", arrays),
            "integer": graph_to_json(self.integer, "integer", arrays),
            "units": {name: array_to_json(unit, f"units/{name}", arrays) for name, unit in self.units.items()},
            "example": {name: array_to_json(x, f"example/{name}", arrays) for name, x in self.example.items()},
        }

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
        files = self.files(more)
        write_folder(folder, files, overwrite)
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
    if folder.is_dir() and not any(folder.iterdir()):
        return
    written = _written_here(folder)
    if written is None:
        fix = "--overwrite replaces programs only; remove it yourself"
        raise UsageError(Problem("the output exists and is no program", str(folder), fix=fix))
    others = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir())
    others = [name for name in others if name not in written] if written else []
    if others:
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        what, fix = "the folder of the program holds other files, too", "move them elsewhere, or write elsewhere"
        raise UsageError(Problem(what, str(folder), shown, fix=fix))


def _written_here(folder: Path) -> frozenset[str] | None:
    """The files that this package wrote into a folder, however damaged they are now; None if it wrote none.

    None of them is known of programs of earlier versions, whose checksums left most files out.
    """
    try:
        body = json.loads((folder / "program.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        return None
    sums = body.get("sha256")
    return frozenset(sums) if isinstance(sums, dict) and "graph.txt" in sums else frozenset()
