"""A scheduler and workers of Dask, started by hand: ``python -m neurocompile.work scheduler``, then ``... worker``.

Dask's own (``dask scheduler``, ``dask worker``) do as well, wherever this package is installed. These listen on this
machine alone unless told otherwise, give each worker one thread, and a worker waits for a scheduler that went away.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import Any

import click

from neurocompile.errors import NeurocompileError, Problem, ToolFailed
from neurocompile.extras import needing
from neurocompile.work.version import versions

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@click.group()
def main() -> None:
    """Start a scheduler, and workers for it."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens; 0.0.0.0: on every network.")
@click.option("--port", type=click.IntRange(0, 65535), default=8786, show_default=True, help="0: any.")
def scheduler(host: str, port: int) -> None:
    """Hand tasks to workers, until it is interrupted."""
    with needing("scheduler", "cluster"):
        from distributed import Scheduler

    async def serve() -> None:
        try:
            started = await Scheduler(host=host, port=port, dashboard=False)
        except OSError as error:
            what = f"it cannot listen there: {error.strerror or error}"
            raise ToolFailed(Problem(what, f"{host}:{port}", fix="give another --port")) from error
        print(started.address, flush=True)
        await started.finished()

    _run(serve())


@main.command()
@click.argument("address")
@click.option("--memory", default="auto", show_default=True, metavar="SIZE", help="It may take, as 2GB.")
@click.option("--patience", type=click.FloatRange(0), default=600.0, show_default=True, metavar="S",
              help="So long it waits for a scheduler that is not there.")  # fmt: skip
def worker(address: str, memory: str, patience: float) -> None:
    """Do tasks of the scheduler at ADDRESS, one at a time, until it is interrupted."""
    with needing("worker", "cluster"):
        from distributed import Worker

    versions()  # found before anyone asks

    async def serve() -> None:
        until = time.monotonic() + patience
        while True:
            try:
                options: dict[str, Any] = {"nthreads": 1, "memory_limit": memory, "dashboard": False}
                started = await asyncio.wait_for(Worker(address, **options), 30)
            except (TimeoutError, OSError) as error:
                if time.monotonic() >= until:
                    what = f"there is no scheduler: {error}"
                    raise ToolFailed(Problem(what, address, fix="start one, then this again")) from error
                await asyncio.sleep(1)
                continue
            print(started.address, flush=True)
            await started.finished()
            until = time.monotonic() + patience

    _run(serve())


def _run(serving: Any) -> None:
    logging.getLogger("distributed").setLevel(logging.WARNING)
    try:
        asyncio.run(serving)
    except KeyboardInterrupt:
        sys.exit(130)
    except NeurocompileError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    if any(name not in os.environ for name in _ONE_THREAD):  # libraries read these when they are loaded
        os.environ |= {name: os.environ.get(name, "1") for name in _ONE_THREAD}
        os.execv(sys.executable, [sys.executable, "-m", "neurocompile.work", *sys.argv[1:]])
    main(prog_name="python -m neurocompile.work")
