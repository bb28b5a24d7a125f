"""The group of commands."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from neurocompile import __version__
from neurocompile.cli.guard import guarded

__all__ = ["main"]

_COMMANDS = {
    "export": "compile a model and write the program",
    "simulate": "run a program on data: spikes, accuracy, SOPs, energy",
    "validate": "compare a program with PyTorch, or with what hardware did",
    "report": "write all that is known of a program as one page",
    "explore": "compare widths, chips and mappings, and say which to take",
    "check": "hold every node of a model against a chip, without compiling",
    "inspect": "show the graph of a model or a program, and what folds",
    "targets": "list the chips, or one chip's constants and their sources",
    "zoo": "list the papers' networks, or make one as a model file",
    "demo": "all of it on a bundled network and real data",
}


class _Commands(click.Group):
    """Loads the module of a command when it is called, and only then."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"neurocompile.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="neurocompile")
def _app() -> None:
    """Compile trained spiking neural networks for neuromorphic chips, simulate and price them, and prove that they
    still do the same as in PyTorch.

    Every command takes --json (one object on stdout) and --debug (tracebacks). Exit codes: 0 done, 1 internal,
    2 usage, 3 unsupported model, 4 does not fit, 5 validation failed, 6 bad input, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = next((word for word in given if not word.startswith("-")), "")
    code = guarded(_app, given, "neurocompile", name)
    if arguments is None:  # nothing is left to interrupt but Python's own end
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    sys.exit(code)
