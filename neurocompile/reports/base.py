"""What all reports have in common."""

from __future__ import annotations

__all__ = ["Report"]


class Report:
    """What a verb found: data, picklable; :func:`plain` is its JSON, :func:`text` what a person reads."""

    @property
    def exit_code(self) -> int:
        """What the command line ends with (``neurocompile --help`` lists them); 0 is done."""
        return 0

    def _repr_html_(self) -> str:
        """What a notebook shows, where this is the last expression of a cell."""
        from neurocompile.reports.html.notebook import notebook

        return notebook(self)
