"""NIR: the files in which frameworks hand spiking networks to one another."""

from neurocompile.frontends.base import Frontend
from neurocompile.frontends.nir.model import NirModel, is_nir, load

__all__ = ["NirModel", "frontend"]

frontend = Frontend(is_nir, load)
