"""What graphs reached: words of what they are made of, functions that ran for them, and lines of the code.

Functions are counted for each graph; of lines only the first time is noted, and a function all of whose lines ran is
traced no more, so that watching costs little after some hundred graphs. What runs in C++ is told by the ways that the
engine's plan chose for it.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module, util
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from neurocompile.ir.ops import Neuron
from neurocompile.simulator.engine import Engine
from tests.fuzz.graphs.cases import Case

__all__ = ["WATCHED", "Reach", "words_of"]

WATCHED = {
    "passes": "neurocompile.passes",
    "quantization": "neurocompile.quantization",
    "reference": "neurocompile.simulator.reference",
    "engine": "neurocompile.simulator.engine",
    **{f"backends.{name}": f"neurocompile.backends.{name}" for name in ("nir", "onnx", "lava", "netx", "rtl")},
}
"""By the name in reports: a package or a module."""


def words_of(case: Case) -> set[str]:
    """What a case is, in words: operations, neurons, the arithmetic, the target, how the engine computes it."""
    found = {f"word: {word}" for word in case.words}
    graph = case.graph
    found |= {f"op: {type(node.op).__name__} of {_given(case, node.name)}" for node in graph}
    for node in graph.of(Neuron):
        op: Any = node.op
        more = {
            "several": op.max_spikes > 1, "signed": op.negative_threshold is not None, "refractory": op.refractory,
            "deaf": op.deaf, "strict": op.strict, "norm": op.norm is not None,
        }  # fmt: skip
        found.add(f"neuron: {', '.join([op.reset, *(word for word, there in more.items() if there)])}")
    found |= {f"host: {region.kind}" for region in graph.hosts.values()}
    if case.program is not None:
        arithmetic = case.program.arithmetic
        found.add(f"target: {case.program.target}")
        found.add(f"arithmetic: {arithmetic.rounding}, {arithmetic.overflow}, {arithmetic.current_overflow or 'as it'}")
        found |= {f"setting: {name} {value}" for name, value in case.program.settings.items() if name != "chips"}
        if not case.program.integer.hosts and Engine.isas():
            with suppress(Exception):  # a fault that the executor tells
                ways = Engine(case.program.integer, arithmetic).ways(case.timesteps)
                found |= {f"way: {way}" for way in ways.values()}
    if case.refused:
        found.add(f"refused: {case.refused}")
    return found


def _given(case: Case, name: str) -> str:
    node = case.graph[name]
    return case.graph.edges[node.inputs[0]].carries if node.inputs else "nothing"


class Reach:
    """Lines that ran and did not, by watched file; functions that ran for the graph at hand."""

    def __init__(self) -> None:
        self.lines: dict[str, set[int]] = {}
        self.missed: dict[str, set[int]] = {}
        self.folders: dict[str, str] = {}
        self.ran: Counter[str] = Counter()
        self._left: dict[CodeType, set[int] | None] = {}
        self._names: dict[CodeType, str] = {}
        for label, package in WATCHED.items():
            for file in _files(package):
                self.folders[str(file)] = label
                self.lines[str(file)] = _lines(file)
                self.missed[str(file)] = set(self.lines[str(file)])

    @contextmanager
    def watching(self) -> Iterator[Counter[str]]:
        """Trace what runs inside; gives the functions that ran."""
        self.ran = Counter()
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            yield self.ran
        finally:
            sys.settrace(before)

    def _called(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        try:
            left = self._left[code]
        except KeyError:
            left = self._left[code] = self._new(code)
        if left is None:
            return None
        self.ran[self._names[code]] += 1
        if not left:
            return None
        missed = self.missed[os.path.realpath(code.co_filename)]

        def line(frame: FrameType, event: str, _: Any) -> Any:
            if event == "line":
                left.discard(frame.f_lineno)
                missed.discard(frame.f_lineno)
            return line

        return line

    def _new(self, code: CodeType) -> set[int] | None:
        file = os.path.realpath(code.co_filename)
        if file not in self.folders or code.co_name == "<module>":
            return None
        self._names[code] = f"ran: {Path(file).stem}.{code.co_qualname}"
        return {number for _, _, number in code.co_lines() if number is not None} & self.missed[file]

    def percent(self) -> dict[str, float]:
        """Of the lines within functions, by folder."""
        whole: Counter[str] = Counter()
        left: Counter[str] = Counter()
        for file, label in self.folders.items():
            whole[label] += len(self.lines[file])
            left[label] += len(self.missed[file])
        return {label: round(100 * (1 - left[label] / whole[label]), 1) for label in WATCHED if whole[label]}

    def never(self) -> dict[str, list[str]]:
        """Lines that no graph reached, as ranges, by file."""
        return {
            f"{self.folders[file]}/{Path(file).name}": _ranges(missed, self.lines[file])
            for file, missed in sorted(self.missed.items())
            if missed
        }

    def plain(self) -> dict[str, list[int]]:
        """What is still missed, for :meth:`resume`."""
        return {f"{self.folders[file]}/{Path(file).name}": sorted(missed) for file, missed in self.missed.items()}

    def resume(self, plain: dict[str, list[int]]) -> None:
        """Go on from what was missed before."""
        for file in self.missed:
            known = plain.get(f"{self.folders[file]}/{Path(file).name}")
            if known is not None:
                self.missed[file] &= set(known)
        self._left.clear()


def _files(package: str) -> list[Path]:
    if util.find_spec(package) is None:
        return []
    place = Path(inspect.getfile(import_module(package))).resolve()
    if place.name != "__init__.py":
        return [place]
    return sorted(file for file in place.parent.glob("*.py"))


def _lines(file: Path) -> set[int]:
    """The lines within functions; those of modules and classes run when they are imported."""
    found: set[int] = set()
    waiting = [compile(file.read_text(), str(file), "exec")]
    while waiting:
        code = waiting.pop()
        waiting += [const for const in code.co_consts if isinstance(const, CodeType)]
        if code.co_flags & inspect.CO_OPTIMIZED:
            found |= {
                number for _, _, number in code.co_lines() if number is not None and number != code.co_firstlineno
            }
    return found


def _ranges(numbers: set[int], within: set[int]) -> list[str]:
    """``3, 4, 7`` as ``3-4``, ``7``; lines without code between do not part them."""
    found: list[list[int]] = []
    before = -1
    order = {number: place for place, number in enumerate(sorted(within))}
    for number in sorted(numbers):
        if found and order[number] == order[before] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
        before = number
    return [str(first) if first == last else f"{first}-{last}" for first, last in found]
