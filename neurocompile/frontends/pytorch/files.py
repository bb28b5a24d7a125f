"""``model.pt``: what :func:`save` writes, pickled modules, state_dicts."""

from __future__ import annotations

import importlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from neurocompile.errors import BadInput, NeurocompileError, Problem, ToolFailed, UsageError
from neurocompile.files import write_file
from neurocompile.frontends.base import Carries, Layout, Settings
from neurocompile.frontends.pytorch.axes import LAYOUTS
from neurocompile.frontends.pytorch.checks import check_module
from neurocompile.frontends.pytorch.layouts import in_order, likely_layouts, separate
from neurocompile.frontends.pytorch.model import TorchModel, of_symbolic
from neurocompile.frontends.pytorch.pickles import unpickle
from neurocompile.frontends.pytorch.plain import FORMAT, VERSION, leaves_of, recording_of, to_plain, trace_of
from neurocompile.frontends.pytorch.symbolic import SymbolicModel
from neurocompile.frontends.pytorch.symbolic import plain as version1
from neurocompile.frontends.pytorch.symbolic.trace import prepare
from neurocompile.ir.ops import Array, Read
from neurocompile.printable import first_line
from neurocompile.typed import as_path

__all__ = ["from_live", "load", "save"]


def save(
    model: nn.Module,
    path: str | os.PathLike[str],
    example_input: torch.Tensor | tuple[torch.Tensor, ...] | Mapping[str, torch.Tensor],
    *,
    layout: Layout | None = None,
    timesteps: int | None = None,
    readout: Read | None = None,
    carries: Carries | None = None,
) -> None:
    """Write a model so that ``neurocompile export`` needs neither its class nor its source.

    The file holds the torch operations that the live module ran, recorded in float64, the weights, the example, and
    what came of it. Used as a reference, these operations are run by torch, after they were held against that
    recording. For neuron classes that were registered with :func:`neurocompile.neuron` it holds their equation. The
    graph that is compiled is proved against the live module before anything is written.

    Args:
        model: in eval mode; it stays as it is.
        path: the file, written completely or not at all.
        example_input: a few real samples as forward takes them: they also choose the ranges of inputs.
        layout: how forward takes time and batch: "TN" [T, N, ...], "NT", "N..T", "NCT.." [N, C, T, ...], "fold"
            [T*N, ...], "loop" (one step a call), "N" ([N, ...]; forward itself makes the steps). None: found out.
        timesteps: T, where the layout does not tell it.
        readout: how an output that still has time is read; None: its mean.
        carries: "spikes" if the inputs are 0 or 1; None: if they are so in the example.

    Raises:
        UnsupportedModel: with everything in the model that cannot be lowered exactly.
        NotTheSame: if the graph does not do what the live module does.
        UsageError: if the number of steps is not known, or layout, readout or what is carried is none of these.
    """
    Settings(layout=layout, readout=readout, carries=carries, timesteps=timesteps)
    _check_module(model)
    file = as_path(path)
    tensors = in_order(model, _tensors(example_input))
    chosen = layout or likely_layouts(model)[0]
    steps = _timesteps(next(iter(tensors.values())), chosen, timesteps)
    example = {name: separate(x, chosen, steps) for name, x in tensors.items()}
    _check_example(example)
    lead = 2 if chosen in ("TN", "NT", "N..T", "NCT..") else 1
    shapes = {name: x.shape[x.ndim - (tensors[name].ndim - lead) :] for name, x in example.items()}
    whole = [name for name, x in tensors.items() if x.dtype in (torch.int64, torch.int32)]
    content = _content(
        model,
        lambda symbolic: TorchModel.from_module(
            model, shapes, steps, chosen, readout, carries, example, whole, symbolic
        ),
    )
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_file(file, buffer.getvalue())


def _check_example(example: Mapping[str, Array]) -> None:
    broken = [name or "example_input" for name, x in example.items() if not np.isfinite(x).all()]
    if broken:
        raise BadInput(
            [Problem("the example holds NaN or infinite values", name, fix="give real samples") for name in broken]
        )


def _content(model: nn.Module, lowered: Callable[[bool], TorchModel]) -> dict[str, Any]:
    """What the file holds: the modules where they alone say everything, else what torch was seen to do."""
    made = lowered(True)
    if made.symbolic is None:
        return to_plain(made)
    unsaved: UsageError | None = None
    try:
        if content := _of_modules(model, made):
            return content
    except UsageError as error:
        unsaved = error
    try:
        return to_plain(lowered(False))
    except NeurocompileError:
        if unsaved is None:
            raise
        raise unsaved from None


def _of_modules(model: nn.Module, made: TorchModel) -> dict[str, Any] | None:
    """What a file of modules holds; None where that is not the same network (hooks, changed settings)."""
    assert made.symbolic is not None
    try:
        content = {**version1.to_plain(model, made.symbolic), "notes": list(made.notes)}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.pt"
            torch.save(content, file)
            return content if load(file, Settings()).graph.same_as(made.graph) else None
    except (ToolFailed, UsageError):
        raise
    except Exception:  # whatever it is, a recording holds it
        return None


def is_module(model: Any) -> bool:
    """Whether a live object is a module that runs as Python."""
    return isinstance(model, nn.Module) and not isinstance(model, torch.jit.ScriptModule)


def _check_module(model: Any) -> None:
    if not is_module(model):
        kind = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        fix = "give the module itself, an nn.Module in eval mode, that was neither scripted nor traced"
        raise UsageError(Problem(f"{kind} is no model", "model", fix=fix))


def _tensors(example: Any) -> dict[str, torch.Tensor]:
    if isinstance(example, torch.Tensor | np.ndarray):
        example = {"": example}
    if not isinstance(example, Mapping):
        example = dict(enumerate(example)) if isinstance(example, tuple | list) else {"": example}
    wrong = [x for x in example.values() if not isinstance(x, torch.Tensor | np.ndarray)]
    if wrong or not example:
        kind = type(wrong[0] if wrong else example).__name__
        raise BadInput(
            Problem(f"a {kind} is no example", "example_input", fix="give a tensor, or one for each argument")
        )
    try:
        tensors = {str(name): torch.as_tensor(x) for name, x in example.items()}
    except TypeError as error:
        raise BadInput(Problem("the example holds no numbers", "example_input", str(error)[:120])) from None
    if any(x.is_complex() for x in tensors.values()):
        raise BadInput(Problem("the example holds complex numbers", "example_input", fix="give real ones"))
    empty = [name or "example_input" for name, x in tensors.items() if not x.numel()]
    if empty:
        raise BadInput([Problem("the example has no sample", name, fix="give a few real samples") for name in empty])
    return tensors


def _timesteps(x: torch.Tensor, layout: Layout, given: int | None) -> int:
    axis = {"TN": 0, "NT": 1, "N..T": -1, "NCT..": 2}.get(layout)
    if axis is not None and given not in (None, x.shape[axis]):
        what, fix = f"axis {axis} of the example is time", "leave out timesteps"
        raise UsageError(Problem(what, "timesteps", str(given), str(x.shape[axis]), fix))
    if axis is None and given is not None:
        return given
    if axis is None:
        what = f"layout {layout!r} does not tell the number of steps"
        raise UsageError(Problem(what, "timesteps", fix="give timesteps=T"))
    return int(x.shape[axis])


def load(path: Path, settings: Settings) -> TorchModel:
    """Read a model that :func:`save` wrote, a pickled module, or a state_dict; trace it and lower it.

    A file of :func:`save` knows its shape, number of steps and layout; the others do not.

    Raises:
        BadInput: for a file that is missing, damaged, or that wants classes which are not allowed.
        UsageError: if the shape or the number of steps is not known.
        UnsupportedModel: with everything in the model that cannot be lowered exactly.
    """
    if begins := {".nir": "HDF5 does", ".onnx": "a model in ONNX does"}.get(path.suffix):  # else it were known by it
        what = f"this is no {path.suffix} file: it does not begin as {begins}"
        raise BadInput(Problem(what, str(path), fix="write the file again, or copy it again: it may be cut short"))
    _check_of_torch(settings)
    found = unpickle(path, settings.trust)
    if isinstance(found, dict) and found.get("format") == FORMAT:
        _check_agrees(found, settings)
        return _from_plain(found, path, settings.readout, settings.carries)
    state = _state_in(found)
    if state is not None:
        found = _with_state(state, path, settings.arch)
    if not isinstance(found, nn.Module):
        what = f"this holds a {type(found).__name__}, no model"
        raise BadInput(Problem(what, str(path), fix="write it with neurocompile.save or torch.save(model, path)"))
    if settings.otherwise is not None:
        shape, steps = settings.otherwise
        settings = replace(settings, input_shape=settings.input_shape or shape, timesteps=settings.timesteps or steps)
    missing = [
        Problem(f"a pickled module does not say its {what}", option, fix=f"give {option}, or use neurocompile.save")
        for what, option, value in (
            ("input shape", "--input-shape C,H,W", settings.input_shape),
            ("number of steps", "--timesteps T", settings.timesteps),
        )
        if value is None
    ]
    if missing:
        raise UsageError(missing)
    return from_live(found, settings)


def from_live(module: nn.Module, settings: Settings, example: Mapping[str, Array] | None = None) -> TorchModel:
    """A live module in eval mode, which stays as it is; its shape and number of steps are among the settings."""
    _check_of_torch(settings)
    shape, steps = settings.input_shape, settings.timesteps
    assert shape is not None
    assert steps is not None
    return TorchModel.from_module(module, shape, steps, settings.layout, settings.readout, settings.carries, example)


def _state_in(found: Any) -> dict[str, torch.Tensor] | None:
    """The state_dict that a checkpoint is, or holds beside other things; None if there is none."""
    if not isinstance(found, dict):
        return None
    if found and all(isinstance(v, torch.Tensor) for v in found.values()):
        return found
    for key in ("state_dict", "model_state_dict", "model", "net", "network", "snn", "ema", "weights", "params"):
        inner = found.get(key)
        if isinstance(inner, dict) and inner and all(isinstance(v, torch.Tensor) for v in inner.values()):
            return inner
    return None


def _fitted(state: Mapping[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """A state_dict without the prefixes that wrappers around a module put before its names."""
    wanted = set(module.state_dict())
    found = dict(state)
    for _ in range(4):
        if wanted & set(found):
            break
        for prefix in ("module.", "_orig_mod.", "model.", "net."):
            if found and all(name.startswith(prefix) for name in found):
                found = {name.removeprefix(prefix): x for name, x in found.items()}
                break
    return found


def _with_state(state: dict[str, torch.Tensor], path: Path, arch: str | None) -> nn.Module:
    if arch is None:
        fix = "give --arch package.module:factory, a function without arguments that makes the module"
        raise BadInput(Problem("this is a state_dict: weights without a network", str(path), fix=fix))
    home, _, factory = arch.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the user's own code lies where the command is run
    usage = "give package.module:factory, a function without arguments that returns the module"
    try:
        module = getattr(importlib.import_module(home), factory)()
    except Exception as error:
        what = f"cannot make the module: {type(error).__name__}: {first_line(error)}"
        raise UsageError(Problem(what, "--arch", arch, fix=usage)) from error
    if not isinstance(module, nn.Module):
        raise UsageError(Problem(f"it made a {type(module).__name__}, no module", "--arch", arch, fix=usage))
    try:
        module.load_state_dict(_fitted(state, module))
    except RuntimeError as error:
        what = "the weights do not belong to this architecture: " + " ".join(str(error).split())
        raise BadInput(Problem(what, str(path), arch, fix="name the factory that made the trained module")) from error
    result: nn.Module = module.eval()
    return result


def _from_plain(content: dict[str, Any], path: Path, readout: Read | None, carries: Any) -> TorchModel:
    try:
        version = content["version"]
        if version > VERSION:
            what = "a later version of neurocompile wrote this model"
            raise BadInput(Problem(what, str(path), f"format {version}", f"format {VERSION}", "update neurocompile"))
        if version == 1:
            return _of_version1(content, path, readout, carries)
        _check_header(content, path)
        try:
            trace = trace_of(content)
            modules = leaves_of(content)
        except ValueError as error:
            what = "the model file holds what neurocompile.save never writes; nothing was run"
            raise BadInput(
                Problem(what, str(path), str(error), fix="save the model again with neurocompile.save")
            ) from error
        inputs, recording = recording_of(content)
        made = TorchModel.from_trace(
            trace,
            modules,
            content["layout"],
            content["timesteps"],
            {name: tuple(shape) for name, shape in content["input_shapes"].items()},
            readout or content["readout"],
            dict.fromkeys(content["carries"], carries) if carries else dict(content["carries"]),
            {name: x.numpy() for name, x in content["example"].items()},
            content["module_kinds"],
            (inputs, recording),
            content["readout"],
        )
        made.notes = list(map(str, content.get("notes", ())))
        return made
    except NeurocompileError:
        raise
    except Exception as error:
        what = f"the model file is damaged: {type(error).__name__}: {first_line(error)}"
        raise BadInput(Problem(what, str(path), fix="save it again with neurocompile.save")) from error


def _of_version1(content: dict[str, Any], path: Path, readout: Read | None, carries: Any) -> TorchModel:
    """A file of the first version, which holds torch modules and how they are connected."""
    version1.check_plain(content, path)
    module = version1.module_of(content)
    check_module(module)
    made = of_symbolic(
        SymbolicModel(
            prepare(module),  # type: ignore[arg-type]
            content["layout"],
            content["timesteps"],
            {name: tuple(shape) for name, shape in content["input_shapes"].items()},
            readout or content["readout"],
            carries or content["carries"],
            {name: x.numpy() for name, x in content["example"].items()},
        )
    )
    made.notes = list(map(str, content.get("notes", ())))
    return made


def _check_header(content: Mapping[str, Any], path: Path) -> None:
    kinds = content["module_kinds"]
    header = {
        "layout": content["layout"] in LAYOUTS,
        "timesteps": type(content["timesteps"]) is int and 1 <= content["timesteps"] <= 1 << 20,
        "readout": content["readout"] in (None, *get_args(Read)),
        "carries": all(kind in ("real", "spikes") for kind in content["carries"].values()),
        "module_kinds": all(type(key) is str and type(kind) is str for key, kind in kinds.items()),
        "input_shapes": all(type(n) is int and n > 0 for shape in content["input_shapes"].values() for n in shape),
    }
    wrong = [name for name, fits in header.items() if not fits]
    if wrong:
        what = "the model file holds what neurocompile.save never writes; nothing was run"
        raise BadInput(Problem(what, str(path), ", ".join(wrong), fix="save the model again with neurocompile.save"))


def _check_of_torch(settings: Settings) -> None:
    """Refuse options that say how a file of NIR is to be read."""
    problems = [
        Problem("this is for .nir files; a model of torch says it itself", f"--{name}", str(value), fix="leave it out")
        for name, value in settings.said.items()
    ]
    if settings.recording is not None:
        what = "a recording chooses how a .nir file is read; a model of torch says it itself"
        problems.append(Problem(what, "--recorded", fix="leave it out"))
    if problems:
        raise UsageError(problems)


def _check_agrees(content: Mapping[str, Any], settings: Settings) -> None:
    """Refuse options that say other than a save file does."""
    shapes = [tuple(shape) for shape in content.get("input_shapes", {}).values()]
    problems = [
        Problem(f"the file was saved with another {what}", option, str(given), str(known), f"leave out {option}")
        for what, option, given, known in (
            ("layout", "--layout", settings.layout, content.get("layout")),
            ("number of steps", "--timesteps", settings.timesteps, content.get("timesteps")),
            ("input shape", "--input-shape", settings.input_shape, shapes[0] if shapes else None),
        )
        if given is not None and given != known
    ]
    if problems:
        raise UsageError(problems)
