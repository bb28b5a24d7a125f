"""Where in the user's code something happens, and how a refusal says so."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import spikingjelly
import torch
from torch import nn

from neurocompile.errors import Problem

__all__ = [
    "FIX_GATES",
    "forward_of",
    "is_ours",
    "is_torch",
    "kinds_of",
    "line_of",
    "place_of",
    "problem_at",
    "raised_at",
    "user_line",
]

_OURS, _TORCH, _SPIKINGJELLY = (
    str(Path(file).parent) + os.sep for file in (__file__, torch.__file__, spikingjelly.__file__)
)
FIX_GATES = "its gates are no neurons: leave it out of what is saved, and give what it computes as an input"


def is_ours(code: types.CodeType) -> bool:
    """Whether this frontend runs it."""
    return code.co_filename.startswith(_OURS)


def is_torch(code: types.CodeType) -> bool:
    """Whether it is a part of torch."""
    return code.co_filename.startswith(_TORCH)


def line_of(code: types.CodeType, number: int) -> str:
    """``file:line`` in code of the user's; nothing in that of this package, of torch and of SpikingJelly."""
    if code.co_filename.startswith((_OURS, _TORCH, _SPIKINGJELLY, "<")):
        return ""
    return f"{code.co_filename.removeprefix(os.getcwd() + os.sep)}:{number}"


def user_line(until: Callable[..., Any]) -> str:
    """The innermost line of the user's that runs within a call of ``until``; "" if there is none."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not until.__code__:
        line = line_of(frame.f_code, frame.f_lineno)
        if line:
            return line
        frame = frame.f_back
    return ""


def place_of(module: str, line: str) -> str:
    """A line and the path of the module that ran it; one of them where the other is not known."""
    return f"{line} ({module})" if line and module else line or module


def kinds_of(model: nn.Module) -> dict[str, str]:
    """The class of each module with its package, by path."""
    return {path: f"{type(module).__module__}.{type(module).__name__}" for path, module in model.named_modules()}


def forward_of(module: nn.Module) -> str:
    """Where a forward is written, and whose it is."""
    kind = type(module).__name__
    code = getattr(getattr(module.forward, "__func__", module.forward), "__code__", None)
    line = "" if code is None else line_of(code, code.co_firstlineno)
    return f"{line} ({kind})" if line else kind


def raised_at(error: BaseException, module: nn.Module) -> str:
    """The user's line at which an exception was raised, and the path of the module in whose code that is."""
    paths = {id(m): path for path, m in module.named_modules()}
    line = where = ""
    frame = error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        line = line_of(code, frame.tb_lineno) or line
        owner = frame.tb_frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        where = paths.get(id(owner), where) or where
        frame = frame.tb_next
    return place_of(where, line)


def problem_at(what: str, module: str, line: str, fix: str, kinds: Mapping[str, str], name: str = "") -> Problem:
    """A problem in a module.

    Args:
        what: is wrong.
        module: its path, or nothing.
        line: the user's, or nothing.
        fix: what to do.
        kinds: the class of each module with its package, by path.
        name: what stands for the place where neither module nor line are known.
    """
    kind = kinds.get(module, "")
    gates = kind.startswith("torch.nn.modules.rnn.")
    if gates or (not line and kind.startswith(("torch.nn.modules.", "spikingjelly."))):
        what = f"{kind.rpartition('.')[2]}: {what}"  # no line of the user's says what it is
    return Problem(what, place_of(module, line) or name, fix=FIX_GATES if gates else fix)
