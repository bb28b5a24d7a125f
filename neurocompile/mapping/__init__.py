"""Does the network fit the chip, and how much of it does it take?"""

from neurocompile.mapping.fit import Needs, check_fit, chips_needed, needs_of

__all__ = ["Needs", "check_fit", "chips_needed", "needs_of"]
