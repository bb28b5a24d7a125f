"""Tasks that tests give to engines: workers find them by name."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.errors import BadInput, Problem


def square(number: int, log: Path | None = None, pause: float = 0.0, shared: Any = None) -> dict[str, Any]:
    """The square of a number; ``log`` (a folder) is told that it was computed, and by whom."""
    if log is not None:
        (log / f"began-{number}-{os.getpid()}").touch()
    time.sleep(pause)
    if log is not None:
        with (log / f"did-{number}").open("a") as file:
            file.write(f"{os.getpid()}\n")
    return {"square": number * number, "half": number / 2, "row": np.arange(number), "shared": repr(shared)}


def refuse(number: int) -> None:
    """An error as users are told of it."""
    raise BadInput([Problem("the first", actual=str(number)), Problem("the second")])


def fault(number: int) -> None:
    """An error that nobody foresaw."""
    raise KeyError(number)


def end_once(number: int, log: Path) -> int:
    """The first process that is asked ends; others do it."""
    mark = log / f"ended-{number}"
    if not mark.exists():
        mark.touch()
        os._exit(3)
    return number


def end(number: int) -> None:
    """Every process ends."""
    os._exit(number)
