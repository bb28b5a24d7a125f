"""Proof: what two executors did, compared spike by spike."""

from neurocompile.validation.rules import BitExact, Exact, Faithful, Recorded, Rule
from neurocompile.validation.silence import silence
from neurocompile.validation.stages import Evidence, Outcome, Pair, compare_pairs, evidence_of, judged, run_pairs

__all__ = [
    "BitExact",
    "Evidence",
    "Exact",
    "Faithful",
    "Outcome",
    "Pair",
    "Recorded",
    "Rule",
    "compare_pairs",
    "evidence_of",
    "judged",
    "run_pairs",
    "silence",
]
