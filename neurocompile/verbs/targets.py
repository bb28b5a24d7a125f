"""``neurocompile targets``: the chips, or all that is known of one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from neurocompile.errors import UsageError
from neurocompile.reports.targets import TargetReport, TargetsReport
from neurocompile.targets import load_target, target_names
from neurocompile.targets.events import AsyncEvents, load_events

__all__ = ["TargetsRequest", "targets"]


@dataclass(frozen=True, kw_only=True)
class TargetsRequest:
    """The name of a chip; None: all of them."""

    name: str | None = None


def targets(request: TargetsRequest) -> TargetsReport:
    """The chips, with everything that is known of them and where it comes from.

    Raises:
        UsageError: if there is none of that name.
    """
    names = [request.name] if request.name else target_names()
    found = [load_target(name) for name in names]
    return TargetsReport({each.name: TargetReport(each, _events(each.name)) for each in found}, bool(request.name))


def _events(name: str) -> AsyncEvents | None:
    """What single events of a target cost, if it says so."""
    with suppress(UsageError):
        return load_events(name)
    return None
