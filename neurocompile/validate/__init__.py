"""Proof: what two executors did, compared spike by spike."""

from neurocompile.validate.compare import Comparison, Divergence, compare_spikes
from neurocompile.validate.stages import Stage, Validation, validate_program

__all__ = ["Comparison", "Divergence", "Stage", "Validation", "compare_spikes", "validate_program"]
