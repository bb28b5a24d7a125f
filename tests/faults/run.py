"""Every kind of fault in several networks, pairs of faults, and networks without any: what validations say of them."""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import neurocompile
from neurocompile.reports import plain
from tests.faults import lava, rtl
from tests.faults.cases import Case, Verdict
from tests.faults.healthy import healthy
from tests.faults.kinds import KINDS, Kind
from tests.faults.networks import DIGITS, Network, digits, drawn

__all__ = ["Found", "Pool", "chosen", "run"]

_DRAWS = 25
"""So often a fault is drawn for a network before the next one is taken."""
_NETWORKS_TRIED = 4
"""Times as many networks as are wanted."""


@dataclass
class Pool:
    """Networks, drawn when they are asked for."""

    seed: int
    with_digits: bool = True
    made: dict[int, Network] = field(default_factory=dict)

    def network(self, number: int) -> Network:
        """By its number; the digits have -1."""
        if number not in self.made:
            self.made[number] = digits() if number == DIGITS else drawn(self.seed, number)
        return self.made[number]


@dataclass
class Found:
    """What a run met; ``kinds`` has the counts of each kind."""

    seed: int
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    healthy: int = 0
    false_alarms: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        """Whether every fault was found, none was given a wrong name, and no kind lacks networks."""
        return not any(failure["what"] != "unknown" for failure in self.failures)

    def total(self, what: str) -> int:
        """Over all kinds."""
        return sum(counts[what] for counts in self.kinds.values())

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        columns = ("cases", "located", "named", "misnamed", "unknown", "extra")
        return {
            "seed": self.seed,
            "kinds": {name: {column: counts[column] for column in columns} for name, counts in self.kinds.items()},
            **{column: self.total(column) for column in columns},
            "healthy": self.healthy,
            "false_alarms": self.false_alarms,
            "left_out": self.left_out,
            "failures": self.failures,
        }


def chosen(names: Sequence[str]) -> list[Kind]:
    """Kinds by name, by where they are planted, or by what they are; all, if none is named.

    Raises:
        ValueError: for a name of none.
    """
    found = [kind for kind in KINDS.values() if not names or {kind.name, *kind.name.split("/")} & set(names)]
    known = {part for kind in found for part in (kind.name, *kind.name.split("/"))}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no kind is called {', '.join(unknown)}; there are {', '.join(KINDS)}")
    return found


def run(
    pool: Pool,
    kinds: Sequence[Kind],
    networks: int,
    count_healthy: int,
    skipped: Mapping[str, str],
    log: Callable[[str], None] = lambda line: None,
) -> Found:
    """Plant all, validate all, and judge.

    Args:
        pool: of networks.
        kinds: of faults.
        networks: for each kind, beside the digits.
        count_healthy: how many networks without a fault.
        skipped: tools that are left out, and why.
        log: is told where it is.
    """
    found = Found(pool.seed)
    for kind in kinds:
        if why := skipped.get(kind.needs, ""):
            found.left_out[kind.name] = why
            continue
        log(kind.name)
        counts = found.kinds.setdefault(kind.name, Counter())
        for case in planted(pool, kind, networks):
            verdict = case.verdict()
            counts.update(cases=1, located=verdict.located, extra=verdict.extra)
            counts[verdict.name] += 1
            if not verdict.is_fine or (kind.is_known and verdict.name == "unknown"):
                found.failures.append(_failure(pool.seed, kind, networks, case, verdict))
        if counts["cases"] < max(networks, kind.cases):
            what = {"what": "too few networks", "kind": kind.name, "cases": counts["cases"]}
            found.failures.append(what)
    log(f"{count_healthy} healthy networks")
    for base in healthy(pool.seed, count_healthy, [n for n in pool.made.values() if n.number != DIGITS]):
        validation = neurocompile.validate(
            base.program, base.inputs, reference=base.model, recorded=base.simulated, backend_samples=0
        )
        said = [cause for stage in plain(validation)["stages"] for cause in stage.get("causes") or []]
        found.healthy += 1
        if said or not validation.passed:
            found.false_alarms += 1
            where = {"base": str(base), "seed": pool.seed}
            found.failures.append({"what": "false alarm", **where, "passed": validation.passed, "causes": said})
    return found


def planted(pool: Pool, kind: Kind, networks: int) -> Iterator[Case]:
    """Cases of a kind, each in another network; pairs begin again with the first one."""
    wanted, made = max(networks, kind.cases), 0
    tried = range(_NETWORKS_TRIED * wanted)
    numbers = [number % max(networks, 1) for number in tried] if kind.cases else list(tried)
    for turn, number in enumerate(numbers):
        if made == wanted:
            break
        if (case := _drawn(pool, kind, number, turn)) is not None:
            made += 1
            yield case
    if pool.with_digits and not kind.needs and (case := _drawn(pool, kind, DIGITS, DIGITS)) is not None:
        yield case


def _drawn(pool: Pool, kind: Kind, number: int, turn: int) -> Case | None:
    r = np.random.default_rng([pool.seed, zlib.crc32(kind.name.encode()), turn + 1])
    for _ in range(_DRAWS if not kind.needs else 4):
        if (case := kind.plant(pool.network(number), r)) is not None:
            return case
    return None


def _failure(seed: int, kind: Kind, networks: int, case: Case, verdict: Verdict) -> dict[str, Any]:
    what = "misnamed" if verdict.name == "misnamed" else "unknown" if verdict.located else "not located"
    return {
        "what": what,
        "kind": kind.name,
        "base": case.base,
        "names": {layer: sorted(names) for layer, names in case.names.items()},
        "first": {layer: [[*spot[:2], list(spot[2])] for spot in spots] for layer, spots in case.spots.items()},
        "differing": case.differing,
        "causes": verdict.said,
        "reproduce": f"python -m tests.faults --seed {seed} --networks {networks} --kinds '{kind.name}' --healthy 0",
    }


def without(skip_lava: bool, skip_rtl: bool) -> dict[str, str]:
    """The tools that are not there, or not wanted."""
    why = {"lava": "--skip-lava" if skip_lava else lava.missing(), "rtl": "--skip-rtl" if skip_rtl else rtl.missing()}
    return {tool: reason for tool, reason in why.items() if reason}


def progress(line: str) -> None:
    """To a person who waits."""
    print(line, file=sys.stderr, flush=True)
