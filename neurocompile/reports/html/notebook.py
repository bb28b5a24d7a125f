"""A report as a notebook shows it: the parts of its text as HTML; a page as it is, in a frame."""

from __future__ import annotations

from html import escape

from neurocompile.printable import printable
from neurocompile.reports.base import Report
from neurocompile.reports.html.page import html
from neurocompile.reports.page import PageReport
from neurocompile.reports.text import text
from neurocompile.reports.text.parts import Column, Part, Styled, Table, Verbatim

__all__ = ["notebook"]

# The words of a Styled, as CSS; JupyterLab has colours for its dark themes, too.
_CSS = {
    "bold": "font-weight: bold",
    "dim": "opacity: 0.6",
    "green": "color: var(--jp-success-color1, #2e7d32)",
    "red": "color: var(--jp-error-color1, #c62828)",
    "yellow": "color: var(--jp-warn-color1, #b26a00)",
}
_LINE = "margin: 0; white-space: pre-wrap"
_FRAME = 'style="width: 100%; height: 45em; border: 1px solid #8888" sandbox="allow-scripts allow-downloads"'


def notebook(report: Report) -> str:
    """The report in HTML that brings its own style, and asks for nothing.

    Raises:
        ToolFailed: for a page, if Jinja2 or matplotlib is not installed.
    """
    if isinstance(report, PageReport):
        title = escape(printable(f"{report.program} on {report.target}"))
        return f'<iframe title="{title}" {_FRAME} srcdoc="{escape(html(report).decode())}"></iframe>'
    return f"<div>{''.join(map(_part, text(report)))}</div>"


def _part(part: Part) -> str:
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Verbatim):
        content = printable(part, keep="\n\t")
        return f"<pre>{escape(content)}</pre>"
    return f'<p style="{_LINE}">{_text(part) or "&nbsp;"}</p>'


def _table(table: Table) -> str:
    """Title, heads, rows, and the legend below them."""
    parts = [f'<caption style="text-align: left; font-weight: bold">{_text(table.title)}</caption>']
    if any(column.head for column in table.columns):
        heads = "".join(f'<th scope="col" style="{_side(each)}">{_text(each.head)}</th>' for each in table.columns)
        parts.append(f"<thead><tr>{heads}</tr></thead>")
    rows = ("".join(map(_cell, table.columns, row)) for row in table.rows)
    parts.append(f"<tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody>")
    legend = "".join(f'<p style="{_LINE}; opacity: 0.8">{_text(line)}</p>' for line in table.legend)
    return f'<div style="margin-bottom: 1em"><table>{"".join(parts)}</table>{legend}</div>'


def _cell(column: Column, cell: str) -> str:
    return f'<td style="{_side(column)}">{_text(cell)}</td>'


def _side(column: Column) -> str:
    """Numbers stand on the right."""
    return f"padding: 0.1em 0.7em; text-align: {'left' if column.words else 'right'}"


def _text(words: str) -> str:
    """Names are never markup, and hide nothing."""
    shown = escape(printable(words))
    css = "; ".join(_CSS[word] for word in words.style.split()) if isinstance(words, Styled) else ""
    return f'<span style="{css}">{shown}</span>' if css else shown
