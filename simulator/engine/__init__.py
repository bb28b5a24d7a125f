"""The functional engine: event-driven, compiled, exact; counts come out of the same pass.

It equals :func:`neurocompile.simulator.reference.simulate_integers` in every spike, membrane and count. docs/engine.md
says how it works.
"""

from neurocompile.simulator.engine.engine import Engine, EngineMissing, Stream, engine_missing

__all__ = ["Engine", "EngineMissing", "Stream", "engine_missing"]
