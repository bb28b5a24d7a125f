"""What the commands share that run a program in Lava or as RTL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from neurocompile.cli.options import path

__all__ = ["executor_for", "lava_options"]

Function = TypeVar("Function", bound=Callable[..., Any])


def lava_options(function: Function) -> Function:
    """How and where Lava runs."""
    for decorate in (
        click.option("--hardware", is_flag=True, help="Run on Loihi itself, where the machine has one."),
        click.option("--time-limit", type=click.FloatRange(0, min_open=True), default=600.0, show_default=True,
                     metavar="S", help="Seconds that one run of Lava or the RTL may take before it is killed."),
        click.option("--backend-samples", type=click.IntRange(0), metavar="N",
                     help="How many samples Lava (default: 128) or the RTL (4) runs (0: none)."),
        click.option("--lava-python", type=path, metavar="PATH",
                     help="Python 3.10 with Lava, or its environment (default: .venv-lava)."),
    ):  # fmt: skip
        function = decorate(function)
    return function


def executor_for(program: Any, folder: Path | None, options: dict[str, Any]) -> tuple[Any, str]:
    """Lava or the RTL for a program that it runs, or why not.

    Raises:
        LavaMissing: if an interpreter was named, and is none.
    """
    if options["backend_samples"] == 0:
        return None, "left out (--backend-samples 0)"
    if program.target == "nc1":
        from neurocompile.backends.rtl.executor import rtl_for

        return rtl_for(program, options["time_limit"])
    from neurocompile.backends.lava.executor import lava_for

    python, hardware, limit = options["lava_python"], options["hardware"], options["time_limit"]
    return lava_for(program, python, folder, hardware, limit, options["trust"])
