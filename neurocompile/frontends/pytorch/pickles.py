"""Reading what torch.save wrote without running what it holds."""

from __future__ import annotations

import io
import operator
import pickletools
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based.base import MemoryModule
from torch import nn

from neurocompile.errors import BadInput, Problem, UnsupportedModel
from neurocompile.files import Archive, content_of, opened
from neurocompile.printable import first_line
from neurocompile.vocabulary.mpbn import MPBNLIF, StrictRectangle
from neurocompile.vocabulary.readout import MembraneReadout, WeightedRate
from neurocompile.vocabulary.temporal import TemporalGain
from neurocompile.vocabulary.versions import modernized, of_spikingjelly

__all__ = ["unpickle"]

_DAMAGED = "train or save it again, or copy it again: it may be cut short"

# The papers' modules, and the names under which files of earlier versions have them.
_OF_PAPERS = {
    MPBNLIF: "neurocompile.models.mpbn.MPBNLIF",
    StrictRectangle: "neurocompile.models.mpbn.StrictRectangle",
    WeightedRate: "neurocompile.models.dsr.WeightedRate",
    MembraneReadout: "neurocompile.models.readout.MembraneReadout",
    TemporalGain: "neurocompile.models.temporal.TemporalGain",
}


def _whole(found: Any) -> Any:
    """What was loaded, if its modules have what every module has.

    Raises:
        ValueError: if one lacks some of it.
    """
    waiting = [found] if isinstance(found, nn.Module) else []
    seen: set[int] = set()
    while waiting:
        module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        needed = _OF_MODULES | (_OF_MEMORIES if isinstance(module, MemoryModule) else set())
        missing = sorted(needed - set(vars(module)))
        if missing:
            raise ValueError(f"a {type(module).__name__} in it has no {', '.join(missing)}")
        waiting += [part for part in module._modules.values() if part is not None]
    return found


_OF_MODULES = {"training", "_parameters", "_buffers", "_modules"}
_OF_MEMORIES = {"_memories", "_memories_rv"}


def unpickle(path: Path, trust: bool) -> Any:
    """What a file of torch.save holds, if that is tensors, torch's and SpikingJelly's modules and plain data only.

    Raises:
        BadInput: if it is missing or damaged, or wants anything else (nothing of it is run then).
        UnsupportedModel: if it holds modules without weights.
    """
    with opened(path) as file:
        if file.read(2) == b"PK":
            Archive(file, str(path), _DAMAGED)
    named = _names_in(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_allowed(named)):
            warnings.simplefilter("ignore")
            return _whole(modernized(torch.load(path, map_location="cpu", weights_only=not trust)))
    except Exception as error:
        unsafe = [] if trust else _unsafe(named)
        if not all(part.isidentifier() for name in unsafe for part in name.split(".")):
            unsafe = []  # it is no pickle at all
        if any(name.endswith(".UninitializedParameter") for name in unsafe):
            what, fix = (
                "it holds lazy modules, which have no weights yet",
                "run the model once on real data, then save it",
            )
            raise UnsupportedModel(Problem(what, str(path), fix=fix)) from error
        if not unsafe:
            raise BadInput(
                Problem(f"cannot be read as a torch file: {_torch_said(error)}", str(path), fix=_DAMAGED)
            ) from error
        what = "the file wants to load " + ", ".join(unsafe) + ", which could run anything; nothing was run"
        fix = (
            "in the program that has the class: neurocompile.save(model, path, example_input); "
            "or save model.state_dict() and give --arch package.module:factory; "
            "or, only if you trust who made the file, --trust"
        )
        raise BadInput(Problem(what, str(path), fix=fix)) from error


def _torch_said(error: Exception) -> str:
    """What an error says first; torch's advice to load a file unsafely is not passed on."""
    line = first_line(error)
    return "it is none, or damaged" if "weights_only" in line else line


def _names_in(path: Path) -> set[str]:
    """What a checkpoint would import, without importing it; nothing if it cannot be told."""
    try:
        with opened(path) as file:
            if zipfile.is_zipfile(file):
                archive = Archive(file, str(path), _DAMAGED)
                pickles = [archive.read(name) for name in archive.names if name.endswith("data.pkl")]
            else:
                pickles = [content_of(path)]
    except BadInput:  # torch says what is wrong with it
        return set()
    return {name for content in pickles for name in _imports(content)}


def _unsafe(named: set[str]) -> list[str]:
    """Of these, what is not allowed."""
    known = {f"{kind.__module__}.{kind.__qualname__}" for kind in _allowed() if isinstance(kind, type)}
    known |= of_spikingjelly(named).keys() | set(_OF_PAPERS.values())
    usual = ("torch._", "torch.nn.parameter.Parameter", "torch.Size", "torch.float", "collections.", "_codecs.")
    return sorted(name for name in named - known if not name.startswith(usual) and not name.endswith("Storage"))


def _imports(content: bytes) -> Iterator[str]:
    """The names that pickles, one after the other, would import: read from their opcodes, which are not run."""
    stream = io.BytesIO(content)
    strings: list[str] = []
    try:
        while stream.tell() < len(content):
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    yield str(argument).replace(" ", ".").replace("__builtin__.", "builtins.")
                elif opcode.name == "STACK_GLOBAL":
                    yield ".".join(strings[-2:])
                elif isinstance(argument, str):
                    strings.append(argument)
    except Exception:  # the rest is no pickle: storages follow, or the file is cut short
        return


def _allowed(named: Iterable[str] = ()) -> list[Any]:
    """The classes that a model file may name: layers and neurons of torch, of SpikingJelly and of the papers;

    a pair is a class and another name of it."""
    found: list[Any] = [*_OF_PAPERS, *_OF_PAPERS.items(), set, slice, operator.add, torch.add]
    for name, kind in vars(nn).items():
        if isinstance(kind, type) and issubclass(kind, nn.Module) and not name.startswith("_"):
            found.append(kind)
    for name, kind in of_spikingjelly(named).items():
        found += [kind, (kind, name)]
    return found
