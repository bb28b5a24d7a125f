"""The one place where a command ends: whatever goes wrong becomes a message and an exit code, at any moment.

An interrupt is one even where it comes while something is imported, whatever the import makes of it. Streams that are
closed or full are told as such, and nothing is printed while Python shuts down.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from neurocompile.cli.console import print_json
from neurocompile.errors import Interrupted, NeurocompileError, Problem, ToolFailed, UsageError

__all__ = ["guarded"]

_INTERRUPTED = Problem("interrupted", fix="nothing was left half-written")
_STREAM = (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EINVAL)


class _Signals:
    """Whether the user (or whoever manages processes) wants an end of it."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, *_: Any) -> None:
        self.came = True
        raise KeyboardInterrupt


def guarded(command: click.Command, given: Sequence[str], program: str, name: str) -> int:
    """Run a command; returns its exit code.

    Args:
        command: of click.
        given: its arguments.
        program: what it is called in messages.
        name: what it is called in JSON.
    """
    as_json, debug = "--json" in given, "--debug" in given
    signals, closed = _Signals(), _open_streams()
    as_json = as_json and not closed  # what goes wrong is told where somebody can read it
    with _handled(signals):
        try:
            return _ended(lambda: _called(command, given, program), signals, closed, (name, as_json, debug))
        finally:
            with _handled(signal.SIG_IGN):
                _let_go()


def _called(command: click.Command, given: Sequence[str], program: str) -> int:
    if f"_{program.upper()}_COMPLETE" in os.environ:  # a shell asks what may come next
        command.main(list(given), prog_name=program, standalone_mode=False)
    with command.make_context(program, list(given)) as context:  # not main(), which makes exits of what goes wrong
        result = command.invoke(context)
    sys.stdout.flush()  # what fails here is told; while Python shuts down it is not
    return result if isinstance(result, int) else 0


def _ended(run: Callable[[], int], signals: _Signals, closed: bool, shown: tuple[str, bool, bool]) -> int:
    try:
        code = run()
        if closed and not code:
            raise ToolFailed(Problem("the result was not printed: standard output is closed"))
    except BaseException as error:
        with _handled(signal.SIG_IGN):
            code = 130 if signals.came else _code(error, *shown)
            if signals.came:
                _tell(Interrupted(_INTERRUPTED), *shown, error)
    return code


def _code(error: BaseException, name: str, as_json: bool, debug: bool) -> int:
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if _reader_left(error):  # who read the output has seen enough
        return 0
    failed = _as_ours(error)
    _tell(failed, name, as_json, debug, error)
    return failed.exit_code


def _as_ours(error: BaseException) -> NeurocompileError:
    """What went wrong, in the words of the person it goes wrong for."""
    match error:
        case NeurocompileError():
            return error
        case KeyboardInterrupt() | click.exceptions.Abort():
            return Interrupted(_INTERRUPTED)
        case click.ClickException():
            where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "neurocompile"
            return UsageError(Problem(error.format_message(), fix=f"see {where} --help"))
        case SystemExit():
            what, fix = "the model's own code ended the process", "let it raise an error instead of calling exit()"
            return ToolFailed(Problem(what, actual=f"exit({error.code})", fix=fix))
        case MemoryError():
            fix = "give fewer samples at once, or take a machine with more"
            return ToolFailed(Problem("there is not enough memory for this", fix=fix))
        case OSError() if error.errno in _STREAM and error.filename is None:
            what = f"the result could not be printed: {error.strerror}"
            return ToolFailed(Problem(what, "standard output", fix="write it where there is room"))
        case OSError():
            return ToolFailed(Problem(f"the system refused: {error.strerror or error}", str(error.filename or "")))
    fix = "please report it, with the output of --debug"
    return ToolFailed(Problem(f"internal error: {type(error).__name__}: {error}", fix=fix))


def _reader_left(error: BaseException) -> bool:
    """Whether a pipe was closed by its reader; rich makes an exit of it."""
    told: BaseException | None = error
    while isinstance(told, SystemExit) and told.__context__ is not None:
        told = told.__context__
    return isinstance(told, OSError) and told.errno == errno.EPIPE and not told.filename


def _tell(failed: NeurocompileError, name: str, as_json: bool, debug: bool, cause: BaseException) -> None:
    """Say what went wrong, as far as there is somewhere to say it."""
    with contextlib.suppress(OSError, ValueError):
        if debug:
            traceback.print_exception(cause)
        if as_json:
            print_json(name, {"errors": [problem.as_json() for problem in failed.problems]}, ok=False)
            sys.stdout.flush()
            return
    with contextlib.suppress(OSError, ValueError):
        for problem in failed.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.stderr.flush()


# -- streams -----------------------------------------------------------------------------------------------------------


def _open_streams() -> bool:
    """Give streams that are closed a place that takes everything; whether standard output is such a one.

    What a stream's encoding lacks, half a character of a file's name say, is printed as its number.
    """
    closed = sys.stdout is None
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    return closed


def _let_go() -> None:
    """Nothing is left for Python to print at its end; what could not be printed by now never can."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, stream.fileno())
                os.close(nothing)


@contextlib.contextmanager
def _handled(handler: Any) -> Iterator[None]:
    """What happens to interrupts while the block runs; what is ignored before, as under nohup, stays so.

    While the end is told they are ignored: it takes a moment.
    """
    before: dict[Any, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            with contextlib.suppress(ValueError):  # not in the main thread: whoever started it handles them
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, its in before.items():
            signal.signal(number, its)
