"""Faults in the files of a bundle for Lava: its arrays, and where numbers stand in its code, that."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.backends.lava import bundle_files
from neurocompile.backends.lava.executor import LAVA, LavaExecutor
from neurocompile.backends.lava.layout import lava_shape
from neurocompile.backends.lava.runner import LavaMissing, find_lava_python
from neurocompile.files import pack_arrays
from neurocompile.ir.form import Layer, Synapse, form_of
from neurocompile.ir.ops import Array, Linear
from neurocompile.simulator.base import RunnerSettings
from tests.faults.networks import Base
from tests.faults.tools import Ran, ToolFault, run_in

__all__ = ["FAULTS", "SAMPLES", "missing"]

SAMPLES = 4
# Beyond what a membrane holds.
_NEVER = 2**30


def missing() -> str:
    """Why there is no Lava here, if there is none."""
    try:
        find_lava_python()
    except LavaMissing as found:
        return str(found)
    return ""


@dataclass(frozen=True, eq=False)
class Bundle:
    """The files of a program, to be altered; ``layer`` is where."""

    base: Base
    layer: Layer
    arrays: dict[str, Any]
    files: dict[str, bytes]
    r: np.random.Generator

    @staticmethod
    def of(base: Base, layer: str, r: np.random.Generator) -> Bundle:
        """As it is emitted."""
        files = bundle_files(base.program)
        with np.load(io.BytesIO(files["arrays.npz"])) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return Bundle(base, form_of(base.program.integer).layers[layer], arrays, files, r)

    @property
    def is_own(self) -> bool:
        """Whether the layer is a process of ours, which has its parameters in arrays."""
        return f"{self.layer.name}.threshold" in self.arrays

    def pick(self, options: Any) -> Any:
        """One of them."""
        return options[int(self.r.integers(len(options)))]

    def change(self, name: str, new: Callable[[Array], Any]) -> bool:
        """A parameter of an own process."""
        self.arrays[name] = np.asarray(new(self.arrays[name].astype(np.int64))) if name in self.arrays else None
        return self.arrays[name] is not None

    def written(self, parameter: str, new: Callable[[int], int]) -> bool:
        """A number that stands in the code of the layer's stock process."""
        code = self.files["network.py"].decode()
        pattern = rf"(\b{re.escape(self.layer.name)} = \w+\([^)]*?\b{parameter}=)(\d+)"
        changed, count = re.subn(pattern, lambda m: f"{m[1]}{new(int(m[2]))}", code)
        self.files["network.py"] = changed.encode()
        return count == 1

    def weights(self, new: Callable[[Array], Array], of: Synapse | None = None) -> bool:
        """Weights, which stay even, as mantissas are."""
        for synapse in self.layer.synapses if of is None else (of,):
            (name,) = (n for n in self.names(synapse) if n in self.arrays)
            step = 1 if name.endswith(".weight") else 2
            self.arrays[name] = np.rint(new(self.arrays[name] / step)).astype(np.int64) * step
        return True

    def names(self, synapse: Synapse) -> tuple[str, str, str]:
        """The arrays that may hold its weights: a kernel, a matrix, a sparse one."""
        return f"{synapse.name}.weight", f"{synapse.name}.weights", f"{synapse.name}.data"

    def run(self, *names: str) -> Ran:
        """Validate the program with these files."""
        files = {**self.files, "arrays.npz": pack_arrays(self.arrays)}
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "program"
            self.base.program.save(folder, more={f"lava/{name}": content for name, content in files.items()})
            settings = RunnerSettings(folder=folder, trust=True)
            executor = LavaExecutor(self.base.program, find_lava_python(), settings)
            return run_in(LAVA, executor, self.base, frozenset(names))


def _fault(change: Callable[[Bundle], bool], *names: str) -> ToolFault:
    def fault(base: Base, layer: str, r: np.random.Generator) -> Ran | None:
        bundle = Bundle.of(base, layer, r)
        return bundle.run(*names) if change(bundle) else None

    return fault


def _threshold(b: Bundle) -> bool:
    scale = b.pick((0.5, 0.7, 1.5, 2.0))
    if b.is_own:
        return b.change(f"{b.layer.name}.threshold", lambda x: np.rint(x * scale).astype(np.int64))
    return b.written("vth", lambda vth: round(vth * scale))


def _bias(scale: float) -> Callable[[Bundle], bool]:
    def change(b: Bundle) -> bool:
        name = f"{b.layer.name}.bias" if b.is_own else f"{b.layer.name}.bias_mantissa"
        return bool(np.any(b.arrays.get(name, 0))) and b.change(name, lambda x: np.rint(x * scale).astype(np.int64))

    return change


def _decay(b: Bundle) -> bool:
    if b.is_own:
        return b.change(f"{b.layer.name}.decay", lambda x: np.where(x > 2048, x - 1200, x + 1200))
    return b.written("dv", lambda dv: dv + 1200 if dv < 2048 else dv - 1200)


def _reset_value(b: Bundle) -> bool:
    by = b.layer.op.reset == "by"
    most = int(np.abs(b.layer.op.threshold).max())
    return b.is_own and b.change(f"{b.layer.name}.{'amount' if by else 'v_reset'}", lambda x: x + most // 2)


def _no_reset(b: Bundle) -> bool:
    if b.is_own:
        b.arrays[f"{b.layer.name}.reset"] = np.asarray("none")
    return b.is_own


def _one_neuron(threshold: int) -> Callable[[Bundle], bool]:
    """The threshold of a single neuron."""

    def change(b: Bundle) -> bool:
        if not b.is_own or np.any(b.layer.op.flip):
            return False
        name = f"{b.layer.name}.threshold"
        whole = np.broadcast_to(b.arrays[name].astype(np.int64), lava_shape(b.layer.shape)).copy()
        whole.flat[int(b.r.integers(whole.size))] = threshold
        b.arrays[name] = whole
        return True

    return change


def _one_weight(b: Bundle) -> bool:
    """One of a matrix, which no other connection shares."""
    matrices = [s for s in b.layer.synapses if isinstance(s.op, Linear)]
    if not matrices:
        return False

    def changed(w: Array) -> Array:
        w = w.copy()
        at = int(b.r.integers(w.size))
        w.flat[at] = 127 if w.flat[at] < 0 else -127
        return w

    return b.weights(changed, b.pick(matrices))


def _kernel(new: Callable[[Array], Array]) -> Callable[[Bundle], bool]:
    """Of a convolution that Lava has as one, ``[out, kW, kH, in]``."""

    def change(b: Bundle) -> bool:
        kernels = [s for s in b.layer.synapses if b.arrays.get(f"{s.name}.weight", np.zeros(4)).shape[1:3] == (3, 3)]
        return bool(kernels) and b.weights(new, b.pick(kernels))

    return change


FAULTS: dict[str, ToolFault] = {
    "threshold-scaled": _fault(_threshold, "threshold-scaled"),
    "weights-scaled": _fault(lambda b: b.weights(lambda w: w * 0.5), "weights-scaled"),
    "weights-saturated": _fault(
        lambda b: b.weights(lambda w: np.clip(w, -np.abs(w).max() / 3, np.abs(w).max() / 3)), "weights-saturated"
    ),
    "weights-missing": _fault(lambda b: b.weights(np.zeros_like, b.pick(b.layer.synapses)), "weights-missing"),
    "weight-changed": _fault(_one_weight, "weight-changed"),
    "bias-missing": _fault(_bias(0.0), "bias-missing", "bias-scaled"),
    "bias-scaled": _fault(_bias(-1.0), "bias-scaled"),
    "decay-value": _fault(_decay, "decay-value"),
    "reset-value": _fault(_reset_value, "reset-value"),
    "reset-missing": _fault(_no_reset, "reset-missing"),
    "kernel-flipped": _fault(_kernel(lambda w: w[:, ::-1, ::-1]), "kernel-flipped"),
    "kernel-transposed": _fault(_kernel(lambda w: w.swapaxes(1, 2)), "kernel-transposed"),
    "neuron-dead": _fault(_one_neuron(_NEVER), "neuron-dead"),
    "neuron-stuck": _fault(_one_neuron(-_NEVER), "neuron-stuck"),
}
