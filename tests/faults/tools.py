"""What another tool did with a program in which something was altered, and the validation that it was part of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from neurocompile.data import Data
from neurocompile.ir.ops import Array
from neurocompile.ir.trace import Trace
from neurocompile.reports.validation import Validation
from neurocompile.simulator.base import Executor, Runner
from neurocompile.verbs.validate import validate_program
from tests.faults.chip import Spikes
from tests.faults.networks import Base

__all__ = ["Ran", "ToolFault", "run_in"]


@dataclass(frozen=True, eq=False)
class Ran:
    """What came of a fault: its right names, what was fired, and what the validation says."""

    names: frozenset[str]
    spikes: Spikes
    validation: Validation


ToolFault: TypeAlias = Callable[[Base, str, np.random.Generator], Ran | None]
"""A fault in a layer; None where there is nothing that could be wrong in this way."""


@dataclass
class _Watched:
    """An executor, and what it did."""

    inner: Executor
    traces: list[Trace] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.inner.name

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        self.traces.append(self.inner.run(inputs, membranes=membranes))
        return self.traces[-1]


def run_in(runner: Runner, executor: Executor, base: Base, names: frozenset[str]) -> Ran:
    """Validate a program with an executor."""
    watched, data = _Watched(executor), Data(dict(base.inputs), None, "the samples")
    validation = validate_program(base.program, data, opened=[(replace(runner, samples=len(data)), watched)])
    (trace,) = watched.traces
    return Ran(names, dict(trace.spikes), validation)
