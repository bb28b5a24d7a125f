"""What the host computes of a network: who runs when, and the session that runs its parts."""

from neurocompile.hosted.session import HostSession, sessions
from neurocompile.hosted.stages import Hosted, Stage, run_graph

__all__ = ["HostSession", "Hosted", "Stage", "run_graph", "sessions"]
