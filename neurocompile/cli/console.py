"""What a person sees: results on stdout, progress and logs on stderr, progress only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neurocompile import __version__

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["energy", "number", "percent", "print_json", "progress", "say", "show", "table", "verdict"]


def print_json(command: str, body: dict[str, Any], ok: bool = True) -> None:
    """The one object of ``--json``."""
    print(json.dumps({"neurocompile": __version__, "command": command, "ok": ok, **body}, indent=1))


def say(text: str) -> None:
    """A line for the person who waits, on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, total: int, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr while the block runs, if a person is looking."""
    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=total)
        yield lambda done: bars.advance(task, done)


def table(title: str, *columns: str, words: int | Collection[str] = 1) -> Table:
    """An empty table; ``words`` names the columns of text (or counts them, from the left), the others hold numbers."""
    from rich import box
    from rich.table import Table

    headed = any(columns)
    shape = box.SIMPLE_HEAD if headed else None
    made = Table(title=title, title_justify="left", box=shape, title_style="bold", pad_edge=False, show_header=headed)
    for number_, column in enumerate(columns):
        text = number_ < words if isinstance(words, int) else column in words
        text = text or not column
        made.add_column(column, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    return made


def show(*parts: Any) -> None:
    """Print tables and lines on stdout."""
    from rich.console import Console

    # Where no terminal says how wide it is, lines are as wide as a wide page.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    for part in parts:
        console.print(part, markup=not isinstance(part, str) or part.startswith("["))


def number(value: float | None) -> str:
    """With thousands separated; whole numbers whole; a dash for what is not known."""
    if value is None:
        return "-"
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A share as a percentage."""
    return "-" if value is None else f"{value:.2%}"


def energy(pj: float | None, lower_bound: bool = False) -> str:
    """Picojoules in the unit that reads best, with >= where something has no price."""
    if pj is None:
        return "unpriced"
    for unit, size in (("mJ", 1e9), ("uJ", 1e6), ("nJ", 1e3), ("pJ", 1.0)):
        if pj >= size or unit == "pJ":
            return f"{'>= ' if lower_bound else ''}{pj / size:.4g} {unit}"
    raise AssertionError(pj)


def verdict(passed: bool | None) -> str:
    """PASSED, FAILED or not run, in their colours."""
    if passed is None:
        return "[yellow]not run[/]"
    return "[bold green]PASSED[/]" if passed else "[bold red]FAILED[/]"
