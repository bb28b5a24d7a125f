"""Networks whose recording cannot be lowered yet: traced symbolically, proved against the live model.

It knows layers and neurons by their classes and so sees less of what a forward does; what it makes of one counts only
where the live module gives the same. Model files of the first version hold its traces.
"""

from neurocompile.frontends.pytorch.symbolic.model import SymbolicModel

__all__ = ["SymbolicModel"]
