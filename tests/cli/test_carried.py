"""Inputs that carry spikes are 0 or 1: anything else is refused where it is given, and told how to be taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neurocompile
from neurocompile.errors import BadInput
from tests.cli.helpers import STEPS, done, exported, npz, one, pickled, refused, saved, says, small_net

DRAW = np.random.default_rng(0)
SPIKES = (DRAW.random((6, STEPS, 4)) < 0.5).astype(float)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose example is of bools."""
    return saved(small_net(), tmp_path_factory.mktemp("bool") / "model.pt", example=torch.rand(STEPS, 8, 4) < 0.5)


@pytest.fixture(scope="module")
def program(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(model, tmp_path_factory.mktemp("program") / "out")


def _one_half() -> Any:
    x = SPIKES.copy()
    x[2, 3, 1] = 0.5
    return x


WRONG = {
    "one half": (_one_half(), "1 of 120 values", "0.5 first, in sample 2, step 3, place [1]"),
    "real": (np.full((6, 4), 0.25), "24 of 24 values", "0.25 first, in sample 0, step 0, place [0]"),
    "signed": (-SPIKES, "values", "-1 first"),
    "counts": (SPIKES.astype(np.uint8) * 2, "values", "2 first"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_spike_is_refused(kind: str, model: Path, program: Path, tmp_path: Path) -> None:
    x, count, first = WRONG[kind]
    file = npz(tmp_path / "x.npz", x=x)
    commands = (
        ("simulate", program, "--data", file),
        ("simulate", program, "--data", file, "--real"),
        ("validate", program, "--data", file, "--reference", model),
        ("export", model, "-o", tmp_path / "again", "--calibrate", file),
    )
    for command in commands:
        error = one(refused(6, *command))
        says(error, what="carries spikes, and ", where=str(file), actual=first, limit="0 or 1")
        assert count in error["what"]
        assert "neither 0 nor 1" in error["what"]
        assert "--input real" in error["fix"]
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64"])
def test_spikes_of_all_kinds(dtype: str, program: Path, tmp_path: Path) -> None:
    file = npz(tmp_path / "x.npz", x=SPIKES.astype(dtype))
    given, plain = neurocompile.simulate(program, file), neurocompile.simulate(program, SPIKES)
    assert given.clipped == 0
    assert all(np.array_equal(fired, plain.spikes[name]) for name, fired in given.spikes.items())


def test_the_way_out_works(model: Path, tmp_path: Path) -> None:
    x = npz(tmp_path / "x.npz", x=_one_half())
    done("export", model, "-o", tmp_path / "real", "--input", "real", "--calibrate", x)
    done("validate", tmp_path / "real", "--reference", model, "--input", "real", "--data", x)


def test_an_example_that_is_none(tmp_path: Path) -> None:
    model = saved(small_net(), tmp_path / "model.pt")
    error = one(refused(6, "export", model, "-o", tmp_path / "out", "--input", "spikes"))
    says(error, what="carries spikes", where="the example", fix="--input real")


def test_in_python(tmp_path: Path) -> None:
    program = neurocompile.compile(small_net(), input_shape=(4,), timesteps=STEPS, carries="spikes")
    assert neurocompile.simulate(program, SPIKES).samples == 6
    for call in (neurocompile.simulate, neurocompile.validate):
        with pytest.raises(BadInput, match="neither 0 nor 1"):
            call(program, SPIKES / 2, **({} if call is neurocompile.simulate else {"reference": small_net()}))
    with pytest.raises(BadInput, match="neither 0 nor 1"):
        neurocompile.compile(
            pickled(small_net(), tmp_path / "m.pt"),
            input_shape=(4,),
            timesteps=STEPS,
            carries="spikes",
            calibrate=SPIKES / 2,
        )
