"""``neurocompile targets``: the chips, or all that is known of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neurocompile.errors import Problem, UsageError
from neurocompile.reports.targets import Imported, TargetsReport
from neurocompile.targets import load_target, parsed_target, target_names, toml_of
from neurocompile.typed import Typed

__all__ = ["TargetsRequest", "targets"]


@dataclass(frozen=True, kw_only=True)
class TargetsRequest(Typed):
    """Which chips.

    Attributes:
        name: of one, or the TOML file of one's own; None: all of them.
        toml: its file, to start one's own from.
        import_sanafe: instead of a name: an architecture in SANA-FE's YAML, of which a file is made.
        out: where that file is written; None: nowhere.
        overwrite: replace it.
    """

    name: str | None = None
    toml: bool = False
    import_sanafe: Path | None = None
    out: Path | None = None
    overwrite: bool = False


def targets(request: TargetsRequest) -> TargetsReport:
    """The chips, with everything that is known of them and where it comes from.

    Raises:
        UsageError: if there is none of that name; for the file of all of them; for an output that exists, or that
            nothing is written to.
        BadInput: for a file with everything that is wrong in it, or that no target's file can say.
        ToolFailed: for YAML without the package that reads it.
    """
    if request.import_sanafe is not None:
        return _imported(request, request.import_sanafe)
    if request.out is not None:
        fix = "add --import-sanafe ARCH.yaml, or take --toml for the file of a target that is there"
        raise UsageError(Problem("nothing is written without an architecture", "-o", str(request.out), fix=fix))
    if request.toml and request.name is None:
        raise UsageError(Problem("each target has a file of its own", "--toml", fix="name one: loihi --toml"))
    names = [request.name] if request.name else target_names()
    found = {target.name: target for target in map(load_target, names)}
    return TargetsReport(found, bool(request.name), toml_of(request.name) if request.name and request.toml else None)


def _imported(request: TargetsRequest, source: Path) -> TargetsReport:
    """A target of an architecture, and its file."""
    from neurocompile.files import check_output, write_file
    from neurocompile.targets.sanafe import architecture_of, missing_of, toml_for

    out = request.out
    problems = [
        Problem(f"{option} is for the targets that there are", option, fix="leave it out")
        for option, given in (("NAME", request.name is not None), ("--toml", request.toml))
        if given
    ]
    if out is not None and out.suffix != ".toml":
        problems.append(Problem("a target's file ends in .toml", "-o", str(out), fix=f"call it {out.stem}.toml"))
    if problems:
        raise UsageError(problems)
    if out is not None:
        check_output(out, "-o", [source], request.overwrite)
    found = architecture_of(source)
    text = toml_for(found)
    target = parsed_target(text, out or source.with_suffix(".toml"))
    if out is not None:
        write_file(out, text.encode(), request.overwrite)
    about = Imported(source, out, missing_of(found), found.unsaid)
    return TargetsReport({target.name: target}, True, text if out is None else None, about)
