"""Processes that Lava does not have. They run in its CPU simulation only."""
