"""What fell silent on the way to integers: weights that all round to 0, layers that no longer fire."""

from __future__ import annotations

import numpy as np

from neurocompile.program import Program
from neurocompile.reports.validation import Stage

__all__ = ["silence"]


def silence(program: Program, quantization: Stage | None = None) -> list[str]:
    """A line for each layer that does nothing in the program and does something in the model, with what would help.

    Args:
        program: what was compiled.
        quantization: the stage that compared the program with the folded graph in float64, if it ran.
    """
    found = []
    for node in program.integer:
        weight = getattr(node.op, "weight", None)
        before = getattr(program.real[node.name].op, "weight", None) if node.name in program.real else None
        if weight is None or before is None or np.any(weight != 0) or not np.any(before != 0):
            continue
        largest = f"the largest is {np.abs(before).max():.3g}"
        found.append(f"{node.name}: all its weights round to 0 ({largest}); use more --bits")
    if quantization is None:
        return found
    for name in quantization.silenced:
        rate = quantization.firing_rates[name]
        found.append(
            f"{name}: it never fires in the program, and in the model at {rate:.3g} of its chances; "
            "use more --bits, or give --calibrate samples like those that it will see"
        )
    return found
