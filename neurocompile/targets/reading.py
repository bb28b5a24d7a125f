"""From a TOML file to a target: found by name or by path, checked key by key. A file is data and imports no code."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.keys import ARITHMETIC, LIF, Key, checked
from neurocompile.limits import Limits
from neurocompile.printable import printable
from neurocompile.targets.base import COUNTS, FAMILIES, Target
from neurocompile.targets.events import EVENTS, AsyncEvents, constant, events_of
from neurocompile.targets.keys import CONSTANT, LIMITS, MESH, TABLES, TOP

if TYPE_CHECKING:
    from neurocompile.program import Program

__all__ = ["load_events", "load_target", "target_names", "target_of", "toml_of"]

Data = dict[str, Any]


def target_names() -> list[str]:
    """All targets of this package and of the families that other packages bring, by name."""
    return sorted(_files())


def load_target(name: str) -> Target:
    """One target.

    Args:
        name: of a target, or the path of a TOML file of the user's own (anything that ends so).

    Raises:
        UsageError: if there is none of that name, with the nearest names.
        BadInput: for a file with everything that is wrong in it.
    """
    if name.endswith(".toml"):
        path = Path(name)
        own = path.stem if path.stem not in _files() else path.name
        data = _resolved(_parsed(path), name)
        return _target(own, data, name, kept=data)
    return _installed(name)


@cache
def _installed(name: str) -> Target:
    return _target(name, _data_of(name), f"{name}.toml")


def target_of(program: Program) -> Target:
    """What a program was compiled for: as the program itself describes it, if it came from a file of the user's own.

    Raises:
        BadInput: if the package that has the target is not installed here, or what the program says of it is wrong.
    """
    target = _described(program)
    own = target.arithmetic
    if own is not None and (own.lif is None) != (program.arithmetic.lif is None):
        what = f"it is for {printable(program.target)[:60]}, and does not say what that chip's neurons compute with"
        raise BadInput(Problem(what, "program.json: arithmetic.lif", fix="export the model again"))
    return target


def _described(program: Program) -> Target:
    if program.chip:
        return _target(program.target, program.chip, "the target in the program", kept=program.chip)
    if program.target not in _files():
        what, fix = "the program is for a target that is not known here", "install the package that brings it"
        raise BadInput(Problem(what, "program.json", printable(program.target)[:60], ", ".join(sorted(_files())), fix))
    return load_target(program.target)


def load_events(name: str) -> AsyncEvents:
    """What single events cost on a target.

    Raises:
        UsageError: for a target without any.
    """
    events = load_target(name).events
    if events is None:
        fix = "use loihi-sanafe"
        raise UsageError(Problem("this target says nothing of the time of single events", "target", name, fix=fix))
    return events


def toml_of(name: str) -> str:
    """The file of a target, to start one's own from.

    Raises:
        UsageError: as :func:`load_target` does.
    """
    load_target(name)
    path = Path(name) if name.endswith(".toml") else _files()[name]
    return path.read_text("utf-8")


@cache
def _files() -> dict[str, Path]:
    """The file of each target, by its name; they lie beside the code of their families."""
    found: dict[str, Path] = {}
    for family in FAMILIES:
        spec = find_spec(FAMILIES.home(family))
        if spec is not None and spec.origin is not None:
            found |= {path.stem: path for path in sorted(Path(spec.origin).parent.glob("*.toml"))} | found
    return found


def _data_of(name: str) -> Data:
    known = _files()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.4)
        fix = f"did you mean {near[0]}? " if near else ""
        problem = Problem(
            "unknown target", "--target", name, ", ".join(sorted(known)), fix + "see neurocompile targets"
        )
        raise UsageError(problem)
    return _resolved(_parsed(known[name]), f"{name}.toml")


def _parsed(path: Path) -> Data:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        fix = "check the path, or see neurocompile targets"
        known = ", ".join(sorted(_files()))
        raise UsageError(Problem("unknown target: no such file", "--target", str(path), known, fix)) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        fix = "start from one that works: neurocompile targets loihi --toml"
        raise BadInput(Problem(f"this is no TOML file: {error}", str(path), fix=fix)) from error


# -- what a file leaves to others --------------------------------------------------------------------------------------


def _resolved(data: Data, where: str) -> Data:
    """A file's data with what it takes from other targets: of ``like`` (or its family's own target) all that it does
    not say, of ``arithmetic.same_as`` the arithmetic, which is then not its own."""
    like = data.get("like")
    if like is None and "arithmetic" not in data and data.get("family") in FAMILIES and data["family"] != "priced":
        like = data["family"]
    if like is not None:
        data = _merged(_data_of(_name(like, "like", where)), data)
        data.pop("like", None)
    arithmetic = data.get("arithmetic")
    if isinstance(arithmetic, dict) and "same_as" in arithmetic:
        whose = _data_of(_name(arithmetic["same_as"], "arithmetic.same_as", where)).get("arithmetic", {})
        own = {key: value for key, value in arithmetic.items() if key != "same_as"}
        data = {**data, "arithmetic": {**whose, "published": False, **own}}
    return {"family": "generic" if "arithmetic" in data else "priced", **data}


def _name(value: object, key: str, where: str) -> str:
    if not isinstance(value, str) or value not in _files():
        raise BadInput(Problem(f"{key} names no target", where, repr(value), ", ".join(sorted(_files())), "name one"))
    return value


def _merged(base: Data, own: Data) -> Data:
    """One table over another, key by key; a constant is replaced whole, and nothing keeps the source of another."""
    merged = {**base, **own}
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        if both and "nominal" not in base[key]:
            merged[key] = _merged(base[key], value)
            if "source" in base[key] and "source" not in value:
                merged[key]["source"] = ""
    return merged


# -- checking ----------------------------------------------------------------------------------------------------------


def _target(name: str, data: Data, where: str, kept: Data | None = None) -> Target:
    problems = _problems(data, where)
    if problems:
        raise BadInput(problems)
    arithmetic, limits = data.get("arithmetic"), dict(data.get("limits", {}))
    if "mesh" in limits:
        limits["mesh"] = tuple(limits["mesh"])
    target = Target(
        name=name,
        description=data.get("description", ""),
        arithmetic=None if arithmetic is None else Arithmetic.of({"published": True, **arithmetic}),
        limits=Limits(**limits),
        prices={count: constant(price) for count, price in data.get("prices", {}).items()},
        emits=tuple(data.get("emits", ())),
        family=data["family"],
        backends=tuple(data.get("backends", ())),
        clock=data.get("clock", ""),
        timed_as=data.get("timed_as", ""),
        events=events_of(data),
        parameters=dict(data.get("parameters", {})),
        data=kept or {},
    )
    faults = [replace(problem, where=where) for problem in target.code.faults(target)]
    if faults:
        raise BadInput(faults)
    return target


def _problems(data: Data, where: str) -> list[Problem]:
    """Everything that is wrong with a file."""
    problems = checked(TOP, {key: value for key, value in data.items() if key not in TABLES}, "", where)
    family = data.get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        what = "family names none"
        fix = "name one, or install the package that brings it"
        return [*problems, Problem(what, where, repr(family)[:60], ", ".join(FAMILIES), fix)]
    problems += _of_emits(data, where)
    problems += checked(FAMILIES[data["family"]].parameters, data.get("parameters", {}), "parameters", where)
    problems += checked(LIMITS, data.get("limits", {}), "limits", where)
    problems += _of_arithmetic(data.get("arithmetic"), where)
    problems += checked(dict.fromkeys(COUNTS, _ANY), data.get("prices", {}), "prices", where)
    priced = data.get("prices", {})
    named = {f"prices.{count}": price for count, price in priced.items()} if isinstance(priced, dict) else {}
    problems += [problem for name, price in named.items() for problem in _of_constant(price, name, where)]
    if "events" in data:
        problems += _of_events(data, where)
    return problems


_ANY = Key("any")


def _of_emits(data: Data, where: str) -> list[Problem]:
    """What is emitted for it is for backends that run its programs."""
    emits, backends = data.get("emits", []), data.get("backends", [])
    if not isinstance(emits, list) or not isinstance(backends, list):
        return []  # told already
    fix = "add it to backends, if it can run them, or leave it out"
    return [
        Problem("emits names what does not run its programs", where, repr(name)[:60], f"of backends: {backends}", fix)
        for name in emits
        if name not in backends
    ]


def _of_arithmetic(data: object, where: str) -> list[Problem]:
    if data is None:
        return []
    if not isinstance(data, dict):
        return checked(ARITHMETIC, data, "arithmetic", where)
    problems = checked(ARITHMETIC, {key: value for key, value in data.items() if key != "lif"}, "arithmetic", where)
    if "lif" in data:
        problems += checked(LIF, data["lif"], "arithmetic.lif", where)
    if problems:
        return problems
    pairs = (
        ("weight_bits_min", "weight_bits"), ("weight_bits", "weight_bits_max"), ("min_shift", "max_shift"),
        ("decay_fraction", "decay_bits"),
    )  # fmt: skip
    return [
        Problem(
            f"arithmetic.{low} is above arithmetic.{high}", where, str(data[low]), f"at most {data[high]}", "change one"
        )
        for low, high in pairs
        if data[low] > data[high]
    ]


def _of_constant(data: object, name: str, where: str) -> list[Problem]:
    problems = checked(CONSTANT, data, name, where)
    if problems or not isinstance(data, dict):
        return problems
    found = constant(data)
    if found.min <= found.nominal <= found.max:
        return []
    actual = f"{found.min:g}, {found.nominal:g}, {found.max:g}"
    return [Problem(f"{name} is in no order", where, actual, "min <= nominal <= max", "change one")]


def _of_events(data: Data, where: str) -> list[Problem]:
    """All events with their times, and the mesh and the barrier beside them."""
    problems = [
        Problem(f"{name} is missing beside [events]", where, "nothing", f"[{name}]", "see docs/timing.md")
        for name in ("mesh", "barrier")
        if name not in data
    ]
    if problems or not isinstance(data["events"], dict):
        return problems or checked({}, data["events"], "events", where)
    problems = checked(MESH, data["mesh"], "mesh", where)
    names = (*EVENTS, "link_cycle")
    problems += checked({name: Key("any", needed=True) for name in names}, data["events"], "events", where)
    for name, event in data["events"].items():
        parts = event if isinstance(event, dict) else {}
        for part in ("latency", *(("energy",) if name in EVENTS else ())):
            problems += _of_constant(parts.get(part, {}), f"events.{name}.{part}", where)
    if "static" in data:
        problems += _of_constant(data["static"], "static", where)
    return problems + _of_barrier(data["barrier"], where)


def _of_barrier(data: object, where: str) -> list[Problem]:
    keys = {"unit": Key("text", choices=("us", "ns"), needed=True), "tiles": _ANY, "latency": _ANY}
    texts = dict.fromkeys(("basis", "scope", "source"), Key("text"))
    problems = checked({**keys, **texts}, data, "barrier", where)
    if problems or not isinstance(data, dict):
        return problems
    tiles, latency = data.get("tiles"), data.get("latency")
    number = Key("number", 0, 1e15, whole=False)
    pair = isinstance(tiles, list) and isinstance(latency, list) and len(tiles) == len(latency) > 0
    if pair and all(number.takes(each) for each in (*(tiles or ()), *(latency or ()))):
        return []
    what, limit = "barrier.tiles and barrier.latency do not pair", "two lists of numbers, equally long"
    return [Problem(what, where, f"{tiles}, {latency}"[:60], limit, "give one latency for each number of tiles")]
