"""A report as one page: HTML and SVG in a single file that asks the network for nothing."""

from neurocompile.reports.html.page import html, tables

__all__ = ["html", "tables"]
