"""``neurocompile zoo``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.options import output_options, path

__all__ = ["command"]


@click.command("zoo")
@click.argument("name", required=False)
@click.option("-o", "--output", "out", type=path, metavar="MODEL.pt", help="With NAME: write it as a model file.")
@click.option("--size", type=click.Choice(["paper", "small"]), help="List only these.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of its weights and of its example.")
@click.option("--samples", type=click.IntRange(1), default=8, show_default=True, help="How many examples it brings.")
@click.option("--measure", is_flag=True, help="With NAME: what it takes and costs (seconds to minutes; docs/zoo.md).")
@click.option("--overwrite", is_flag=True, help="Replace the model file.")
@output_options
def command(**options: Any) -> int:
    """List the papers' networks, or make one of them (NAME) as a model file that export takes.

    A network made here is synthetic: untrained, with batch norms set so that its layers fire at 10 to 15 %.
    """
    from neurocompile.cli.console import finish
    from neurocompile.verbs.zoo import ZooRequest, zoo

    as_json = options.pop("as_json")
    return finish("zoo", zoo(ZooRequest(**options)), as_json)
