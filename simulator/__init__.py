"""Runs a Program: spikes, membranes, exact counts, and what they cost."""

from neurocompile.simulator.energy import Bill, price
from neurocompile.simulator.reference import simulate_integers

__all__ = ["Bill", "price", "simulate_integers"]
