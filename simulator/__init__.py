"""Runs a Program: spikes, membranes, exact counts, and what they cost."""

from neurocompile.simulator.counts import Counts, LayerCounts
from neurocompile.simulator.energy import Bill, price
from neurocompile.simulator.reference import Simulation, simulate_integers

__all__ = ["Bill", "Counts", "LayerCounts", "Simulation", "price", "simulate_integers"]
