"""Integers and nothing else: every neuron of the neuron equation. Chips of unpublished arithmetic are taken so."""

from neurocompile.targets.base import Family

__all__ = ["FAMILY"]

FAMILY = Family()
