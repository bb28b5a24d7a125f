"""The group of commands, and what happens to errors."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from neurocompile import __version__
from neurocompile.cli.console import print_json
from neurocompile.errors import Interrupted, NeurocompileError, Problem, ToolFailed, UsageError

__all__ = ["main"]

_COMMANDS = {
    "export": "compile a model and write the program",
    "simulate": "run a program on data: spikes, accuracy, SOPs, energy",
    "validate": "compare a program with PyTorch, or with what hardware did",
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = next((word for word in given if not word.startswith("-")), "")
    as_json, debug = "--json" in given, "--debug" in given
    signal.signal(signal.SIGTERM, _on_term)
    code = 0
    try:
        result = _app.main(given, prog_name="neurocompile", standalone_mode=False)
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()  # an interrupt while Python shuts down would lose what is still buffered
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        code = _failed(
            Interrupted(Problem("interrupted", fix="nothing was left half-written")), name, as_json, error, debug
        )
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "neurocompile"
        wrapped = UsageError(Problem(error.format_message(), fix=f"see {where} --help"))
        code = _failed(wrapped, name, as_json, error, debug)
    except NeurocompileError as error:
        code = _failed(error, name, as_json, error, debug)
    except (BrokenPipeError, SystemExit):  # click exits so on a closed pipe: who read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        problem = Problem(f"the system refused: {error.strerror or error}", str(error.filename or ""))
        code = _failed(ToolFailed(problem), name, as_json, error, debug)
    except Exception as error:
        problem = Problem(
            f"internal error: {type(error).__name__}: {error}", fix="please report it, with the output of --debug"
        )
        code = _failed(ToolFailed(problem), name, as_json, error, debug)
    sys.exit(code)


def _on_term(*_: Any) -> None:
    raise KeyboardInterrupt


def _failed(error: NeurocompileError, command: str, as_json: bool, cause: BaseException, debug: bool) -> int:
    if debug:
        traceback.print_exception(cause)
    if as_json:
        print_json(command, {"errors": [problem.as_json() for problem in error.problems]}, ok=False)
    else:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
    return error.exit_code
