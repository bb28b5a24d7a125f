"""Everything that is wrong with a target's file: its keys, what they need beside them, and what contradicts what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from neurocompile.errors import Problem
from neurocompile.keys import ARITHMETIC, LIF, Key, checked, nearest
from neurocompile.limits import Limits
from neurocompile.registry import Table
from neurocompile.targets.base import COUNTS, FAMILIES, Family
from neurocompile.targets.events import EVENTS, constant
from neurocompile.targets.keys import LIMITS, MESH, MOST_PLACES, NEEDS, TABLES, TOP, UNITS, constant_keys

__all__ = ["Data", "problems_of"]

Data = dict[str, Any]

_ANY = Key("any")
_MOST_NS = 1e6
"""No event takes longer: a core is never busy with one message for two milliseconds."""
_LEAST_CYCLE_NS = 1e-3
"""Times are whole picoseconds, and two messages never leave a link at once."""


def problems_of(data: Data, where: str, timed_as: Mapping[str, Data]) -> list[Problem]:
    """Everything that is wrong with a file.

    Args:
        data: of the file, with what it takes from others.
        where: the file.
        timed_as: the ``[mesh]`` of each target whose events others may take, by name.
    """
    problems = checked({**TOP, **dict.fromkeys(TABLES, _ANY)}, data, "", where)
    name = data.get("family")
    if isinstance(name, str) and name in FAMILIES:
        family = FAMILIES[name]
        problems += checked(family.parameters, data.get("parameters", {}), "parameters", where)
    else:
        family = Family()
        near = nearest(str(name), FAMILIES)
        fix = f"did you mean {near}?" if near else "name one, or install the package that brings it"
        problems.append(Problem("family names none", where, repr(name)[:60], ", ".join(FAMILIES), fix))
    problems += _of_backends(data, family, where)
    problems += _of_limits(data.get("limits", {}), family, where)
    problems += _of_arithmetic(data.get("arithmetic"), where)
    problems += _of_prices(data.get("prices", {}), where)
    if "events" in data:
        problems += _of_events(data, where)
    else:
        problems += [
            Problem(f"[{name}] says nothing alone", where, "no [events]", "[events] beside it", "see docs/timing.md")
            for name in ("mesh", "barrier", "static")
            if name in data
        ]
    return problems + _of_clock(data, family, where, timed_as)


# -- what runs and times it --------------------------------------------------------------------------------------------


def _of_backends(data: Data, family: Family, where: str) -> list[Problem]:
    """Backends are such that can take its programs, and what is emitted is for them."""
    emits, backends = data.get("emits", []), data.get("backends", [])
    if not isinstance(emits, list) or not isinstance(backends, list):
        return []  # told already
    known = (*family.backends, *_announced("neurocompile.emitters"), *_announced("neurocompile.executors"))
    problems = [
        Problem("backends names none for chips of this family", where, repr(name)[:60], ", ".join(known),
                _other(name, known))
        for name in backends
        if name not in known
    ]  # fmt: skip
    fix = "add it to backends, if it can run them, or leave it out"
    return problems + [
        Problem("emits names what does not run its programs", where, repr(name)[:60], f"of backends: {backends}", fix)
        for name in emits
        if name not in backends
    ]


def _of_clock(data: Data, family: Family, where: str, timed_as: Mapping[str, Data]) -> list[Problem]:
    """What times it can, and knows the mesh that its cores are on."""
    clock, whose = data.get("clock", ""), data.get("timed_as", "")
    if not isinstance(clock, str) or not isinstance(whose, str):
        return []  # told already
    problems = []
    known = ("", *family.clocks, *_announced("neurocompile.clocks"))
    if clock not in known:
        limit = ", ".join(repr(each) for each in known)
        problems.append(Problem("clock names none for chips of this family", where, repr(clock)[:60], limit,
                                _other(clock, known[1:])))  # fmt: skip
    if whose and whose not in timed_as:
        problems.append(Problem("timed_as names no target that has events", where, repr(whose)[:60],
                                ", ".join(timed_as), _other(whose, timed_as)))  # fmt: skip
    mesh = data.get("mesh") if "events" in data else timed_as.get(whose) if clock == "events" else None
    if clock == "events" and "events" not in data and not whose:
        what = "clock takes the times of events, and there are none"
        problems.append(
            Problem(what, where, "nothing", "[events], or timed_as", "see docs/timing.md, or leave out clock")
        )
    arithmetic = data.get("arithmetic")
    if clock == "events" and isinstance(arithmetic, dict) and arithmetic.get("event_sums", True) is True:
        what, limit = "clock takes no sums of events on their way (of a pool, say)", "arithmetic.event_sums = false"
        problems.append(Problem(what, where, "true", limit, "say event_sums = false: they become synapses"))
    return problems + _of_meshes(data.get("limits", {}), mesh, where, needed=clock == "events")


def _of_meshes(limits: object, mesh: object, where: str, needed: bool) -> list[Problem]:
    """The mesh on which cores are placed lies within the one whose links are timed."""
    if not isinstance(limits, dict):
        return []  # told already
    if needed:
        missing = [
            Problem(f"limits.{key} is missing beside clock", where, "nothing", LIMITS[key].allowed, f"say {key}")
            for key in ("cores", "mesh")
            if key not in limits
        ]
        if missing:
            return missing
    own, tile = limits.get("mesh"), limits.get("cores_per_tile")
    if not isinstance(mesh, dict) or checked(MESH, mesh, "mesh", where) or not LIMITS["mesh"].takes(own):
        return []
    assert isinstance(own, list)
    fix = 'say [events] with a [mesh] as large, another mesh in [limits], or clock = ""'
    pairs = (("mesh", own[0], "width"), ("mesh", own[1], "height"), ("cores_per_tile", tile, "cores_per_tile"))
    what = "is larger than the mesh that is timed"
    return [
        Problem(f"limits.{key} {what}", where, str(has), f"at most {mesh[most]} ({most})", fix)
        for key, has, most in pairs
        if LIMITS["cores_per_tile"].takes(has) and has > mesh[most]
    ]


def _announced(group: str) -> tuple[str, ...]:
    """What installed packages bring."""
    return tuple(Table[object](group, {}))


def _other(name: object, known: Mapping[str, object] | tuple[str, ...]) -> str:
    near = nearest(str(name), known)
    return f"did you mean {near}?" if near else "name one, or leave it out"


# -- what it holds and computes ----------------------------------------------------------------------------------------


def _of_limits(data: object, family: Family, where: str) -> list[Problem]:
    problems = checked(LIMITS, data, "limits", where)
    if not isinstance(data, dict):
        return problems
    told = {key: value for key, value in data.items() if key in LIMITS and LIMITS[key].takes(value)}
    problems += [
        Problem(f"limits.{key} says nothing of chips of this family", where, str(data[key]), "nothing", "leave it out")
        for key in data
        if key in family.unread
    ]
    needs: dict[str, list[str]] = {}
    for table in (NEEDS, family.needs):
        for key, others in table.items():
            for other in others if key in data and key not in family.unread else ():
                if other not in data and other not in family.unread:
                    needs.setdefault(other, []).append(key)
    problems += [
        Problem(f"limits.{key} is missing beside {', '.join(beside)}", where, "nothing", LIMITS[key].allowed,
                f"say {key}, or leave out {' and '.join(beside)}")
        for key, beside in needs.items()
    ]  # fmt: skip
    if {"synapse_bytes_per_core", "synapse_words_per_core"} <= set(data):
        what = "limits.synapse_bytes_per_core and limits.synapse_words_per_core both say the same memory"
        actual = f"{data['synapse_bytes_per_core']}, {data['synapse_words_per_core']}"
        problems.append(Problem(what, where, actual, "one of them", "leave one out"))
    if "mesh" in told:
        told["mesh"] = tuple(told["mesh"])
    return problems + _between(Limits(**told), where)


def _between(limits: Limits, where: str) -> list[Problem]:
    """Limits that cannot all be true."""
    found = []
    if limits.mesh is not None:
        tiles, own = limits.mesh[0] * limits.mesh[1], limits.cores_per_tile or 1
        actual = f"{limits.mesh[0]} x {limits.mesh[1]} tiles of {own}"
        if tiles * own > MOST_PLACES:
            what, limit = "limits.mesh has places for too many cores", f"{MOST_PLACES:,} cores"
            found.append(Problem(what, where, actual, limit, "make it smaller"))
        if limits.cores is not None and limits.cores > tiles * own:
            what, limit = "limits.cores is more than limits.mesh has places for", f"at most {tiles * own:,}: {actual}"
            found.append(Problem(what, where, f"{limits.cores:,}", limit, "change one"))
    if None not in (limits.neurons, limits.cores, limits.neurons_per_core):
        held = (limits.cores or 0) * (limits.neurons_per_core or 0)
        if (limits.neurons or 0) > held:
            what, limit = "limits.neurons is more than its cores hold", f"at most {held:,}: cores x neurons_per_core"
            found.append(Problem(what, where, f"{limits.neurons:,}", limit, "change one"))
    header, word = limits.entry_header_bits, limits.list_word_bits
    if header is not None and word is not None and header >= word:
        what, limit = "limits.entry_header_bits leaves nothing of a word", f"below list_word_bits, {word}"
        found.append(Problem(what, where, str(header), limit, "change one"))
    return found


def _of_arithmetic(data: object, where: str) -> list[Problem]:
    if data is None:
        return []
    if not isinstance(data, dict):
        return checked(ARITHMETIC, data, "arithmetic", where)
    own = {key: value for key, value in data.items() if key != "lif"}
    problems = checked(ARITHMETIC, own, "arithmetic", where)
    if not problems:
        pairs = (
            ("weight_bits_min", "weight_bits"), ("weight_bits", "weight_bits_max"), ("min_shift", "max_shift"),
            ("decay_fraction", "decay_bits"),
        )  # fmt: skip
        problems = _in_order(own, pairs, "arithmetic", where)
    if "lif" not in data:
        return problems
    of_lif = checked(LIF, data["lif"], "arithmetic.lif", where)
    if not of_lif:
        of_lif = _in_order(
            data["lif"],
            (("bias_exponent_min", "bias_exponent_max"), ("decay_min", "decay_max")),
            "arithmetic.lif",
            where,
        )
    return problems + of_lif


def _in_order(data: Data, pairs: tuple[tuple[str, str], ...], name: str, where: str) -> list[Problem]:
    return [
        Problem(f"{name}.{low} is above {name}.{high}", where, str(data[low]), f"at most {data[high]}", "change one")
        for low, high in pairs
        if data[low] > data[high]
    ]


# -- what it costs -----------------------------------------------------------------------------------------------------


def _of_prices(data: object, where: str) -> list[Problem]:
    problems = checked(dict.fromkeys(COUNTS, _ANY), data, "prices", where)
    if not isinstance(data, dict):
        return problems
    for count, price in data.items():
        problems += _of_constant(price, f"prices.{count}", where, "pJ")
        covers = price.get("covers") if isinstance(price, dict) else None
        problems += [
            Problem(f"prices.{count}.covers names what is not counted", where, repr(name)[:60], ", ".join(COUNTS),
                    _other(name, COUNTS))
            for name in (covers if isinstance(covers, list) else ())
            if name not in COUNTS
        ]  # fmt: skip
    return problems


def _of_constant(data: object, name: str, where: str, unit: str, low: float = 0, high: float = 1e15) -> list[Problem]:
    problems = checked(constant_keys(unit, low, high), data, name, where)
    if not isinstance(data, dict):
        return problems
    fix = _converted(data, unit)
    problems = [replace(each, fix=fix) if fix and each.what.startswith(f"{name}.unit ") else each for each in problems]
    if problems:
        return problems
    found = constant(data)
    if found.min <= found.nominal <= found.max:
        return []
    actual = f"{found.min:g}, {found.nominal:g}, {found.max:g}"
    return [Problem(f"{name} is in no order", where, actual, "min <= nominal <= max", "change one")]


def _converted(data: Data, unit: str) -> str:
    """How to say in one unit what is said in another; "" where that is not known."""
    other, nominal = data.get("unit"), data.get("nominal")
    factor = UNITS[unit].get(other.replace("µ", "u")) if isinstance(other, str) else None
    if factor is None or factor == 1:
        return f"say it in {unit}" if factor is None and other is not None else ""
    number = isinstance(nominal, int | float) and not isinstance(nominal, bool)
    return f"1 {other} is {factor:g} {unit}" + (f": write {nominal * factor:g} {unit}" if number and nominal else "")


def _of_events(data: Data, where: str) -> list[Problem]:
    """All events with their times, and the mesh and the barrier beside them."""
    problems = [
        Problem(f"{name} is missing beside [events]", where, "nothing", f"[{name}]", "see docs/timing.md")
        for name in ("mesh", "barrier")
        if name not in data
    ]
    if "mesh" in data:
        problems += _of_mesh(data["mesh"], where)
    names = (*EVENTS, "link_cycle")
    problems += checked({name: Key("any", needed=True) for name in names}, data["events"], "events", where)
    for name, event in data["events"].items() if isinstance(data["events"], dict) else ():
        if not isinstance(event, dict):
            problems += checked({}, event, f"events.{name}", where)
            continue
        needed = ("latency", *(("energy",) if name in EVENTS else ()))
        problems += checked({part: Key("any", needed=True) for part in needed}, event, f"events.{name}", where)
        least = _LEAST_CYCLE_NS if name == "link_cycle" else 0
        if "latency" in event:
            problems += _of_constant(event["latency"], f"events.{name}.latency", where, "ns", least, _MOST_NS)
        if "energy" in event and name in EVENTS:
            problems += _of_constant(event["energy"], f"events.{name}.energy", where, "pJ")
    if "static" in data:
        problems += _of_constant(data["static"], "static", where, "mW")
    return problems + (_of_barrier(data["barrier"], where) if "barrier" in data else [])


def _of_mesh(data: object, where: str) -> list[Problem]:
    problems = checked(MESH, data, "mesh", where)
    if problems or not isinstance(data, dict):
        return problems
    width, height, own = data["width"], data["height"], data["cores_per_tile"]
    if width * height * own <= MOST_PLACES:
        return []
    actual, limit = f"{width} x {height} tiles of {own}", f"{MOST_PLACES:,} cores"
    return [Problem("mesh has places for too many cores", where, actual, limit, "make it smaller")]


def _of_barrier(data: object, where: str) -> list[Problem]:
    keys = {"unit": Key("text", choices=("us", "ns"), needed=True), "tiles": Key("any", needed=True)}
    texts = dict.fromkeys(("basis", "scope", "source"), Key("text"))
    problems = checked({**keys, "latency": Key("any", needed=True), **texts}, data, "barrier", where)
    if problems or not isinstance(data, dict):
        return problems
    tiles, latency = data["tiles"], data["latency"]
    count, time = Key("number", 0, MOST_PLACES), Key("number", 0, _MOST_NS, whole=False)
    pair = isinstance(tiles, list) and isinstance(latency, list) and len(tiles) == len(latency) > 0
    if pair and all(map(count.takes, tiles)) and all(map(time.takes, latency)) and tiles == sorted(set(tiles)):
        return []
    what = "barrier.tiles and barrier.latency do not pair"
    limit = f"numbers of tiles that rise, and as many times, each {time.allowed}"
    return [Problem(what, where, f"{tiles}, {latency}"[:60], limit, "give one latency for each number of tiles")]
