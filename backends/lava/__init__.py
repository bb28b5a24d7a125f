"""Lava, and through it Loihi: a Program becomes a folder that Lava runs, and a runner that compares what it did."""

from neurocompile.backends.lava.bundle import bundle_files
from neurocompile.backends.lava.plan import Plan, check_stock, plan_of

__all__ = ["Plan", "bundle_files", "check_stock", "plan_of"]
