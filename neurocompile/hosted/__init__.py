"""What the host computes of a network: who runs when, and the session that runs its parts."""

from neurocompile.hosted.session import HostSession, sessions
from neurocompile.hosted.stages import ChipRun, Hosted, Stage, run_graph

__all__ = ["ChipRun", "HostSession", "Hosted", "Stage", "run_graph", "sessions"]
