"""Proof: what two executors did, compared spike by spike."""

from neurocompile.validation.compare import Comparison, Divergence, compare_spikes
from neurocompile.validation.silence import silence
from neurocompile.validation.stages import Backend, Stage, Validation, validate_program

__all__ = [
    "Backend",
    "Comparison",
    "Divergence",
    "Stage",
    "Validation",
    "compare_spikes",
    "silence",
    "validate_program",
]
