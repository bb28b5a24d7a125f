"""``neurocompile demo``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.options import output_options, path

__all__ = ["command"]


@click.command("demo")
@click.option("--target", "targets", multiple=True, help="A chip to price (repeatable; default: every priced one).")
@click.option("--report", type=path, metavar="FILE.html", help="Write all of it as a page, too.")
@click.option("--write-data", type=path, metavar="FILE.npz", help="Only write the held-out digits, as x and y.")
@click.option("--write-model", type=path, metavar="FILE.pt", help="Only write the bundled network, as a model file.")
@click.option("--bits", type=int, help="Width of a weight (default: 8).")
@click.option("--overwrite", is_flag=True, help="Replace the files that are written.")
@output_options
def command(**options: Any) -> int:
    """Compile, simulate, price and check a bundled MPBN network on real handwritten digits."""
    from neurocompile.cli.console import finish, watching
    from neurocompile.verbs.demo import DemoRequest, demo

    as_json = options.pop("as_json")
    return finish("demo", demo(DemoRequest(**options), watching(as_json)), as_json)
