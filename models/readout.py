"""Where earlier versions had :class:`neurocompile.vocabulary.readout.MembraneReadout`."""

from neurocompile.vocabulary.readout import MembraneReadout

__all__ = ["MembraneReadout"]
