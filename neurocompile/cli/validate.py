"""``neurocompile validate``."""

from __future__ import annotations

from typing import Any

import click

from neurocompile.cli.options import Function, model_options, output_options, path, recording_options, work_options

__all__ = ["command", "validation_options"]

_COMPARED = (
    click.option("--reference", type=path, metavar="MODEL", help="The model that the program was made from."),
    click.option(
        "--recorded",
        multiple=True,
        metavar="FILE",
        help="What hardware fired (repeatable, also LAYER=FILE): npz, NIRGraphData, CSV, Parquet, AEDAT, Prophesee, "
        "N-MNIST (docs/recordings.md).",
    ),
    recording_options,
    click.option("--data", type=path, metavar="X.npz", help="x and labels y (default: the program's own samples)."),
    click.option(
        "--lava-python",
        type=path,
        metavar="PATH",
        help="Python 3.10 with Lava, or its environment (default: .venv-lava).",
    ),
    click.option(
        "--backend-samples",
        type=click.IntRange(0),
        metavar="N",
        help="How many samples Lava (default: 128) or the RTL (4) runs (0: none).",
    ),
    click.option(
        "--time-limit",
        "time_limit_s",
        type=click.FloatRange(0, min_open=True),
        default=600.0,
        show_default=True,
        metavar="S",
        help="Seconds that one run of Lava or the RTL may take before it is killed.",
    ),
    click.option("--hardware", is_flag=True, help="Run on Loihi itself, where the machine has one."),
    click.option(
        "--tolerance",
        multiple=True,
        metavar="STAGE=NUMBER",
        help="What a stage may find and pass (repeatable): lowering=1e-9 (of outputs), quantization=0.5 (points of "
        "accuracy), recorded, lava, rtl, onnx=0 (percent of the spikes).",
    ),
    click.option(
        "--require",
        multiple=True,
        metavar="STAGE",
        help="A stage that must have run and passed, or exit 5 (repeatable): lowering, quantization, lava, rtl, "
        "recorded.",
    ),
    model_options,
    work_options,
)


def validation_options(function: Function) -> Function:
    """What is compared with what."""
    for decorate in reversed(_COMPARED):
        function = decorate(function)
    return function


@click.command("validate")
@click.argument("program", type=path)
@validation_options
@output_options
def command(**options: Any) -> int:
    """Compare PROGRAM with PyTorch, with Lava or RTL, and with spikes that hardware really fired.

    Stages: lowering (PyTorch against the folded graph, float64, every spike), quantization (the folded graph against
    the integers: accuracy falls by at most half a point; without labels at least 95 % of the positions agree, and F1
    of the spikes is at least 80 %), lava (for Loihi: the integers against Lava, every spike and every membrane), rtl
    (for nc1: the integers and the timing simulator against the Verilog, every spike, membrane and cycle), recorded
    (the integers against the hardware, every spike). The last line says what is proved and what did not run.
    """
    from neurocompile.cli.console import finish, watching
    from neurocompile.verbs.validate import ValidateRequest, validate

    as_json = options.pop("as_json")
    return finish("validate", validate(ValidateRequest(**options), watching(as_json)), as_json)
