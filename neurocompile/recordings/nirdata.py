"""NIR's own recordings: NIRGraphData in HDF5, as ``nir.write_data`` writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neurocompile.extras import needing
from neurocompile.files import HDF5
from neurocompile.recordings.base import Found, Hints, Reader

__all__ = ["NIR_DATA"]


def _read(path: Path, hints: Hints) -> Found:
    """Per node ``[samples, rows, neurons]``; NIR's times are in seconds, or in whatever its writer had."""
    with needing(str(path), "nir"):
        from neurocompile.frontends.nir.hdf5 import read_nir_data
    data = read_nir_data(path, hints.step_s, hints.timesteps)
    return Found(gridded={name: np.asarray(series) for name, series in data.items()})


NIR_DATA = Reader(lambda start, path: start.startswith(HDF5), _read)
