"""Reals become the target's integers, and the proof that none of them can overflow."""

from neurocompile.quantization.bounds import Interval, event_ranges, membrane_bounds
from neurocompile.quantization.quantize import Quantization, quantize
from neurocompile.quantization.scales import FEW_BITS, METHODS, SCALES, Method, Scales, chosen_method
from neurocompile.quantization.widths import Bits, Widths, widths_of

__all__ = [
    "FEW_BITS",
    "METHODS",
    "SCALES",
    "Bits",
    "Interval",
    "Method",
    "Quantization",
    "Scales",
    "Widths",
    "chosen_method",
    "event_ranges",
    "membrane_bounds",
    "quantize",
    "widths_of",
]
