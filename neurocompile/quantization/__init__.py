"""Reals become the target's integers, and the proof that none of them can overflow."""

from neurocompile.quantization.bounds import Interval, event_ranges, membrane_bounds
from neurocompile.quantization.quantize import Quantization, quantize
from neurocompile.quantization.scales import METHODS, Method

__all__ = ["METHODS", "Interval", "Method", "Quantization", "event_ranges", "membrane_bounds", "quantize"]
