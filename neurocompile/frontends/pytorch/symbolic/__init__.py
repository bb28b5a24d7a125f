"""Networks that are told by the classes of their layers and neurons: traced symbolically, lowered by class.

Such a trace sees less of what a forward does than a recording of the live module, so what it makes of one counts only
where the live module gives the same; else the recording is lowered. Files of the first version hold these traces.
"""

from neurocompile.frontends.pytorch.symbolic.model import Listening, SymbolicModel

__all__ = ["Listening", "SymbolicModel"]
