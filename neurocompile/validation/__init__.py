"""Proof: what two executors did, compared spike by spike."""

from neurocompile.validation.rules import BitExact, Exact, Faithful, Recorded, Rule
from neurocompile.validation.silence import silence
from neurocompile.validation.stages import Pair, compare_pairs

__all__ = ["BitExact", "Exact", "Faithful", "Pair", "Recorded", "Rule", "compare_pairs", "silence"]
