"""What pages are made of: verdicts, sections with tables and figures, and the template that holds them."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from neurocompile.extras import require
from neurocompile.reports.text.parts import number, percent

__all__ = ["Figure", "Section", "Table", "Verdict", "rendered"]


@dataclass(frozen=True)
class Table:
    """Rows of a section; the first column names what a row is about. Numbers as they are, shown as ``shown`` says."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def csv(self) -> str:
        """The same numbers, unrounded."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([["" if cell is None else cell for cell in row] for row in self.rows])
        return out.getvalue()

    @property
    def link(self) -> str:
        """That as an address of its own."""
        return "data:text/csv;base64," + base64.b64encode(self.csv.encode()).decode()

    @property
    def shown(self) -> list[list[tuple[str, bool]]]:
        """The cells as a person reads them, and whether they are words."""
        return [[(_shown(cell), isinstance(cell, str)) for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Figure:
    """A drawing, a line below it, and what it shows in words, for those who do not see it ("": the line says it)."""

    svg: str
    caption: str
    words: str = ""

    @property
    def label(self) -> str:
        """All of that in words."""
        return f"{self.caption} {self.words}".strip()


@dataclass
class Section:
    """A part of the page."""

    name: str
    title: str
    text: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    failed: bool = False


@dataclass(frozen=True)
class Verdict:
    """What was found, how it went ("passed", "failed", ...), and why."""

    what: str
    how: str
    why: str


def rendered(
    title: str, samples: int, timesteps: int, verdicts: Sequence[Verdict], made: Callable[[], Sequence[Section]]
) -> bytes:
    """The page, in one file; the same parts give the same bytes.

    Args:
        title: of the page.
        samples: that it is about.
        timesteps: T.
        verdicts: what stands first.
        made: makes the rest, once it is known that it can be drawn.

    Raises:
        ToolFailed: if Jinja2 or matplotlib is not installed.
    """
    require("report")
    sections = made()
    for count, figure in enumerate(figure for section in sections for figure in section.figures):
        object.__setattr__(figure, "svg", _named(figure.svg, f"f{count}"))
    page = _template().render(
        samples=samples, timesteps=timesteps, verdicts=verdicts, sections=sections, style=_file("style.css"),
        script=_file("script.js"), title=title, percent=percent,
    )  # fmt: skip
    return bytes(page, "utf-8")


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        _file("page.html.j2")
    )


def _file(name: str) -> str:
    return resources.files("neurocompile.reports.html").joinpath(name).read_text("utf-8")


def _named(svg: str, prefix: str) -> str:
    """The figure with names of its own: a page has several."""
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)


def _shown(cell: Any) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int | float):
        return number(cell)
    return "-" if cell is None or cell == "" else str(cell)
