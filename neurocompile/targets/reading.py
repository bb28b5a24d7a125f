"""From a TOML file to a target: found by name or by path, checked key by key. A file is data and imports no code."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.keys import nearest
from neurocompile.limits import Limits
from neurocompile.printable import printable
from neurocompile.targets.base import FAMILIES, Target
from neurocompile.targets.checking import Data, problems_of
from neurocompile.targets.events import AsyncEvents, constant, events_of

if TYPE_CHECKING:
    from neurocompile.program import Program

__all__ = ["load_events", "load_target", "parsed_target", "target_names", "target_of", "toml_of"]

_MOST_BYTES = 1 << 20
"""A target's file is a page or two."""


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
        return _read(_own_name(path), _given(path), name, keep=True)
    return _installed(name)


def _own_name(path: Path) -> str:
    """What the target of a user's own file is called: never as an installed one."""
    return path.stem if path.stem not in _files() else path.name


@cache
def _installed(name: str) -> Target:
    return _read(name, _parsed(_file_of(name)), f"{name}.toml")


def parsed_target(text: str, path: Path) -> Target:
    """The target that a user's file describes, as it would be if the text were in it.

    Raises:
        BadInput: with everything that is wrong in it.
    """
    return _read(_own_name(path), tomllib.loads(text), str(path), keep=True)


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
        return _target(program.target, program.chip, "the target in the program", [], keep=True)
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


def _file_of(name: str) -> Path:
    known = _files()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.4)
        fix = f"did you mean {near[0]}? " if near else ""
        problem = Problem(
            "unknown target", "--target", name, ", ".join(sorted(known)), fix + "see neurocompile targets"
        )
        raise UsageError(problem)
    return known[name]


def _parsed(path: Path) -> Data:
    """The file of an installed target."""
    return tomllib.loads(path.read_text("utf-8"))


def _given(path: Path) -> Data:
    """A file of the user's own."""
    from neurocompile.files import text_of  # NumPy comes with it, which the installed ones start without

    if not path.exists():
        fix = "check the path, or see neurocompile targets"
        known = ", ".join(sorted(_files()))
        raise UsageError(Problem("unknown target: no such file", "--target", str(path), known, fix))
    text = text_of(path, _MOST_BYTES)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        fix = "start from one that works: neurocompile targets loihi --toml"
        raise BadInput(Problem(f"this is no TOML file: {error}", str(path), fix=fix)) from error


# -- what a file leaves to others --------------------------------------------------------------------------------------


def _resolved(data: Data, where: str) -> tuple[Data, list[Problem]]:
    """A file's data with what it takes from other targets: of ``like`` (or its family's own target) all that it does
    not say, of ``arithmetic.same_as`` the arithmetic, which is then not its own. And what of that names no target."""
    problems: list[Problem] = []
    like, family = data.get("like"), data.get("family")
    data = {key: value for key, value in data.items() if key != "like"}
    if like is not None:
        problems += _unnamed(like, "like", where)
    elif "arithmetic" not in data and isinstance(family, str) and family in FAMILIES and family != "priced":
        like = family
    if like is not None and not problems:
        data = _merged(_resolved(_parsed(_file_of(like)), where)[0], data)
    arithmetic = data.get("arithmetic")
    if isinstance(arithmetic, dict) and "same_as" in arithmetic:
        own = {key: value for key, value in arithmetic.items() if key != "same_as"}
        wrong = _unnamed(arithmetic["same_as"], "arithmetic.same_as", where)
        problems += wrong
        of = "generic" if wrong else arithmetic["same_as"]  # so that what is its own can be looked at
        whose = _resolved(_parsed(_file_of(of)), where)[0].get("arithmetic", {})
        data = {**data, "arithmetic": _merged({**whose, "published": False}, own)}
    return {"family": "generic" if "arithmetic" in data else "priced", **data}, problems


def _unnamed(value: object, key: str, where: str) -> list[Problem]:
    if isinstance(value, str) and value in _files():
        return []
    near = nearest(str(value), _files())
    fix = f"did you mean {near}?" if near else "name one"
    return [Problem(f"{key} names no target", where, repr(value)[:60], ", ".join(sorted(_files())), fix)]


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


@cache
def _timed() -> dict[str, Data]:
    """The ``[mesh]`` of each target that has events of its own."""
    found = {name: _parsed(path) for name, path in _files().items()}
    return {name: data["mesh"] for name, data in found.items() if "events" in data and "mesh" in data}


# -- made of it --------------------------------------------------------------------------------------------------------


def _read(name: str, said: Data, where: str, keep: bool = False) -> Target:
    data, problems = _resolved(said, where)
    return _target(name, data, where, problems, keep)


def _target(name: str, data: Data, where: str, problems: list[Problem], keep: bool = False) -> Target:
    timed = _timed() if "timed_as" in data else {}
    problems = [*problems, *problems_of(data, where, timed)]
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
        data=data if keep else {},
    )
    faults = [replace(problem, where=where) for problem in target.code.faults(target)]
    if faults:
        raise BadInput(faults)
    return target
