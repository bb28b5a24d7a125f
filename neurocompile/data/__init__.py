"""Users' samples: arrays in memory, or files of any size that are read piece by piece."""

from neurocompile.data.arranged import Data, arrange_inputs
from neurocompile.data.stored import Stored, load_data, reopened

__all__ = ["Data", "Stored", "arrange_inputs", "load_data", "reopened"]
