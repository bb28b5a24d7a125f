"""``neurocompile export``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.options import model_options, output_options, path, recording_option

__all__ = ["command"]


def _names(context: click.Context, option: click.Parameter, given: str | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(filter(None, given.split(",")))


@click.command("export")
@click.argument("model", type=path)
@click.option("--target", default="generic", show_default=True, help="From `neurocompile targets`, or FILE.toml.")
@click.option("-o", "--output", "out", type=path, help="The folder to write (default: MODEL's name).")
@click.option("--bits", type=int, help="Width of a weight, 2 to 16 (default: the target's).")
@click.option("--per", "per_channel", type=click.Choice(["channel", "tensor"]), default="channel", show_default=True,
              callback=lambda *given: given[-1] == "channel",
              help="One weight scale for each output channel, or one for each layer.")  # fmt: skip
@click.option("--scale", type=click.Choice(["auto", "max", "percentile", "membrane"]), default="auto",
              show_default=True,
              help="How weight scales are chosen (auto: membrane below 6 bits, with samples; else max).")  # fmt: skip
@click.option("--input-bits", type=int, default=8, show_default=True, help="Width of a real-valued input.")
@click.option("--calibrate", type=path, metavar="X.npz", help="Samples that choose ranges (default: the model's own).")
@click.option("--chips", type=click.IntRange(1), default=1, show_default=True, help="How many chips it may take.")
@click.option("--encode", type=click.Choice(["graded", "host"]),
              help="How real inputs reach a chip: as graded spikes, or as spikes that the host makes.")  # fmt: skip
@click.option("--emit", metavar="NAME,NAME", callback=_names,
              help="Backends to write files for: lava, netx, rtl, nir, onnx (default: the target's).")  # fmt: skip
@click.option("--integers", is_flag=True, help="Into .nir: the program's integers instead of the folded reals.")
@click.option("--approximate", is_flag=True, help="Into .nir: what it cannot say, as near as can be, with a warning.")
@click.option("--onnx-arithmetic", type=click.Choice(["int", "float32"]), default="int", show_default=True,
              help="Into .onnx: products as integers, or in float32 where that is proved exact.")  # fmt: skip
@click.option("--onnx-reals", is_flag=True, help="Into .onnx: the folded reals as well, in float32.")
@click.option("--stock-only", is_flag=True, help="Refuse layers that Lava's own processes (and Loihi) cannot do.")
@click.option("--overwrite", is_flag=True, help="Replace the folder if it is a program.")
@click.option("--dry-run", is_flag=True, help="Compile and report, but write nothing.")
@click.option("--no-validate", "validate", is_flag=True, callback=lambda *given: not given[-1],
              help="Do not compare the result with PyTorch.")  # fmt: skip
@click.option("--print-ir-after", metavar="PASS", help="Print the graph after a pass on stderr (`all`: after each).")
@model_options
@recording_option
@output_options
def command(**options: Any) -> int:
    """Compile MODEL for a target and write the program.

    MODEL is a file of neurocompile.save, a pickled module (with --input-shape and --timesteps), or a state_dict (with
    --arch).
    """
    from neurocompile.cli.console import finish, watching
    from neurocompile.verbs.export import ExportRequest, export

    as_json = options.pop("as_json")
    return finish("export", export(ExportRequest(**options), watching(as_json)), as_json)
