"""``neurocompile check``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.options import model_options, output_options, path, recording_option

__all__ = ["command"]


@click.command("check")
@click.argument("model", type=path)
@click.option("--target", default="generic", show_default=True, help="What it is to be compiled for.")
@click.option("--chips", type=click.IntRange(1), default=1, show_default=True, help="How many chips it may take.")
@model_options
@recording_option
@output_options
def command(**options: Any) -> int:
    """Hold every node of a model against a target, without compiling it: all findings at once (exit code 3)."""
    from neurocompile.cli.console import finish
    from neurocompile.verbs.check import CheckRequest, check

    as_json = options.pop("as_json")
    return finish("check", check(CheckRequest(**options)), as_json)
