"""What a person sees: results on stdout, progress and logs on stderr, progress only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neurocompile import __version__

if TYPE_CHECKING:
    from neurocompile.reports import Report
    from neurocompile.reports.text.parts import Part
    from neurocompile.verbs.progress import Progress, Step

__all__ = ["finish", "print_json", "progress", "show", "watching"]


def finish(command: str, report: Report, as_json: bool) -> int:
    """Print a report on stdout; returns the exit code."""
    if as_json:
        from neurocompile.reports import plain

        print_json(command, plain(report), ok=report.exit_code == 0)
    else:
        from neurocompile.reports.text import text

        show(text(report))
    return report.exit_code


def print_json(command: str, body: dict[str, Any], ok: bool = True) -> None:
    """The one object of ``--json``."""
    print(json.dumps({"neurocompile": __version__, "command": command, "ok": ok, **body}, indent=1))


def show(parts: Iterable[Part]) -> None:
    """Print tables and lines on stdout, and what stands beside them on stderr."""
    from rich.console import Console

    from neurocompile.reports.text.parts import Aside, Verbatim

    # Where no terminal says how wide it is, lines are as wide as a wide page.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    for part in parts:
        if isinstance(part, Verbatim):
            print(part)
        elif isinstance(part, Aside):
            print(part, file=sys.stderr, flush=True)
        else:
            console.print(part, markup=not isinstance(part, str) or part.startswith("["))


def watching(as_json: bool) -> Progress | None:
    """Who tells of progress: somebody, if a person is looking."""
    return None if as_json or not sys.stderr.isatty() else progress


@contextmanager
def progress(what: str, total: int) -> Iterator[Step]:
    """A progress bar on stderr while the block runs."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=total)
        yield lambda done: bars.advance(task, done)
