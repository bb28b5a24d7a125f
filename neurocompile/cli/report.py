"""``neurocompile report``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.options import output_options, path
from neurocompile.cli.validate import validation_options

__all__ = ["command"]


@click.command("report")
@click.argument("program", type=path)
@click.option("-o", "--output", "out", type=path, metavar="REPORT.html", help="The page to write.")
@click.option("--csv", type=path, metavar="FOLDER", help="The same numbers as CSV, a file for each table.")
@click.option("--target", "targets", multiple=True, metavar="NAME",
              help="A chip whose prices stand beside the program's own (repeatable; default: all).")  # fmt: skip
@click.option("--title", metavar="TEXT", help="Of the page (default: the name of the folder).")
@click.option("--overwrite", is_flag=True, help="Replace what exists.")
@validation_options
@output_options
def command(**options: Any) -> int:
    """Write all that is known of PROGRAM as one page: what is proved, what it did, what that costs, on which cores.

    The page is a single file that asks the network for nothing: verdicts, the network as it went to the chip, spikes,
    rates and synaptic operations by layer, energy on several chips with bounds and sources, what quantization did,
    cores, latency, and where it began to differ, with what explains that. What is compared is as for `validate`.
    """
    from neurocompile.cli.console import finish, watching
    from neurocompile.errors import Problem, UsageError
    from neurocompile.verbs.report import ReportRequest, report

    if options["out"] is None and options["csv"] is None:
        raise UsageError(
            Problem("nothing says where to write the page", "-o", fix="give -o REPORT.html, or --csv FOLDER")
        )
    as_json = options.pop("as_json")
    return finish("report", report(ReportRequest(**options), watching(as_json)), as_json)
