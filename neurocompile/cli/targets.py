"""``neurocompile targets``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.options import output_options, path

__all__ = ["command"]


@click.command("targets")
@click.argument("name", required=False, metavar="[NAME|FILE.toml]")
@click.option("--toml", is_flag=True, help="With NAME: print its file, to start one of your own from.")
@click.option("--import-sanafe", type=path, metavar="ARCH.yaml",
              help="Make such a file of an architecture of SANA-FE's, and say what is in one only.")  # fmt: skip
@click.option("-o", "--output", "out", type=path, metavar="CHIP.toml", help="Write it there (default: print it).")
@click.option("--overwrite", is_flag=True, help="Replace CHIP.toml.")
@output_options
def command(**options: Any) -> int:
    """List the chips; with NAME, everything that is known of one and where it comes from."""
    from neurocompile.cli.console import finish
    from neurocompile.verbs.targets import TargetsRequest, targets

    as_json = options.pop("as_json")
    return finish("targets", targets(TargetsRequest(**options)), as_json)
