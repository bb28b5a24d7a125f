"""Work that is cut into pieces: what a piece is, who does it, and where finished pieces are kept."""

from neurocompile.work.base import Engine, Finished, Here, Shared, Task
from neurocompile.work.engines import engine_of
from neurocompile.work.keys import key_of
from neurocompile.work.pool import Pool
from neurocompile.work.store import CACHE, Kept, Store, usual_folder
from neurocompile.work.version import versions

__all__ = [
    "CACHE",
    "Engine",
    "Finished",
    "Here",
    "Kept",
    "Pool",
    "Shared",
    "Store",
    "Task",
    "engine_of",
    "key_of",
    "usual_folder",
    "versions",
]
