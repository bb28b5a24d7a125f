"""Every result as a dataclass, picklable, with units in its names; one writer for JSON, one for text."""

from neurocompile.reports.plain import plain

__all__ = ["plain"]
