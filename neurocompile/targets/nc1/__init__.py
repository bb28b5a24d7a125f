"""nc1, the neurocore of this project: synapses in lists of words that axons share, on a mesh of cores (docs/nc1.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from neurocompile.errors import Problem
from neurocompile.targets.base import Encode, Family, Target
from neurocompile.targets.keys import Key

if TYPE_CHECKING:
    from neurocompile.ir.graph import Graph
    from neurocompile.ir.placed import Placed
    from neurocompile.program import Program

__all__ = ["FAMILY", "FIXED", "Nc1Family"]

FIXED: Mapping[str, int | str] = {
    "decay_bits": 18, "decay_fraction": 16, "rounding": "nearest", "overflow": "saturate",
}  # fmt: skip
"""What of its arithmetic is written in the Verilog, and is no parameter."""


class Nc1Family(Family):
    """What nc1's silicon asks of a compiler."""

    parameters: Mapping[str, Key] = {
        "router_depth": Key(low=1, high=1 << 10, needed=True),
        "input_depth": Key(low=1, high=1 << 10, needed=True),
        "spike_depth": Key(low=1, high=1 << 10, needed=True),
        "payload_bits": Key(low=2, high=16, needed=True),
        "barrier": Key(low=0, high=1 << 10, needed=True),
    }
    clocks: tuple[str, ...] = ("cycles",)
    backends: tuple[str, ...] = ("nir", "rtl")
    needs: Mapping[str, tuple[str, ...]] = {}  # a tile is a core
    unread: frozenset[str] = frozenset(
        ("cores_per_tile", "synapse_bytes_per_core", "list_word_bits", "entry_header_bits", "entry_synapses",
         "list_words", "base_compartments", "population_atoms", "delay", "index_bits", "halos", "kernels_once",
         "leaving_slots", "packing", "compartment_profiles", "threshold_profiles", "synapse_formats")
    )  # fmt: skip

    def faults(self, target: Target) -> list[Problem]:
        """Cores that the RTL cannot have: lanes that are no power of two, an arithmetic that is not its own."""
        arithmetic, limits = target.arithmetic, target.limits
        if arithmetic is None:
            return []
        lanes, neurons = limits.lanes or 0, limits.neurons_per_core or 0
        found = []
        if lanes and neurons and (lanes not in (2, 4, 8, 16) or neurons % lanes):
            what = "limits.lanes must be a power of two that divides limits.neurons_per_core"
            found.append(
                Problem(what, actual=f"{lanes} lanes, {neurons} neurons", limit="2, 4, 8 or 16", fix="change one")
            )
        unlimited = [
            name
            for name in (
                "neurons_per_core",
                "input_axons_per_core",
                "output_axons_per_core",
                "synapse_words_per_core",
                "lanes",
            )
            if getattr(limits, name) is None
        ]
        found += [Problem(f"limits.{name} is missing", limit="a number", fix=f"say {name}") for name in unlimited]
        found += [
            Problem(f"arithmetic.{name} is fixed in the RTL", actual=str(getattr(arithmetic, name)), limit=str(value),
                    fix="leave it as it is")
            for name, value in FIXED.items() if getattr(arithmetic, name) != value
        ]  # fmt: skip
        return found

    def illegal(self, target: Target, graph: Graph, one: float, encode: Encode | None = None) -> list[Problem]:
        """What nc1's neurons and events do not do."""
        from neurocompile.targets.nc1.chip import illegal, parameters_of

        return illegal(graph, parameters_of(target), one)

    def place(self, target: Target, program: Program, weight_bits: int, placement: str | None) -> Placed | None:
        """Cut synapses into lists; None for a program with host regions, which runs chip and host in turns."""
        from neurocompile.targets.nc1.chip import map_to

        return None if program.integer.hosts else map_to(target, program, placement or "in-order").placed


FAMILY = Nc1Family()
