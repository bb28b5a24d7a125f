"""What an executor is: anything that does with samples what a network does, and tells it as a Trace.

PyTorch, the real graph, the reference, the engine, Lava, the RTL and a recording are all of this kind. Those that run a
Program besides the simulator stand in a table of the verb that compares them (``verbs/validate.py``); an installed
package adds one by an entry point::

    [options.entry_points]
    neurocompile.executors =
        toy = toy_executor:TOY
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from neurocompile.ir.ops import Array
from neurocompile.ir.trace import Trace
from neurocompile.program import Program

__all__ = ["Executor", "Runner", "RunnerSettings"]


class Executor(Protocol):
    """What runs a network."""

    @property
    def name(self) -> str:
        """What it is, as it is shown to a person."""

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Run samples, each from rest.

        Args:
            inputs: ``inputs[name][N, T, *shape]``, in real units and network time.
            membranes: whether membranes and potentials are wanted, where the executor knows them.
        """


@dataclass(frozen=True)
class RunnerSettings:
    """How and where a program is run besides the simulator; each runner reads what concerns it.

    Attributes:
        samples: how many are run, at most; None: as many as the runner says; 0: none.
        time_limit_s: of each run, which is then killed.
        lava_python: the Python 3.10 that has Lava, or its environment; None: the one that is found.
        hardware: run on the chip itself, where the machine has one.
        folder: of the Program, whose files are run; None: they are made anew.
        trust: run code of that folder even if it is not what this package writes.
    """

    samples: int | None = None
    time_limit_s: float = 600.0
    lava_python: Path | None = None
    hardware: bool = False
    folder: Path | None = None
    trust: bool = False


@dataclass(frozen=True)
class Runner:
    """A way to run programs besides the simulator: an entry of the table.

    Attributes:
        stage: what the comparison with it is called.
        samples: how many it runs if nobody says.
        open: what runs a program, or why it does not; "" where it has nothing to do with such programs.
        executor: what a person calls it, where that is not the stage's name.
        later: what `export` says of it, which runs nothing.
        hosts: whether it runs programs of which a host computes parts.
        of_any: whether it runs programs for any chip, and stands for none of them.
    """

    stage: str
    samples: int
    open: Callable[[Program, RunnerSettings], Executor | str]
    executor: str = ""
    later: str = ""
    hosts: bool = False
    of_any: bool = False
