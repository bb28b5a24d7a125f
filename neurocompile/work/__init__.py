"""Work that is cut into pieces: what a piece is, who does it, and where finished pieces are kept."""

from neurocompile.work.base import Engine, Finished, Here, Task
from neurocompile.work.keys import key_of

__all__ = ["Engine", "Finished", "Here", "Task", "key_of"]
