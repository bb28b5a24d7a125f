"""What a network fired where it was made: arrays in an npz file, or NIR's own NIRGraphData."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.files import HDF5, begins_with, read_arrays
from neurocompile.frontends.nir.hdf5 import read_nir_data
from neurocompile.frontends.nir.network import Network
from neurocompile.frontends.nir.nodes import Cell, Threshold
from neurocompile.ir.ops import Array

__all__ = ["Recorded", "recording_of"]

_FIX = "record what went in under the name of the input, and spikes under the names of neurons: [samples, steps, ...]"


@dataclass(frozen=True)
class Recorded:
    """A recording: ``inputs[name][N, T, *shape]``, and ``spikes[name][N, T, *shape]`` of some layers."""

    inputs: Mapping[str, Array]
    spikes: Mapping[str, Array]

    @property
    def timesteps(self) -> int:
        """T."""
        return int(next(iter(self.inputs.values())).shape[1])

    @property
    def positions(self) -> int:
        """Neurons times steps times samples."""
        return sum(spikes.size for spikes in self.spikes.values())

    @property
    def fired(self) -> int:
        """How many spikes there are."""
        return int(sum(spikes.sum() for spikes in self.spikes.values()))


def recording_of(given: Path | Mapping[str, Array], network: Network, dt: float | None) -> Recorded:
    """What was recorded of a network.

    Args:
        given: an npz file, a file of :func:`nir.write_data`, or arrays by name. The only input may be called x or X.
        network: the file that it is of.
        dt: of a step, where events have times; None: what the recording says.

    Raises:
        BadInput: for what is none of this network.
    """
    where = str(given) if isinstance(given, Path) else "the recording"
    held = _held(given, dt) if isinstance(given, Path) else dict(given)
    problems: list[Problem] = []
    inputs, spikes = {}, {}
    layers = [name for name, node in network.nodes.items() if _fires(node)]
    (only,) = network.inputs if len(network.inputs) == 1 else (None,)
    for name, array in held.items():
        name = only if only is not None and name in ("x", "X") and name not in network.nodes else name
        if name in network.inputs:
            inputs[name] = array
        elif name in layers:
            spikes[name] = array
        elif name not in network.nodes:
            known = ", ".join([*network.inputs, *layers])
            problems.append(Problem("the network has no such node", where, name, known, "name arrays as its nodes are"))
    missing = [name for name in network.inputs if name not in inputs]
    problems += [Problem("what went in is missing", where, limit=name, fix=_FIX) for name in missing]
    if not spikes:
        problems.append(Problem("it holds no spikes of a layer", where, limit=", ".join(layers), fix=_FIX))
    shaped: dict[str, Array] = {}
    samples = next(iter(inputs.values())).shape[:2] if inputs and next(iter(inputs.values())).ndim >= 2 else (0, 0)
    for name, array in {**inputs, **spikes}.items():
        whole = (*samples, *network.shapes[name])
        if array.dtype.kind not in "fiub" or array.size != int(np.prod(whole)) or array.shape[:2] != samples:
            problems.append(Problem(f"{name} has the wrong shape", where, str(array.shape), str(whole), _FIX))
        elif not np.isfinite(array).all():
            problems.append(Problem(f"{name} holds NaN or infinity", where, fix=_FIX))
        else:
            shaped[name] = np.asarray(array, np.float64).reshape(whole)
    if not problems and not any(shaped[name].any() for name in spikes):
        problems.append(Problem("nothing fires in it, so that it tells no reading from another", where, fix=_FIX))
    if problems:
        raise BadInput(problems)
    return Recorded({name: shaped[name] for name in inputs}, {name: shaped[name] for name in spikes})


def _fires(node: object) -> bool:
    return isinstance(node, Threshold) or (isinstance(node, Cell) and node.v_threshold is not None)


def _held(path: Path, dt: float | None) -> dict[str, Array]:
    return read_nir_data(path, dt) if begins_with(path, HDF5) else read_arrays(path)
