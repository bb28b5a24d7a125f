"""What torch computed, for comparisons."""

from __future__ import annotations

from dataclasses import dataclass, field

from neurocompile.ir.ops import Array

__all__ = ["Reference"]


@dataclass
class Reference:
    """What torch computed, in network time.

    ``spikes[layer][N, T, ...]`` are 0 or 1 (or -1); ``margins[layer]`` is the membrane minus the threshold in the
    units of the module, where the module lets it be seen; ``thresholds[layer]`` is the size of that threshold.
    """

    outputs: dict[str, Array]
    spikes: dict[str, Array]
    margins: dict[str, Array] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
