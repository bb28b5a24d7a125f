"""What a person who waits is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

__all__ = ["Progress", "Step", "silent"]

Step = Callable[[int], None]
"""Called with the number of samples done since the last call."""

Progress = Callable[[str, int], AbstractContextManager[Step]]
"""Given what begins and how many samples it has; tells of it while the block runs."""


@contextmanager
def silent(what: str, total: int) -> Iterator[Step]:
    """Nothing."""
    yield lambda done: None
