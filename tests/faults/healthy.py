"""Networks that have nothing: a validation of these has to pass, and to name no cause."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurocompile.compiler import Options, compile_graph
from neurocompile.errors import NeurocompileError
from neurocompile.ir.graph import Graph
from neurocompile.ir.interpret import interpret
from neurocompile.ir.ops import Array, Gain
from neurocompile.ir.trace import Trace
from tests.faults.networks import Base, Network
from tests.random_networks.choices import calibrated
from tests.random_networks.loihi import deep_network

__all__ = ["healthy"]

TARGETS = ("generic", "nc1", "loihi2")
# Every so many-th is one of torch.
_OF_TORCH = 10


@dataclass
class OfGraph:
    """A graph as a model of its own: what its compiler made of it is compared with it as it came in."""

    graph: Graph
    timesteps: int
    example: dict[str, Array]
    notes: list[str] = field(default_factory=list)
    name: str = "the graph in float64"

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        return dict(self.graph.given_inputs)

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        return interpret(self.graph, inputs, self.timesteps, membranes=membranes)


def healthy(seed: int, count: int, drawn: list[Network]) -> Iterator[Base]:
    """So many programs whose layers fire now and then, and whose integers are near enough to pass.

    Args:
        seed: of those that are drawn.
        count: of programs.
        drawn: networks of torch, of which some programs are made.
    """
    made, number = 0, 0
    while made < count:
        target = TARGETS[number % len(TARGETS)]
        number += 1
        if drawn and made % _OF_TORCH == 0 and made // _OF_TORCH < len(drawn):
            yield drawn[made // _OF_TORCH].base(target)
            made += 1
        elif (base := _deep(seed, number, target)) is not None:
            yield base
            made += 1


def _deep(seed: int, number: int, target: str) -> Base | None:
    """A deep network; None where the target does not take it, or it does not fire as it should."""
    drawn = deep_network(random.Random(seed * 1_000_003 + number))
    if drawn.graph.of(Gain):
        return None
    model: Any = OfGraph(drawn.graph, drawn.timesteps, drawn.inputs)
    try:
        program = compile_graph(drawn.graph, target, drawn.timesteps, Options(), calibration=drawn.inputs)
    except NeurocompileError:
        return None
    base = Base(number, model, program, drawn.inputs)
    near = np.mean([np.mean(spikes == base.simulated[name]) for name, spikes in base.expected.items()])
    return base if calibrated(base.simulated) and near > 0.98 else None
