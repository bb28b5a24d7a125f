"""Chips as data: a TOML file each, with arithmetic, limits and prices, and where every constant comes from.

Files lie beside the code of their family. ``neurocompile.targets()`` and ``neurocompile.targets("loihi")`` say what is
known of them, as the command does.
"""

from neurocompile.arithmetic import Arithmetic, Lif
from neurocompile.limits import Limits
from neurocompile.targets.base import COUNTS, FAMILIES, Family, Target
from neurocompile.targets.events import Constant
from neurocompile.targets.reading import load_events, load_target, parsed_target, target_names, target_of, toml_of

__all__ = [
    "COUNTS",
    "FAMILIES",
    "Arithmetic",
    "Constant",
    "Family",
    "Lif",
    "Limits",
    "Target",
    "load_events",
    "load_target",
    "parsed_target",
    "target_names",
    "target_of",
    "toml_of",
]
