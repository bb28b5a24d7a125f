"""``neurocompile inspect``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.options import model_options, output_options, path, recording_option

__all__ = ["command"]


@click.command("inspect")
@click.argument("what", type=path, metavar="MODEL|PROGRAM")
@click.option("--target", default="generic", show_default=True, help="For a model: what it is to be compiled for.")
@click.option("--chips", type=click.IntRange(1), default=1, show_default=True, help="How many chips it may take.")
@model_options
@recording_option
@output_options
def command(**options: Any) -> int:
    """Show the graph of a model or a program, its sizes, what folds into what, and what does not fit."""
    from neurocompile.cli.console import finish
    from neurocompile.verbs.inspect import InspectRequest, inspect

    as_json = options.pop("as_json")
    return finish("inspect", inspect(InspectRequest(**options)), as_json)
