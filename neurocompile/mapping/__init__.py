"""Cutting a network into cores and placing these: boxes where kernels are stored, lists where words of synapses are."""

from neurocompile.mapping.boxes import cut_boxes
from neurocompile.mapping.fit import Needs, needs_of
from neurocompile.mapping.lists import partition_balanced, partition_in_order, placed_lists

__all__ = ["Needs", "cut_boxes", "needs_of", "partition_balanced", "partition_in_order", "placed_lists"]
