"""What a backend is: it makes the files of a Program that another tool runs. A target names its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from neurocompile.backends.wanted import CHOICES, USUAL, Wanted
from neurocompile.errors import DoesNotFit, Problem, UsageError, naming_lines
from neurocompile.program import Program
from neurocompile.registry import Table
from neurocompile.targets import Target, load_target, target_names

__all__ = ["EMITTERS", "OF_ANY", "Emitter", "check_emitters", "emitted_files"]

Emitter: TypeAlias = Callable[[Program], dict[str, bytes]]
"""The files of a Program, by path below a folder of the backend's name; DoesNotFit for what it cannot express."""

EMITTERS: Table[Emitter] = Table(
    "neurocompile.emitters",
    {
        "lava": "neurocompile.backends.lava:bundle_files",
        "netx": "neurocompile.backends.netx:net_files",
        "nir": "neurocompile.backends.nir:nir_files",
        "onnx": "neurocompile.backends.onnx:onnx_files",
        "rtl": "neurocompile.backends.rtl:bundle_files",
    },
)
"""What ``--emit`` takes."""
OF_ANY = frozenset({"nir", "onnx"})
"""Those that say the network, whatever chip it was compiled for."""
WITH_HOST = frozenset({"onnx"})
"""Those that say what the host computes, too."""


def check_emitters(target: Target, names: Iterable[str], how: Wanted = USUAL) -> tuple[str, ...]:
    """The backends that were asked for, once each.

    Raises:
        UsageError: for names that are none, for those that the target does not name, and if something is wanted of
            backends that have no choice.
    """
    wanted = tuple(dict.fromkeys(names))
    problems = [
        Problem("no such backend", "--emit", name, ", ".join(EMITTERS), "name one, or leave it out")
        for name in wanted
        if name not in EMITTERS
    ]
    if not problems:
        problems = [
            Problem(f"{name} does not run programs for {target.name}", "--emit", name, fix=_instead(name))
            for name in wanted
            if name not in target.backends and name not in OF_ANY
        ]
    problems += [
        Problem(
            f"only --emit {CHOICES[option]} has this choice",
            f"--{option.replace('_', '-')}",
            fix=f"add --emit {CHOICES[option]}, or leave it out",
        )
        for option in how.chosen
        if CHOICES[option] not in wanted
    ]
    if problems:
        raise UsageError(problems)
    return wanted


def _instead(backend: str) -> str:
    """The targets whose programs a backend runs."""
    known = [name for name in target_names() if backend in load_target(name).backends]
    return f"use --target {' or --target '.join(known)}" if known else "leave it out"


def emitted_files(program: Program, names: Iterable[str], wanted: Wanted = USUAL) -> dict[str, bytes]:
    """The files of backends, by path below the Program's folder.

    Raises:
        UsageError: if something is wanted of backends that have no choice.
        DoesNotFit: for what a backend cannot express.
    """
    names = tuple(names)
    without = [name for name in names if name not in WITH_HOST]
    if program.integer.hosts and without:
        what = "parts of this network are computed by the host, and such a bundle has no host"
        fix = "leave it out: `neurocompile simulate` runs chip and host in turns"
        raise DoesNotFit(Problem(what, ", ".join(program.integer.hosts), f"--emit {','.join(without)}", fix=fix))
    found: dict[str, bytes] = {}
    with naming_lines(program.lines):
        for name in names:
            emitter: Callable[..., dict[str, bytes]] = EMITTERS[name]
            files = emitter(program, wanted) if name in OF_ANY else emitter(program)
            found |= {f"{name}/{path}": content for path, content in files.items()}
    return found
