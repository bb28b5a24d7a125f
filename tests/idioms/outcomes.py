"""What becomes of a case: saved, compiled and simulated, beside what its live module gives."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import neurocompile
from neurocompile.errors import NeurocompileError
from tests.idioms import in_place, late, loops, neurons, operations, parameters_and_hooks, refused, state
from tests.idioms.cases import CASES, Case, Net

__all__ = ["CASES", "TOPICS", "Outcome", "changes", "outcome"]

TOPICS = (in_place, late, loops, state, parameters_and_hooks, operations, neurons, refused)
TOLERANCE = 1e-9


class Outcome(NamedTuple):
    """exact | refused | refused without a line | WRONG | CRASH, why, and whether the case allows it."""

    became: str
    why: str
    allowed: bool


def save(case: Case, net: Net, path: Path) -> None:
    steps = None if case.layout in ("TN", "NT") else case.timesteps
    with case.around():
        neurocompile.save(net, path, case.inputs()[0].clone(), layout=case.layout, timesteps=steps)


def outcome(case: Case, folder: Path) -> Outcome:
    inputs = case.inputs()
    wanted = [case.live(x) for x in inputs]
    net, path = case.build(), folder / "model.pt"
    try:
        save(case, net, path)
        program = neurocompile.compile(path)
        results = [
            neurocompile.simulate(
                program, {"x": case.samples(x), **drawn} if drawn else case.samples(x), real=True
            ).outputs
            for x, (_, drawn) in zip(inputs, wanted)
        ]
    except NeurocompileError as error:
        return _refusal(case, " | ".join(str(error).splitlines()))
    except Exception as error:
        return Outcome("CRASH", f"{type(error).__name__}: {error}", False)
    for where, outputs, (want, _) in zip(("example", "fresh batch"), results, wanted):
        got = next(iter(outputs.values()))
        if got.size != want.size:
            return Outcome("WRONG", f"{got.shape} instead of {want.shape} on the {where}", False)
        off = float(np.abs(got.reshape(want.shape) - want).max())
        if not off <= TOLERANCE * max(1.0, float(np.abs(want).max())):
            return Outcome("WRONG", f"off by {off:.3g} on the {where}", False)
    return Outcome("exact", "", case.exact != "refused")


def _refusal(case: Case, said: str) -> Outcome:
    """A file of the same name elsewhere is not the case's."""
    if re.search(rf"(idioms/|(?<![\w/.-]))({re.escape(case.file)}|cases.py):\d+", said):
        return Outcome("refused", said, case.exact is not True)
    return Outcome("refused without a line", said, False)


def changes(case: Case, folder: Path) -> list[str]:
    """What saving leaves changed in the module: parameters, types, hooks, membranes, attributes."""
    net = case.build()
    before = _seen(net)
    with contextlib.suppress(NeurocompileError):
        save(case, net, folder / "model.pt")
    after = _seen(net)
    return [name for name in sorted(before | after) if before.get(name) != after.get(name)]


def _seen(net: Net) -> dict[str, Any]:
    return {
        f"{name}.{key}".lstrip("."): _fixed(value)
        for name, module in net.named_modules()
        for key, value in [*vars(module).items(), ("__class__", type(module))]
    }


def _fixed(value: Any) -> Any:
    """A value to compare with later. The items of a list are its owner's: hooks that record may go on recording."""
    if isinstance(value, torch.Tensor):
        kept = id(value) if isinstance(value, torch.nn.Parameter) else None
        held = value.detach().cpu().contiguous().numpy().tobytes()
        return kept, value.dtype, tuple(value.shape), value.requires_grad, held
    if isinstance(value, dict):
        return tuple((key, _fixed(item)) for key, item in value.items())
    if value is None or isinstance(value, (bool, int, float, str)):
        return type(value), value
    return id(value)
