"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "bits", "model_options", "output_options", "path", "recording_option", "recording_options", "shape", "work_options",
]  # fmt: skip

Function = TypeVar("Function", bound=Callable[..., Any])


class _Shape(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    name = "C,H,W"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            sizes = tuple(int(part) for part in str(value).replace("x", ",").split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of sizes like 1,8,8", param, ctx)
        if not sizes or any(size < 1 for size in sizes):
            self.fail(f"{value!r}: every size must be at least 1", param, ctx)
        return sizes


class _Bits(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    name = "N|LAYER=N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
        try:
            if "=" not in value:
                return int(value)
            pairs = [each.rpartition("=") for each in value.split(",")]
            found = {name.strip(): int(width) for name, _, width in pairs if name.strip()}
        except ValueError:
            found, pairs = {}, []
        if not found or len(found) != len(pairs):
            self.fail(f"{value!r} is no width like 4, and no list of widths like conv1=4,fc=8", param, ctx)
        return found


shape = _Shape()
bits = _Bits()
path = click.Path(path_type=Path)


def output_options(function: Function) -> Function:
    """``--json``, and ``--debug``, which is for :func:`neurocompile.cli.main` alone."""
    for decorate in (
        click.option("--debug", is_flag=True, expose_value=False, help="Print tracebacks."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."),
    ):
        function = decorate(function)
    return function


_OF_NIR = (
    click.option("--start", type=click.Choice(["zero", "leak", "reset"]), help="NIR: where membranes start."),
    click.option("--gain", type=click.Choice(["file", "one", "norm"]), help="NIR: what inputs are multiplied by."),
    click.option("--decay", type=click.Choice(["euler", "exp"]), help="NIR: 1 - dt/tau, or exp(-dt/tau)."),
    click.option("--spikes", type=click.Choice(["one", "many"]), help="NIR: how many a step."),
    click.option("--fire", type=click.Choice(["gt", "ge"]), help="NIR: above the threshold, or from it on."),
    click.option(
        "--reset", type=click.Choice(["hard", "hard-late", "soft", "soft-late", "none"]), help="NIR: the reset."
    ),
    click.option("--dt", type=float, metavar="TIME", help="NIR: of a step, in the file's unit (mostly seconds)."),
    click.option("--dialect", metavar="NAME", help="NIR: how the program that wrote the file means it (docs/nir.md)."),
)


_RECORDING = click.option(
    "--recorded", "recording", type=path, metavar="FILE",
    help="NIR: what its network fired where it was made (npz or NIRGraphData): it chooses the dialect.",
)  # fmt: skip


def recording_option(function: Function) -> Function:
    """``--recorded`` of a verb that reads a model; of `validate`, that is what hardware did."""
    return _RECORDING(function)


def recording_options(function: Function) -> Function:
    """What the files of a recording do not say."""
    kinds = click.Choice(["victor-purpura", "van-rossum"])
    for decorate in (
        click.option("--distance", type=kinds, help="Also tell this distance of the spike trains."),
        click.option("--align", type=click.Choice(["auto", "all", "time", "neurons", "none"]), default="auto",
                     show_default=True, help="What of a recording may be brought into place (auto: of events, all)."),
        click.option("--markers", type=path, metavar="FILE", help="When each recorded sample begins, a line each."),
        click.option("--sample-length", metavar="TIME", help="From one recorded sample to the next, as 20ms."),
        click.option("--step-length", metavar="TIME", help="Of a recorded step, as 1ms (default: found out)."),
        click.option("--time-unit", type=click.Choice(["step", "s", "ms", "us", "ns"]),
                     help="Of times in recordings that do not say it."),
        click.option("--recorded-layer", metavar="LAYER",
                     help="Layer of recordings that name none (default: the last one that spikes)."),
    ):  # fmt: skip
        function = decorate(function)
    return function


def model_options(function: Function) -> Function:
    """What a model file may not say about itself."""
    layouts = click.Choice(["TN", "NT", "N..T", "NCT..", "fold", "loop", "N"])
    reads = click.Choice(["mean", "sum", "last", "max", "sequence"])
    for decorate in (
        *_OF_NIR,
        click.option("--trust", is_flag=True, help="Unpickle anything, run any bundle: whatever code they hold."),
        click.option("--arch", metavar="MODULE:FACTORY", help="What makes the module that a state_dict belongs to."),
        click.option("--input", "carries", type=click.Choice(["real", "spikes"]), help="What the input carries."),
        click.option("--readout", type=reads, help="How an output that still has time is read (default: mean)."),
        click.option("--layout", type=layouts, help="How forward takes time and batch (default: found out)."),
        click.option("--timesteps", type=click.IntRange(1), metavar="T", help="Steps, where the file does not say."),
        click.option("--input-shape", type=shape, help="Input without batch and time, where the file does not say."),
    ):
        function = decorate(function)
    return function


def work_options(function: Function) -> Function:
    """Who shares the work, and where finished pieces are kept."""
    for decorate in (
        click.option("--cache", type=path, metavar="DIR", help="Keep finished pieces there, and find them again."),
        click.option("--scheduler", metavar="ADDRESS", help="A Dask cluster that does it, as tcp://host:8786."),
        click.option("--workers", type=click.IntRange(1), metavar="N",
                     help="Processes that share it (default: one a processor, where there is much to do)."),
    ):  # fmt: skip
        function = decorate(function)
    return function
