"""Backends: one package each. A Program becomes files that another tool runs, and a runner for that tool."""
