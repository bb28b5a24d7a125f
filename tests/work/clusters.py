"""A scheduler and workers of Dask as separate programs, started as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket

ROOT = Path(__file__).parents[2]


def started(*arguments: object) -> tuple[subprocess.Popen[str], str]:
    """One of ``python -m neurocompile.work``, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "neurocompile.work", *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ},
    )  # fmt: skip
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def ended(process: subprocess.Popen[str], how: signal.Signals = signal.SIGKILL) -> None:
    """Ended, and seen to be."""
    process.send_signal(how)
    process.wait(30)
    assert process.stdout is not None
    process.stdout.close()


def free_port() -> int:
    """One that nobody listens at."""
    with socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class ByHand:
    """A scheduler at a port that stays, and its workers."""

    def __init__(self, workers: int) -> None:
        self.port = free_port()
        self.scheduler, self.address = started("scheduler", "--port", self.port)
        self.workers = [started("worker", self.address, "--patience", 60)[0] for _ in range(workers)]

    def again(self) -> None:
        """The scheduler is killed and started again."""
        ended(self.scheduler)
        self.scheduler, address = started("scheduler", "--port", self.port)
        assert address == self.address

    def close(self) -> None:
        """All of them end."""
        for process in (*self.workers, self.scheduler):
            if process.returncode is None:
                ended(process)


@contextmanager
def by_hand(workers: int = 2) -> Iterator[ByHand]:
    """Started, and ended."""
    cluster = ByHand(workers)
    try:
        yield cluster
    finally:
        cluster.close()
