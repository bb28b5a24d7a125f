"""What reads the files of others into a graph: one package a source.

A file is known by its content. Installed packages add frontends as entry points ``neurocompile.frontends``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neurocompile.errors import BadInput, Problem, UnsupportedModel, UsageError
from neurocompile.frontends.base import Frontend, Judged, Model, Settings
from neurocompile.ir.ops import Array
from neurocompile.registry import Table

__all__ = ["FRONTENDS", "Frontend", "Model", "Settings", "judge_model", "live_model", "load_model"]

# Asked last: it answers for all that no other knows, says best what is wrong with it, and imports torch.
_LAST = "pytorch"

FRONTENDS: Table[Frontend] = Table(
    "neurocompile.frontends",
    {
        "nir": "neurocompile.frontends.nir:frontend",
        "onnx": "neurocompile.frontends.onnx:frontend",
        _LAST: "neurocompile.frontends.pytorch:frontend",
    },
)
"""All frontends by name."""


def _in_turn() -> Iterator[Frontend]:
    for name in (*(name for name in FRONTENDS if name != _LAST), _LAST):
        yield FRONTENDS[name]


def _known(path: Path) -> Frontend:
    if not path.exists():
        raise BadInput(Problem("no such file", str(path), fix="check the path"))
    return next(each for each in _in_turn() if each.recognizes(path))


def load_model(path: Path, **settings: Any) -> Model:
    """Read a model from a file, whatever kind it is.

    Args:
        path: the file.
        settings: what the user says about it (:class:`Settings`).

    Raises:
        BadInput: for a file that is missing, damaged, of no kind that is known, or that would run code.
        UsageError: if the shape or the number of steps is not known.
        UnsupportedModel: with everything in the model that cannot be lowered exactly.
    """
    return _known(path).load(path, Settings(**settings))


def judge_model(path: Path, **settings: Any) -> Judged:
    """Everything in a file, with all that is wrong with it; nothing is proved, and T need not be known.

    Args:
        path: the file.
        settings: what the user says about it (:class:`Settings`).

    Raises:
        BadInput: for a file that is missing, damaged, of no kind that is known, or that would run code.
        UsageError: if the input's shape is not known.
    """
    chosen, told = _known(path), Settings(**settings)
    if chosen.judge is not None:
        return chosen.judge(path, told)
    try:
        graph = chosen.load(path, told).graph
    except UnsupportedModel as error:
        return Judged({}, problems=error.problems)
    return Judged.of(graph)


def live_model(model: Any, example: Mapping[str, Array] | None = None, **settings: Any) -> Model:
    """Read a live object, which stays as it is.

    Args:
        model: a torch module in eval mode, or what another frontend takes.
        example: a few samples for each input.
        settings: what the user says about it (:class:`Settings`).

    Raises:
        UsageError: for what no frontend takes.
        UnsupportedModel: with everything in the model that cannot be lowered exactly.
        BadInput: if the model cannot run on such an input.
        NotTheSame: if the graph does not do what the live object does.
    """
    chosen = next((each for each in _in_turn() if each.takes is not None and each.takes(model)), None)
    if chosen is None:
        kind = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        fix = "give a torch module in eval mode, that was neither scripted nor traced, or the path of its file"
        raise UsageError(Problem(f"{kind} is no model", "model", fix=fix))
    assert chosen.from_live is not None
    return chosen.from_live(model, Settings(**settings), example)
