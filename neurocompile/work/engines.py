"""Which engine does the work, as a user says it."""

from __future__ import annotations

from neurocompile.errors import Problem, UsageError
from neurocompile.work.base import Engine, Here
from neurocompile.work.pool import Pool, processors

__all__ = ["engine_of"]


def engine_of(scheduler: str | None = None, workers: int | None = None) -> Engine:
    """An engine, to be closed when the work is done.

    Args:
        scheduler: the address of a Dask scheduler; None: this machine.
        workers: how many processes of this machine; 1: this process alone; None: one for each processor.

    Raises:
        UsageError: if both are said.
        ToolFailed: if no scheduler is there, no worker, or one with another version.
    """
    if scheduler is not None:
        if workers is not None:
            fix = "leave one of them out: a cluster has the workers that it has"
            raise UsageError(Problem("these are two ways to say who works", "--scheduler, --workers", fix=fix))
        from neurocompile.work.cluster import Cluster

        return Cluster(scheduler)
    workers = workers or processors()
    return Here() if workers == 1 else Pool(workers)
