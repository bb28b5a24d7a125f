"""The same network in ONNX Runtime, as well as it can: what ``export --emit onnx`` writes, but for the spikes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neurocompile.backends.onnx.build import Arithmetics, built_scan
from neurocompile.backends.onnx.executor import session_of
from neurocompile.backends.onnx.models import Told
from neurocompile.ir.ops import Array
from neurocompile.program import Program

__all__ = ["KINDS", "contenders", "given"]

KINDS: dict[str, Arithmetics] = {"onnx int8": "int", "onnx float32": "float32", "onnx reals": "reals"}
"""The program's integers with products of bytes, the same with products in float32, and the folded reals in float32."""


def given(program: Program, images: Sequence[Any]) -> list[Array]:
    """Batches of images [N, C, H, W] of torch, shown for all steps: [N, T, C, H, W] in float64."""
    shown = (batch.numpy().astype(np.float64) for batch in images)
    return [np.ascontiguousarray(np.repeat(x[:, None], program.timesteps, 1)) for x in shown]


def contenders(program: Program, threads: int, frames: Sequence[Array]) -> dict[str, Callable[[int], Array]]:
    """Functions of a frame's number that give scores [N, classes], by name."""
    (name,) = program.input_shapes
    found: dict[str, Callable[[int], Array]] = {}
    for kind, arithmetic in KINDS.items():
        built = built_scan(program, arithmetic, Told(spikes=False))
        session = session_of(built.model.SerializeToString(), threads)
        own = [x.astype(np.float32) for x in frames] if arithmetic == "reals" else frames
        found[kind] = _Run(session, name, own)
    return found


class _Run:
    def __init__(self, session: Any, name: str, frames: Sequence[Array]) -> None:
        self._session, self._name, self._frames = session, name, frames

    def __call__(self, frame: int) -> Array:
        (scores,) = self._session.run(None, {self._name: self._frames[frame]})
        return np.asarray(scores)
