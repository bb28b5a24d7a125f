"""``neurocompile simulate``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.options import output_options, path, work_options

__all__ = ["command"]


@click.command("simulate")
@click.argument("program", type=path)
@click.option("--data", type=path, required=True, metavar="X.npz",
              help="x [N, ...] or [N, T, ...], and labels y; or a folder of npy, npz or zarr.")  # fmt: skip
@click.option("--spikes", type=path, metavar="FILE.npz", help="Write what every layer fired, [N, T, ...] by layer.")
@click.option("--real", is_flag=True, help="Run the folded graph in float64 instead of the integers.")
@click.option("--price-as", metavar="TARGET", help="Price the counts as another target would.")
@click.option("--timing/--no-timing", default=None, help="Time it on nc1 or Loihi (default: up to 5 million synapses).")
@click.option(
    "--placement",
    type=click.Choice(["in-order", "snake", "hilbert", "refined", "balanced"]),
    help="Of the cores (default: in-order on nc1, snake on Loihi); nc1's refined and balanced look at the traffic.",
)
@click.option(
    "--timeline",
    type=path,
    metavar="FILE.json",
    help="Write when what of the first sample happened, for ui.perfetto.dev; FILE.pftrace: in its own format.",
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Samples at once (default: one a processor).")
@click.option("--reference", is_flag=True, help="Run the NumPy reference instead of the compiled engine.")
@click.option("--stream", is_flag=True, help="Keep the state from one sample to the next.")
@click.option("--overwrite", is_flag=True, help="Replace the files of --spikes and --timeline.")
@work_options
@output_options
def command(**options: Any) -> int:
    """Run PROGRAM (a folder that export wrote) on data."""
    from neurocompile.cli.console import finish, watching
    from neurocompile.verbs.simulate import SimulateRequest, simulate

    as_json = options.pop("as_json")
    return finish("simulate", simulate(SimulateRequest(**options), watching(as_json)), as_json)
