"""``neurocompile explore``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from neurocompile.cli.options import bits, model_options, output_options, path, recording_option, work_options

__all__ = ["command"]

Callback = Callable[[click.Context, click.Parameter, Any], tuple[Any, ...]]


def _names(*known: str) -> Callback:
    """Several names with commas between them; any, or some that are known."""

    def read(context: click.Context, option: click.Parameter, given: str | None) -> tuple[str, ...]:
        found = tuple(filter(None, (given or "").split(",")))
        wrong = [name for name in found if known and name not in known]
        if wrong:
            raise click.BadParameter(f"{wrong[0]!r} is none of {', '.join(known)}", context, option)
        return found

    return read


def _widths(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> tuple[Any, ...]:
    """Each "3,4,6" is several widths, each "conv1=4,fc=8" one by layer."""
    read = bits.convert
    return tuple(
        read(each, option, context)
        for value in given
        for each in ([value] if "=" in value else filter(None, value.split(",")))
    )


def _per(context: click.Context, option: click.Parameter, given: str) -> tuple[bool, ...]:
    return tuple(name == "channel" for name in _names("channel", "tensor")(context, option, given))


@click.command("explore")
@click.argument("model", type=path)
@click.option("--data", type=path, required=True, metavar="X.npz", help="x [N, ...] or [N, T, ...], and labels y.")
@click.option("--bits", multiple=True, default=["3,4,6,8"], show_default=True, metavar="N,N|LAYER=N,...",
              callback=_widths, help="Widths of weights; conv1=4,fc=8 (repeatable) is one by layer.")  # fmt: skip
@click.option("--targets", metavar="NAME,NAME", callback=_names(),
              help="Chips, also FILE.toml (default: all that something can be compiled for).")  # fmt: skip
@click.option("--scale", default="auto", show_default=True, metavar="NAME,NAME",
              callback=_names("auto", "max", "percentile", "membrane"),
              help="How weight scales are chosen: auto, max, percentile, membrane.")  # fmt: skip
@click.option("--per", "per_channel", default="channel", show_default=True, metavar="channel,tensor", callback=_per,
              help="One weight scale for each output channel, one for each layer, or both.")  # fmt: skip
@click.option("--placement", default="usual", show_default=True, metavar="NAME,NAME",
              callback=_names("usual", "in-order", "snake", "hilbert", "refined", "balanced"),
              help="Of the cores, where something times them: usual, in-order, snake, hilbert; on nc1 also refined, "
              "balanced.")  # fmt: skip
@click.option("--input-bits", type=int, default=8, show_default=True, help="Width of a real-valued input.")
@click.option("--calibrate", type=path, metavar="X.npz", help="Samples that choose ranges (default: the model's own).")
@click.option("--chips", type=click.IntRange(1), default=1, show_default=True, help="How many chips a point may take.")
@click.option("--encode", type=click.Choice(["graded", "host"]),
              help="How real inputs reach a chip: as graded spikes, or as spikes that the host makes.")  # fmt: skip
@click.option(
    "--timing/--no-timing", default=None, help="Time points on nc1 or Loihi (default: up to 5 million synapses)."
)
@click.option(
    "--mixed", is_flag=True, help="Also search widths by layer, on half of the data; report on the other half."
)
@click.option("--halving", is_flag=True, help="Drop points early that others beat on few samples.")
@click.option("--max-energy-uj", type=click.FloatRange(0, min_open=True), metavar="UJ",
              help="What an inference may cost at the point to take.")  # fmt: skip
@click.option("--min-accuracy", type=click.FloatRange(0, 1), metavar="SHARE", help="What it must have right, 0 to 1.")
@click.option("--max-latency-ms", type=click.FloatRange(0, min_open=True), metavar="MS",
              help="What an inference may take there.")  # fmt: skip
@click.option("-o", "--output", "out", type=path, metavar="PAGE.html", help="Write all of it as a page.")
@click.option("--csv", type=path, metavar="FILE.csv", help="Write the points as a table.")
@click.option("--picture", type=path, metavar="FILE.svg", help="Draw the points and their front: .svg, .png, .pdf.")
@click.option("--overwrite", is_flag=True, help="Replace the files that are written.")
@work_options
@model_options
@recording_option
@output_options
def command(**options: Any) -> int:
    """Compare widths, chips and mappings of MODEL on data, and say which to take.

    Every combination that there can be is compiled, run and priced; the others are listed with what is in the way. The
    front are the points that no other beats in accuracy, energy and latency. Exit code 5: no point keeps to what was
    wanted (the nearest are shown).
    """
    from neurocompile.cli.console import finish, watching
    from neurocompile.verbs.explore import ExploreRequest, explore

    as_json = options.pop("as_json")
    return finish("explore", explore(ExploreRequest(**options), watching(as_json)), as_json)
