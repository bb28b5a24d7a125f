"""Chips as data: one TOML file each, with arithmetic, limits and prices, and where every constant comes from."""

import sys

from neurocompile import TargetsPackage
from neurocompile.targets.target import Arithmetic, Constant, Lif, Limits, Target, load_target, target_names

__all__ = ["Arithmetic", "Constant", "Lif", "Limits", "Target", "load_target", "target_names"]

sys.modules[__name__].__class__ = TargetsPackage
