"""Does the network fit the chip, how much of it does it take, and which neurons go to which core?"""

from neurocompile.mapping.cores import Core, Fullest, LayerCores, Mapping, map_to_cores, plan_cores
from neurocompile.mapping.fit import Needs, check_fit, chips_needed, fit_problems, needs_of

__all__ = [
    "Core",
    "Fullest",
    "LayerCores",
    "Mapping",
    "Needs",
    "check_fit",
    "chips_needed",
    "fit_problems",
    "map_to_cores",
    "needs_of",
    "plan_cores",
]
