"""What may be chosen of the files of a backend that says the network for any chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

__all__ = ["CHOICES", "USUAL", "Wanted"]


@dataclass(frozen=True)
class Wanted:
    """What a backend of :data:`neurocompile.backends.base.OF_ANY` takes as its second argument.

    Attributes:
        integers: for NIR: whether numbers are the program's integers instead of the folded reals.
        approximate: for NIR: whether what cannot be said is written as near as can be; else it is refused.
        onnx_arithmetic: for ONNX: whether products of integers are such, or float32 where that is proved exact.
        onnx_reals: for ONNX: whether the folded reals are written as well.
        tell: is told what was lost then.
    """

    integers: bool = False
    approximate: bool = False
    onnx_arithmetic: Literal["int", "float32"] = "int"
    onnx_reals: bool = False
    tell: Callable[[str], None] = lambda said: None

    @property
    def chosen(self) -> list[str]:
        """The names of what is not as usual."""
        return [
            field.name for field in fields(self) if field.name in CHOICES and getattr(self, field.name) != field.default
        ]


CHOICES = {"integers": "nir", "approximate": "nir", "onnx_arithmetic": "onnx", "onnx_reals": "onnx"}
"""Whose each choice is."""
USUAL = Wanted()
