"""Parts of a text as lines that fit a page.

A line is folded between words. A table that is too wide for its page first folds its words, then leaves out columns
that its writer can spare (and says so), and is at last written as a list, row by row. Numbers are never folded, and
long names only behind a dot, a slash, a dash or an underscore, unless a name is longer than the page is wide.

Every character goes through :func:`neurocompile.printable.printable` here, and nowhere else on its way to a page.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from neurocompile.printable import printable
from neurocompile.reports.text.parts import Column, Part, Styled, Table

__all__ = ["Line", "lines", "wrapped"]

Line = list[tuple[str, str]]
"""Pieces of a line: text and its style."""

_GAP = "  "
# So wide is a column of words at least, if it has so many.
_NARROWEST = 14
# A longer name may be folded within itself, behind one of these.
_LONG = 24
_JOINTS = re.compile(r"(?<=[./_:-])(?=[^\W\d])")


def lines(part: Part, width: int) -> Iterator[Line]:
    """A part as lines of at most ``width`` characters."""
    if isinstance(part, Table):
        yield from _table(part, width)
        return
    style = part.style if isinstance(part, Styled) else ""
    for line in wrapped(printable(part), width):
        yield [(line, style)]


def wrapped(text: str, width: int, hanging: int = 2) -> list[str]:
    """A line of text folded between its words; what follows the first line is indented by ``hanging`` more than it."""
    indent = " " * min(len(text) - len(text.lstrip(" ")), width // 2)
    found, line = [], indent
    for glue, piece in _pieces(text.strip(" "), width - len(indent) - hanging):
        if line.strip(" ") and _cells(line + glue + piece) > width:
            found.append(line)
            line, glue = indent + " " * hanging, ""
        line += (glue if line.strip(" ") else "") + piece
    return [*found, line.rstrip(" ")]


def _pieces(text: str, most: int) -> Iterator[tuple[str, str]]:
    """What stays together, each with what is between it and the one before it on the same line."""
    for glue, word in re.findall(r"( *)([^ ]+)", text):
        for place, part in enumerate(_JOINTS.split(word) if _cells(word) > most else [word]):
            before = "" if place else glue
            while _cells(part) > most:
                taken = _first(part, most)
                yield before, taken
                before, part = "", part[len(taken) :]
            yield before, part


def _words(text: str) -> Iterator[str]:
    """What a column has room for: words, and the parts of the longer names among them."""
    for word in text.split(" "):
        yield from _JOINTS.split(word) if _cells(word) > _LONG else [word]


def _first(text: str, most: int) -> str:
    """As much of a text as is at most so wide, and at least a character."""
    end = 1
    while end < len(text) and _cells(text[: end + 1]) <= most:
        end += 1
    return text[:end]


def _cells(text: str) -> int:
    """How wide a text is on a terminal."""
    if text.isascii():
        return len(text)
    wide = {"W": 2, "F": 2}
    return sum(0 if unicodedata.combining(c) else wide.get(unicodedata.east_asian_width(c), 1) for c in text)


# -- tables ------------------------------------------------------------------------------------------------------------


def _table(made: Table, width: int) -> Iterator[Line]:
    """Title, rows and legend, and an empty line after them."""
    for line in wrapped(printable(made.title), width):
        yield [(line, "bold")]
    columns = [replace(column, head=printable(column.head)) for column in made.columns]
    rows = [tuple(_cell(cell) for cell in row) for row in made.rows]
    shown, widths = _fitting(columns, rows, width)
    if widths is None:
        yield from _listed(columns, rows, width)
    else:
        yield from _grid([columns[k] for k in shown], [tuple(row[k] for k in shown) for row in rows], widths)
    left_out = [column.head for k, column in enumerate(columns) if k not in shown]
    legend = [*made.legend, f"(left out in {width} columns: {', '.join(left_out)})"] if left_out else made.legend
    for text in legend:
        for line in wrapped(printable(f" {text}"), width, hanging=1):
            yield [(line, "")]
    yield [("", "")]


def _cell(cell: str) -> str:
    shown = printable(cell)
    return Styled(shown, cell.style) if isinstance(cell, Styled) else shown


def _fitting(
    columns: Sequence[Column], rows: Sequence[tuple[str, ...]], width: int
) -> tuple[list[int], list[int] | None]:
    """Which columns are shown, and how wide each of them is; None: the table does not fit, whatever is left out."""
    shown = list(range(len(columns)))
    while True:
        cells = [[row[k] for row in rows] for k in shown]
        found = _widths([columns[k] for k in shown], cells, width - 1 - len(_GAP) * (len(shown) - 1))
        spare = [k for k in shown if columns[k].rank is not None]
        if found is not None or not spare:
            return (shown, found) if found is not None else (list(range(len(columns))), None)
        shown.remove(min(spare, key=lambda k: columns[k].rank or 0))


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """As wide as the cells are; where that is too much, the widest columns of words are made narrower."""
    widths, least = [], []
    for column, column_cells in zip(columns, cells):
        widest = max(map(_cells, column_cells), default=0)
        word = max((_cells(piece) for cell in column_cells for piece in _words(cell)), default=0)
        head = max((_cells(piece) for piece in _words(column.head)), default=0)
        widths.append(max(widest, _cells(column.head)))
        least.append(max(head, min(widest, max(word, _NARROWEST)) if column.words else widest))
    while sum(widths) > room:
        over = [k for k in range(len(widths)) if widths[k] > least[k]]
        if not over:
            return None
        heads = [k for k in over if widths[k] > max(map(_cells, cells[k]), default=0)]  # heads are folded first
        widths[max(heads or over, key=lambda k: widths[k])] -= 1
    return widths


def _grid(columns: Sequence[Column], rows: Sequence[tuple[str, ...]], widths: Sequence[int]) -> Iterator[Line]:
    if any(column.head for column in columns):
        heads = tuple(Styled(column.head, "bold") for column in columns)
        folded = _row(columns, heads, widths)
        yield from folded
        yield [(" " + "─" * (sum(widths) + len(_GAP) * (len(widths) - 1)), "dim")]
    for row in rows:
        yield from _row(columns, row, widths)


def _row(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> list[Line]:
    """The lines of a row of cells; numbers stand on the right."""
    folded = [wrapped(cell, width, hanging=0) for cell, width in zip(row, widths)]
    found = []
    for parts in zip_longest(*folded, fillvalue=""):
        line: Line = [(" ", "")]
        for column, part, cell, width in zip(columns, parts, row, widths):
            space = " " * (width - _cells(part))
            style = cell.style if isinstance(cell, Styled) else ""
            line += [
                ("" if column.words else space, ""),
                (part, style),
                (space if column.words else "", ""),
                (_GAP, ""),
            ]
        found.append(_without_end(line))
    return found


def _without_end(line: Line) -> Line:
    """A line without the spaces at its end."""
    while line and not line[-1][0].strip(" "):
        line.pop()
    return line


def _listed(columns: Sequence[Column], rows: Sequence[tuple[str, ...]], width: int) -> Iterator[Line]:
    """Each row as its first cell and, below, the others with the heads of their columns."""
    for first, *others in rows:
        for line in wrapped(f" {first}", width):
            yield [(line, "bold")]
        told = [f"{column.head}: {cell}" if column.head else cell for column, cell in zip(columns[1:], others) if cell]
        for line in wrapped(f"   {'; '.join(told)}", width, hanging=0):
            yield [(line, "")]
