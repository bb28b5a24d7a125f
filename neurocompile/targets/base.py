"""What a chip is: its data (a TOML file), and the family whose code knows what to do with them.

Nothing here needs NumPy; what a family does is loaded when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import DoesNotFit, Problem
from neurocompile.limits import Limits
from neurocompile.registry import Table
from neurocompile.targets.events import AsyncEvents, Constant

if TYPE_CHECKING:
    from neurocompile.ir.graph import Graph
    from neurocompile.ir.placed import Placed
    from neurocompile.passes import Pass
    from neurocompile.program import Program
    from neurocompile.targets.keys import Key

__all__ = ["COUNTS", "FAMILIES", "Encode", "Family", "Fit", "Target"]

Encode = Literal["graded", "host"]
"""How real-valued inputs reach a chip with neurons of its own."""

COUNTS = {
    "sop": "synaptic operations",
    "mac": "multiply-accumulates",
    "neuron_active": "active neuron updates",
    "neuron_inactive": "inactive neuron updates",
    "spike": "spikes",
    "bias_write": "biases written by the host",
}
"""What a price list can price: the counts of a simulation, by the names that price lists use."""


@dataclass(frozen=True)
class Fit:
    """Whether a program fits on a target.

    Attributes:
        placed: where every neuron is; None where cores are not published, or none could hold it.
        chips: the least number that could hold it by the published limits; None if there are none.
        problems: everything in which it is no program for the target.
    """

    placed: Placed | None
    chips: int | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Target:
    """One chip, or one way to price.

    Attributes:
        name: what ``--target`` takes.
        description: one line.
        arithmetic: how it computes; None for a price list, for which nothing can be compiled.
        limits: what it holds.
        prices: of the events that are counted, by the names of :data:`COUNTS`.
        emits: the backends whose files an export writes by default.
        family: whose silicon it is, one of :data:`FAMILIES`.
        backends: what emits and runs its programs.
        clock: what times them, a key of the simulator's clocks; "" if nothing does.
        timed_as: the target whose events the clock of an asynchronous chip takes; "" for its own.
        events: what single events cost, if that is known.
        parameters: what only its family knows of.
        data: what describes it, where that is a file of the user's own; a program keeps it.
    """

    name: str
    description: str
    arithmetic: Arithmetic | None
    limits: Limits
    prices: dict[str, Constant] = field(default_factory=dict)
    emits: tuple[str, ...] = ()
    family: str = "generic"
    backends: tuple[str, ...] = ()
    clock: str = ""
    timed_as: str = ""
    events: AsyncEvents | None = None
    parameters: dict[str, int] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict, repr=False, metadata={"json": False})

    @property
    def priced(self) -> bool:
        """Whether anything on it has a published price."""
        return bool(self.prices)

    @property
    def is_unlimited(self) -> bool:
        """Whether it is as large as the network: its arithmetic is its own, and no chip of it is limited."""
        return self.arithmetic is not None and self.arithmetic.published and not self.limits.bound_chips

    @property
    def covered(self) -> frozenset[str]:
        """The counts that its prices pay for, directly or as part of an all-in price."""
        return frozenset(self.prices) | {name for price in self.prices.values() for name in price.covers}

    @property
    def code(self) -> Family:
        """What its family does."""
        return FAMILIES[self.family]

    def place(self, program: Program, placement: str | None = None) -> Placed | None:
        """Where every neuron of a program would be on its cores; None where these are not published.

        Args:
            program: compiled for any target.
            placement: of :data:`neurocompile.mapping.placement.PLACEMENTS`; None: the family's usual one.

        Raises:
            DoesNotFit: for what no number of its chips could hold.
        """
        return self.code.place(self, program, self._weight_bits(program), placement)

    def fit(self, program: Program, chips: int = 1) -> Fit:
        """Where a program is on so many of these chips, and everything in which it is none for them.

        Args:
            program: compiled for this target, or for one whose counts it prices.
            chips: how many there are.
        """
        one = 1 << program.arithmetic.decay_fraction
        encode = program.settings.get("encode")
        found = self.code.illegal(self, program.integer, one, encode) if program.target == self.name else []
        found += self.code.oversize(self, program.integer, chips)
        placed = None
        try:
            placed = self.place(program)
            found += [] if placed is None else placed.problems(chips)
        except DoesNotFit as error:
            found += error.problems
        least = self.code.chips_by_size(self, program.integer)
        needed = max([*least, *([] if placed is None else [placed.chips])], default=None)
        return Fit(placed, needed, tuple(problem.at(program.lines) for problem in dict.fromkeys(found)))

    def violations(self, program: Program, chips: int = 1) -> tuple[Problem, ...]:
        """The problems of :meth:`fit`; none if the program runs there."""
        return self.fit(program, chips).problems

    def _weight_bits(self, program: Program) -> int:
        """The width of a stored weight: the program's own, or as this target has them."""
        bits = program.settings.get("bits") if program.target == self.name else None
        return int(bits or (self.arithmetic.weight_bits if self.arithmetic is not None else 8))


class Family:
    """What the silicon of a family of chips asks of a compiler; this one takes every network as it is.

    A family with code of its own overrides what it does otherwise. Each is made once, without arguments.
    """

    parameters: Mapping[str, Key] = {}
    """The keys of ``[parameters]`` in its files, and what each may be."""
    clocks: tuple[str, ...] = ("events",)
    """What can time its chips, beside clocks that packages bring."""
    backends: tuple[str, ...] = ("nir",)
    """What can emit or run its programs, beside backends that packages bring."""
    needs: Mapping[str, tuple[str, ...]] = {"mesh": ("cores_per_tile",)}
    """Limits that its chips need beside others, as in :data:`neurocompile.targets.keys.NEEDS`."""
    unread: frozenset[str] = frozenset()
    """Limits that say nothing of its chips."""

    def faults(self, target: Target) -> list[Problem]:
        """What is wrong with a file of this family beside its single keys."""
        return []

    def encodings(self, target: Target) -> tuple[Encode, ...]:
        """The ways in which real-valued inputs may reach the chip, the usual one first; none: as numbers."""
        return ()

    def arithmetic(self, arithmetic: Arithmetic, bits: int, plain_weights: bool) -> Arithmetic:
        """What is compiled with: the target's own, unless weights have to be ``plain``, mantissas alone."""
        return arithmetic

    def onto_neurons(self, arithmetic: Arithmetic, host: frozenset[str]) -> tuple[Pass, ...]:
        """Passes behind the synaptic form, which bring neurons into the form that the chip's have.

        Args:
            arithmetic: what is compiled with.
            host: layers that the host computes.
        """
        return ()

    def illegal(self, target: Target, graph: Graph, one: float, encode: Encode | None = None) -> list[Problem]:
        """Every layer of a graph in synaptic form that breaks a rule of the chip.

        Args:
            target: of this family.
            graph: real, or in integers.
            one: what a decay of 1 is in it.
            encode: how its real-valued inputs reach the chip, of :meth:`encodings`.
        """
        return []

    def oversize(self, target: Target, graph: Graph, chips: int) -> list[Problem]:
        """The limits of whole chips that a graph exceeds."""
        from neurocompile.mapping.fit import too_much

        return too_much(target.name, target.limits, graph, chips)

    def chips_by_size(self, target: Target, graph: Graph) -> list[int]:
        """How many chips each limit of a whole chip asks for."""
        from neurocompile.mapping.fit import chips_by_size

        return chips_by_size(target.limits, graph)

    def place(self, target: Target, program: Program, weight_bits: int, placement: str | None) -> Placed | None:
        """Cut layers into boxes and place these; None where cores are not published."""
        from neurocompile.mapping import cut_boxes
        from neurocompile.mapping.host import chip_graph, host_layers
        from neurocompile.mapping.resets import soft_resets

        if target.limits.cores is None:
            return None
        host = host_layers(program)
        own = program.arithmetic if program.target == target.name else None  # others' integers are in other registers
        return cut_boxes(
            chip_graph(program), target.limits, target.name, weight_bits=weight_bits, host=host,
            placement=placement or "snake", soft_resets={} if own is None else soft_resets(program.integer, own, host),
            widths={} if own is None else program.settings.get("layer_bits"),
        )  # fmt: skip


FAMILIES: Table[Family] = Table(
    "neurocompile.families",
    {
        "generic": "neurocompile.targets.generic:FAMILY",
        "loihi": "neurocompile.targets.loihi:FAMILY",
        "nc1": "neurocompile.targets.nc1:FAMILY",
        "priced": "neurocompile.targets.priced:FAMILY",
    },
)
"""Families by name; the TOML files of their targets lie beside their code."""
