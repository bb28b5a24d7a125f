"""What a person sees: results on stdout, progress and logs on stderr, progress only on a terminal."""

from __future__ import annotations

import codecs
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from neurocompile import __version__
from neurocompile.printable import printable

if TYPE_CHECKING:
    from neurocompile.reports import Report
    from neurocompile.reports.text.layout import Line
    from neurocompile.reports.text.parts import Part
    from neurocompile.verbs.progress import Progress, Step

__all__ = ["PIPED", "finish", "print_json", "progress", "show", "watching"]

PIPED = 120
"""How wide lines are where no terminal and no COLUMNS say it."""
# No page is narrower.
_NARROWEST = 40


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
    from neurocompile.reports.text.layout import lines
    from neurocompile.reports.text.parts import Aside, Verbatim

    width = _width()
    for part in parts:
        if isinstance(part, Verbatim):
            _print([(printable(part, keep="\n\t"), "")], sys.stdout)
            continue
        for line in lines(part, width):
            _print(line, sys.stderr if isinstance(part, Aside) else sys.stdout)


def _width() -> int:
    """What COLUMNS says; else as wide as the terminal; where there is none (a file, a pipe), :data:`PIPED`."""
    said = os.environ.get("COLUMNS", "")
    width = int(said) if said.isdecimal() else 0
    if not width and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    return max(width or PIPED, _NARROWEST)


def _print(line: Line, stream: TextIO) -> None:
    """Print pieces of a line, in their colours where there are any; what an encoding lacks, as an escape."""
    encoding = stream.encoding or "utf-8"
    shown = [(text.encode(encoding, "rules").decode(encoding), style) for text, style in line]
    if not stream.isatty() or not any(style for _, style in line):
        print("".join(text for text, _ in shown), file=stream, flush=stream is sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    Console(file=stream, highlight=False).print(Text.assemble(*shown), soft_wrap=True)


def _rules(error: UnicodeError) -> tuple[str, int]:
    """For an encoding without lines: dashes."""
    if isinstance(error, UnicodeEncodeError) and error.object[error.start] == "─":
        return "-", error.start + 1
    return codecs.backslashreplace_errors(error)  # type: ignore[return-value]


codecs.register_error("rules", _rules)


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
