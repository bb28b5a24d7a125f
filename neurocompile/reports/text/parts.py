"""What all texts are made of: tables, lines, numbers in the units that read best.

None of it is markup: what a name holds is shown as it is. How it becomes lines is in
:mod:`neurocompile.reports.text.layout`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

__all__ = ["Aside", "Column", "Part", "Styled", "Table", "Verbatim", "energy", "number", "percent", "table", "verdict"]


class Verbatim(str):
    """The content of a file, whose lines stay as long as they are."""

    __slots__ = ()


class Aside(str):
    """A line beside the result: on stderr."""

    __slots__ = ()


class Styled(str):
    """A text with a style of its own where there are colours; ``style`` is in the words of ``rich``."""

    style: str

    def __new__(cls, text: str, style: str) -> Styled:
        """The text, and how it looks."""
        made = super().__new__(cls, text)
        made.style = style
        return made


@dataclass(frozen=True)
class Column:
    """One column: of words, which may be folded, or of numbers; ``rank`` is its place among those to be left out."""

    head: str
    words: bool
    rank: int | None = None


@dataclass
class Table:
    """Rows of cells under a title; ``legend`` is what a reader has to know to read them."""

    title: str
    columns: tuple[Column, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    legend: list[str] = field(default_factory=list)

    def add_row(self, *cells: str) -> None:
        """One cell for each column."""
        assert len(cells) == len(self.columns)
        self.rows.append(cells)


Part = str | Table
"""A line, which is wrapped where the page ends, or a table."""


def table(
    title: str,
    *columns: str,
    words: int | Collection[str] = 1,
    optional: Sequence[str] = (),
    legend: Sequence[str] = (),
) -> Table:
    """An empty table.

    Args:
        title: above it.
        columns: their heads; all empty: the table has no heads.
        words: the columns of text (or how many they are, from the left); the others hold numbers.
        optional: what may be left out where the page is narrow, the least important column first.
        legend: lines below it.
    """
    made = []
    for place, head in enumerate(columns):
        text = place < words if isinstance(words, int) else head in words
        made.append(Column(head, text or not head, optional.index(head) if head in optional else None))
    return Table(title, tuple(made), legend=list(legend))


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
        return Styled("not run", "yellow")
    return Styled("PASSED", "bold green") if passed else Styled("FAILED", "bold red")
