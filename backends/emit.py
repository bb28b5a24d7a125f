"""The backends by name, and the files that they make of a Program."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from neurocompile.errors import DoesNotFit, Problem, UsageError, naming_lines
from neurocompile.program import Program
from neurocompile.targets import Target, load_target

__all__ = ["EMITTERS", "check_emitters", "emitted_files"]


def _lava(program: Program) -> dict[str, bytes]:
    from neurocompile.backends.lava import bundle_files

    return bundle_files(program)


def _netx(program: Program) -> dict[str, bytes]:
    from neurocompile.backends.netx import write_net

    return {"network.net": write_net(program)}


def _rtl(program: Program) -> dict[str, bytes]:
    from neurocompile.backends.rtl import bundle_files

    return bundle_files(program)


EMITTERS: dict[str, Callable[[Program], dict[str, bytes]]] = {"lava": _lava, "netx": _netx, "rtl": _rtl}
"""What ``--emit`` takes; each writes into a folder of its name."""


_FOR = {"lava": "loihi or --target loihi2", "netx": "loihi or --target loihi2", "rtl": "nc1"}


def _runs(name: str, target: Target) -> bool:
    """Whether a backend runs programs for a target."""
    if name == "rtl":
        return target.name == "nc1"
    return target.arithmetic is not None and target.arithmetic.lif is not None


def check_emitters(target: str, names: Iterable[str]) -> tuple[str, ...]:
    """The backends that were asked for, once each.

    Raises:
        UsageError: for names that are none, and for targets that they do not know.
    """
    wanted = tuple(dict.fromkeys(names))
    problems = [
        Problem("no such backend", "--emit", name, ", ".join(EMITTERS), "name one, or leave it out")
        for name in wanted
        if name not in EMITTERS
    ]
    if not problems:
        problems = [
            Problem(f"{name} does not run programs for {target}", "--emit", name, fix=f"use --target {_FOR[name]}")
            for name in wanted
            if not _runs(name, load_target(target))
        ]
    if problems:
        raise UsageError(problems)
    return wanted


def emitted_files(program: Program, names: Iterable[str]) -> dict[str, bytes]:
    """The files of backends, by path below the Program's folder.

    Raises:
        DoesNotFit: for what a backend cannot express.
    """
    names = tuple(names)
    if program.integer.hosts and names:
        what = "parts of this network are computed by the host, and such a bundle has no host"
        fix = "leave it out: `neurocompile simulate` runs chip and host in turns"
        raise DoesNotFit(Problem(what, ", ".join(program.integer.hosts), f"--emit {','.join(names)}", fix=fix))
    with naming_lines(program.lines):
        return {f"{name}/{path}": content for name in names for path, content in EMITTERS[name](program).items()}
