"""Price lists: nothing is compiled for them, and the counts of any program can be priced by them."""

from neurocompile.targets.base import Family

__all__ = ["FAMILY"]

FAMILY = Family()
