"""Where earlier versions had :class:`neurocompile.vocabulary.temporal.TemporalGain`."""

from neurocompile.vocabulary.temporal import TemporalGain

__all__ = ["TemporalGain"]
