"""What all texts are made of: tables, lines, numbers in the units that read best."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    Part = str | Table
    """A line, which is wrapped where the page ends, or a table."""

__all__ = ["Aside", "Verbatim", "energy", "number", "percent", "table", "verdict"]


class Verbatim(str):
    """Lines that stay as long as they are."""


class Aside(str):
    """A line beside the result: on stderr."""


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
