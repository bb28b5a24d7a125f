"""``neurocompile targets``: the chips, or all that is known of one."""

from __future__ import annotations

from dataclasses import dataclass

from neurocompile.errors import Problem, UsageError
from neurocompile.reports.targets import TargetsReport
from neurocompile.targets import load_target, target_names, toml_of
from neurocompile.typed import Typed

__all__ = ["TargetsRequest", "targets"]


@dataclass(frozen=True, kw_only=True)
class TargetsRequest(Typed):
    """Which chips.

    Attributes:
        name: of one, or the TOML file of one's own; None: all of them.
        toml: its file, to start one's own from.
    """

    name: str | None = None
    toml: bool = False


def targets(request: TargetsRequest) -> TargetsReport:
    """The chips, with everything that is known of them and where it comes from.

    Raises:
        UsageError: if there is none of that name; for the file of all of them.
        BadInput: for a file with everything that is wrong in it.
    """
    if request.toml and request.name is None:
        raise UsageError(Problem("each target has a file of its own", "--toml", fix="name one: loihi --toml"))
    names = [request.name] if request.name else target_names()
    found = {target.name: target for target in map(load_target, names)}
    return TargetsReport(found, bool(request.name), toml_of(request.name) if request.name and request.toml else None)
