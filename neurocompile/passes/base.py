"""What a pass is: a named, frozen object that takes a graph and gives a graph, and says what it changed and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from neurocompile.errors import NeurocompileError
from neurocompile.ir.graph import Graph

__all__ = ["Pass", "PassFailed", "run_passes"]


class Pass(Protocol):
    """Pure: the graph that comes in is not changed. A graph verifies itself when it is made."""

    @property
    def name(self) -> str:
        """What ``--print-ir-after`` calls it."""

    def run(self, graph: Graph) -> tuple[Graph, list[str]]:
        """The new graph, and one line for each thing that was changed."""


class PassFailed(Exception):
    """A fault of the compiler: names the pass, and those that ran before it."""


def run_passes(
    graph: Graph, passes: Sequence[Pass], after: Callable[[str, Graph], None] | None = None
) -> tuple[Graph, list[str]]:
    """Run passes in order; ``after(name, graph)`` is called with each result.

    Raises:
        PassFailed: if a pass breaks the graph. What the user can mend passes through as it is.
    """
    log: list[str] = []
    done: list[str] = []
    for step in passes:
        try:
            graph, lines = step.run(graph)
        except NeurocompileError:
            raise
        except Exception as error:
            before = ", ".join(done) or "none"
            raise PassFailed(f"pass {step.name} failed (passes before it: {before}): {error}") from error
        log += [f"{step.name}: {line}" for line in lines]
        done.append(step.name)
        if after:
            after(step.name, graph)
    return graph, log
