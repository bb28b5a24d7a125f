"""What may be chosen of the files of a backend that says the network for any chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["USUAL", "Wanted"]


@dataclass(frozen=True)
class Wanted:
    """What a backend of :data:`neurocompile.backends.base.OF_ANY` takes as its second argument.

    Attributes:
        integers: whether numbers are the program's integers instead of the folded reals.
        approximate: whether what cannot be said is written as near as can be; else it is refused.
        tell: is told what was lost then.
    """

    integers: bool = False
    approximate: bool = False
    tell: Callable[[str], None] = lambda said: None


USUAL = Wanted()
