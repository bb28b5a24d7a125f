"""Every combination of what was asked for, and those that there cannot be, before anything is compiled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.quantization import Bits, Scales
from neurocompile.reports.explore import Illegal, Placing
from neurocompile.simulator.timing.clock import CLOCKS
from neurocompile.targets import Target, load_target, target_names
from neurocompile.verbs.exploring.tasks import alike

__all__ = ["USUAL", "Build", "Design", "Names", "Space", "chips", "space_of"]

USUAL = "usual"
"""The placement of cores that a chip's clock takes unasked; the only one of chips that have none."""


@dataclass(frozen=True, eq=False)
class Build:
    """What is compiled once: for targets that are alike."""

    targets: tuple[Target, ...]
    bits: Bits
    scale: Scales
    per_channel: bool

    @property
    def per(self) -> str:
        """As the user says it."""
        return "channel" if self.per_channel else "tensor"


@dataclass(frozen=True, eq=False)
class Design:
    """One point: a build on one of its targets, with its cores placed in one way."""

    name: str
    build: Build
    target: Target
    placement: str

    @property
    def mapping(self) -> Placing:
        """How it went to the chip."""
        return Placing(self.build.scale, self.build.per, self.placement)


@dataclass(frozen=True, eq=False)
class Space:
    """The designs in their order, and what is illegal beside them."""

    designs: list[Design]
    illegal: list[Illegal]


@dataclass(frozen=True)
class Names:
    """How points are called: chip, width, and what else there is a choice of."""

    scale: bool
    per: bool
    placement: bool

    def of(self, target: str, width: str, scale: str, per: str, placement: str) -> str:
        """The name of a point."""
        choices = ((self.scale, scale), (self.per, f"per-{per}"), (self.placement, placement))
        return " ".join([target, width, *(word for there, word in choices if there)])


def chips(names: Sequence[str]) -> list[Target]:
    """The targets of some names; of none, all that something can be compiled for.

    Raises:
        UsageError: with every name that is none.
        BadInput: with everything that is wrong in files of the user's own.
    """
    found, unknown, faults = list[Target](), list[Problem](), list[Problem]()
    for name in dict.fromkeys(names or (n for n in target_names() if load_target(n).arithmetic is not None)):
        try:
            found.append(load_target(name))
        except UsageError as error:
            unknown += [replace(problem, where="--targets") for problem in error.problems]
        except BadInput as error:
            faults += error.problems
    if unknown:
        raise UsageError([*unknown, *faults])
    if faults:
        raise BadInput(faults)
    return found


def space_of(
    targets: Sequence[Target], bits: Sequence[Bits], scales: Sequence[Scales], per_channel: Sequence[bool],
    placements: Sequence[str],
) -> Space:  # fmt: skip
    """Every combination, in the order in which they were asked for: by target, width, scale and placement."""
    names = Names(len(scales) > 1, len(per_channel) > 1, len(placements) > 1)
    designs: list[Design] = []
    illegal = [each for target in targets for each in _illegal(target, bits, scales, per_channel, placements)]
    legal = {target.name: _legal(target, bits, placements) for target in targets}
    builds: dict[tuple[str, int, str, bool], Build] = {}
    kinds = {target.name: alike(target) for target in targets if target.arithmetic is not None}
    for target in targets:
        widths, ways = legal[target.name]
        for number, scale, per in product(widths, scales, per_channel):
            key = kinds[target.name], number, scale, per
            if key not in builds:
                same = [t for t in targets if kinds.get(t.name) == key[0] and number in legal[t.name][0]]
                builds[key] = Build(tuple(same), bits[number], scale, per)
            build = builds[key]
            width = f"{build.bits}-bit" if isinstance(build.bits, int) else f"by-layer-{number + 1}"
            designs += [
                Design(names.of(target.name, width, scale, build.per, placement), build, target, placement)
                for placement in ways
            ]
    return Space(designs, illegal)


def _legal(target: Target, bits: Sequence[Bits], placements: Sequence[str]) -> tuple[list[int], list[str]]:
    """The numbers of the widths, and the placements, that a target has."""
    if target.arithmetic is None:
        return [], []
    widths = [number for number, each in enumerate(bits) if not _too_wide(target, each)]
    return widths, [each for each in placements if each in _ways(target)]


def _illegal(
    target: Target, bits: Sequence[Bits], scales: Sequence[str], per: Sequence[bool], placements: Sequence[str]
) -> Iterator[Illegal]:
    """What a target has not got: each counted once, where several things are in the way."""
    builds = len(scales) * len(per)
    if target.arithmetic is None:
        what, fix = "this target is a price list only; nothing can be compiled for it", "leave it out of --targets"
        problem = Problem(what, "--targets", target.name, fix=fix)
        yield _one(target, None, None, len(bits) * builds * len(placements), problem)
        return
    widths, ways = _legal(target, bits, placements)
    for number, each in enumerate(bits):
        if number not in widths:
            yield _one(target, each, None, builds * len(placements), *_too_wide(target, each))
    for placement in placements:
        if placement not in ways:
            has = ", ".join(_ways(target))
            what = "cores are not placed so" if target.clock else "nothing times this chip, so no placement matters"
            problem = Problem(what, "--placement", placement, has, f"add {USUAL} to --placement")
            yield _one(target, None, placement, builds * len(widths), problem)


def _one(target: Target, bits: Bits | None, placement: str | None, count: int, *problems: Problem) -> Illegal:
    return Illegal(target.name, bits, Placing(None, None, placement), count, problems)


def _too_wide(target: Target, bits: Bits) -> list[Problem]:
    assert target.arithmetic is not None
    least, most = target.arithmetic.weight_bits_min, target.arithmetic.weight_bits_max
    asked = {"": bits} if isinstance(bits, int) else bits
    what, fix = "the target has no weights of this width", "choose one that it has"
    return [
        Problem(what, "--bits", f"{name}={width}" if name else str(width), f"{least} to {most}", fix)
        for name, width in asked.items()
        if not least <= width <= most
    ]


def _ways(target: Target) -> tuple[str, ...]:
    return (USUAL, *(CLOCKS[target.clock].placements if target.clock else ()))
