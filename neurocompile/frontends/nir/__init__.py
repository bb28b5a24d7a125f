"""NIR: the files in which frameworks hand spiking networks to one another."""

from __future__ import annotations

from pathlib import Path

from neurocompile.extras import needing
from neurocompile.files import HDF5, begins_with
from neurocompile.frontends.base import Frontend, Judged, Model, Settings

__all__ = ["frontend"]


def _is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5; it is asked of every model, and h5py may be missing."""
    return begins_with(path, HDF5)


def _load(path: Path, settings: Settings) -> Model:
    """:func:`neurocompile.frontends.nir.model.load`, where h5py is installed."""
    with needing(str(path), "nir"):
        from neurocompile.frontends.nir.model import load
    return load(path, settings)


def _judge(path: Path, settings: Settings) -> Judged:
    """:func:`neurocompile.frontends.nir.judging.judge`, where h5py is installed."""
    with needing(str(path), "nir"):
        from neurocompile.frontends.nir.judging import judge
    return judge(path, settings)


frontend = Frontend(_is_hdf5, _load, judge=_judge)
