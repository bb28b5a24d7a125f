"""Labels of samples, against what a network says of them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from neurocompile.data import Data
from neurocompile.errors import BadInput, Problem
from neurocompile.ir.ops import Array
from neurocompile.program import Program

__all__ = ["accuracy_of", "check_labels", "right_of"]


def accuracy_of(outputs: Mapping[str, Array], labels: Array | None) -> float | None:
    """The share of samples whose largest output is the label; a sequence of outputs is averaged over time first."""
    right = right_of(outputs, labels)
    return None if right is None else float(right.mean())


def right_of(outputs: Mapping[str, Array], labels: Array | None) -> Array | None:
    """Of each sample ``[N]``, whether its largest output is the label; None without labels."""
    if labels is None or "output" not in outputs:
        return None
    scores = outputs["output"]
    if scores.ndim > 2:
        scores = scores.reshape(*scores.shape[:2], -1).mean(1)
    return np.asarray(scores.reshape(len(scores), -1).argmax(1) == labels)


def check_labels(program: Program, data: Data) -> None:
    """Refuse labels that no output of the program stands for.

    Raises:
        BadInput: with the smallest and the largest label.
    """
    sizes = {region.output: prod(region.shape) for region in program.integer.hosts.values()}
    sizes |= {name: edge.size for name, edge in program.integer.edges.items()}
    if data.labels is None or "output" not in sizes:
        return
    classes = sizes["output"]
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= classes:
        what, fix = "the labels do not match the outputs", "number the classes from 0, as the network does"
        raise BadInput(Problem(what, data.where, f"{low} to {high}", f"0 to {classes - 1}", fix))
