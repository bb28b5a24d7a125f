"""Running the command line as a user does, and small models to run it on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import neurocompile
from neurocompile.cli import main

SHAPE = (4,)
STEPS = 5
SAMPLES = 12
PICKLED = ("--input-shape", "4", "--timesteps", "5")


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout, and nothing else."""
        found: dict[str, Any] = json.loads(self.out)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Data:
    """An npz and what is in it."""

    path: Path
    x: Any
    y: Any


def run(*arguments: object) -> Ran:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int), f"the command did not exit with a number: {code!r}"
    return Ran(code, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Ran:
    """Run a command that must succeed."""
    ran = run(*arguments)
    assert ran.code == 0, ran
    return ran


def result(*arguments: object) -> dict[str, Any]:
    """The JSON of a command that must succeed."""
    body = done(*arguments, "--json").json
    assert body["ok"] is True
    assert body["neurocompile"] == neurocompile.__version__
    assert body["command"] == str(arguments[0])
    return body


def refused(code: int, *arguments: object) -> list[dict[str, str]]:
    """Run a command that must fail, in both forms; returns its errors."""
    plain = run(*arguments)
    assert plain.code == code, plain
    assert plain.out == "", "results on stdout though it failed"
    assert "Traceback" not in plain.err
    assert "internal error" not in plain.err
    ran = run(*arguments, "--json")
    assert ran.code == code, ran
    assert "Traceback" not in ran.out + ran.err
    body = ran.json
    assert list(body) == ["neurocompile", "command", "ok", "errors"]
    assert body["neurocompile"] == neurocompile.__version__
    assert body["command"] == str(arguments[0])
    assert body["ok"] is False
    errors: list[dict[str, str]] = body["errors"]
    assert errors, "an error that says nothing"
    for error in errors:
        assert set(error) == {"what", "where", "actual", "limit", "fix"}
        assert all(isinstance(text, str) for text in error.values())
        assert error["what"], error
        assert error["what"] in plain.err
    return errors


def one(errors: Sequence[dict[str, str]]) -> dict[str, str]:
    """The only error there is."""
    assert len(errors) == 1, errors
    return errors[0]


def says(error: dict[str, str], **parts: str) -> None:
    """Check that each named field of an error contains a text; every error has a fix."""
    for field, text in parts.items():
        assert text in error[field], f"{field} does not say {text!r}: {error}"
    assert error["fix"], f"no way out is named: {error}"


def nothing_in(folder: Path, but: Sequence[str] = ()) -> None:
    """Check that nothing but these names is in a folder, hidden files included."""
    assert sorted(os.listdir(folder)) == sorted(but)


def small_net(step_mode: str = "m", seed: int = 0) -> nn.Sequential:
    """4 inputs, 6 and 3 neurons, which fire at a good rate."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        layer.Linear(4, 6, step_mode=step_mode),
        neuron.IFNode(step_mode=step_mode),
        layer.Linear(6, 3, step_mode=step_mode),
        neuron.LIFNode(tau=2.0, decay_input=False, v_reset=None, step_mode=step_mode),
    )
    with torch.no_grad():
        for part, size in ((net[0], (6, 4)), (net[2], (3, 6))):
            part.weight.copy_(torch.randn(size) * 0.5 + 0.3)
            part.bias.fill_(0.1)
    return net.eval()


def saved(net: nn.Module, path: Path, **options: Any) -> Path:
    """A model as neurocompile.save writes it."""
    torch.manual_seed(1)
    example = options.pop("example", None)
    neurocompile.save(net, path, torch.rand(STEPS, 8, *SHAPE) if example is None else example, **options)
    return path


def pickled(net: nn.Module, path: Path) -> Path:
    """A model as torch.save writes it."""
    torch.save(net, path)
    return path


def exported(model: Path, folder: Path, *options: object) -> Path:
    """A program made of a model."""
    done("export", model, "-o", folder, *options)
    return folder


def small_data(path: Path, samples: int = SAMPLES) -> Data:
    """Random samples that change over time, with labels."""
    draw = np.random.default_rng(3)
    x = draw.random((samples, STEPS, *SHAPE))
    y = draw.integers(0, 3, samples)
    np.savez(path, x=x, y=y)
    return Data(path, x, y)


def npz(path: Path, **arrays: Any) -> Path:
    """Arrays in a file."""
    np.savez(path, **arrays)
    return path


def edited(model: Path, into: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a model file with something changed in its content."""
    content = torch.load(model, weights_only=False)
    change(content)
    torch.save(content, into)
    return into


def command(*arguments: object) -> list[str]:
    """The same command for a process of its own."""
    return [sys.executable, "-c", "from neurocompile.cli import main; main()", *map(str, arguments)]


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a command in a process of its own, which answers to signals as in a shell."""
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,
    )
