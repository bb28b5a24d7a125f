"""The command line. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    try:
        from neurocompile.cli.app import main as run
    except KeyboardInterrupt:
        os._exit(130)  # before anything could be said
    run(arguments)
