"""Anything can be given for anything from Python: a clear error, or it is taken."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from types import GenericAlias
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import neurocompile
from neurocompile import api
from neurocompile.errors import NeurocompileError, UnsupportedModel, UsageError
from neurocompile.typed import origin_of

T, N = 3, 5
VERBS = ("compile", "export", "simulate", "check", "inspect", "targets", "zoo", "validate", "load", "demo", "save")
ANYTHING: tuple[Any, ...] = (
    None, -1, 0, 1, 2.5, 10**30, True, "", "x", "\ud800", "a\0b", "[/x]", b"x", [], {}, {"x": 1}, (1, "a"), object(),
    np.zeros((2, 2)), np.array(["a"]), np.array([None]), torch.zeros(2, 3), torch.zeros(2, 4, requires_grad=True),
    float("nan"), np.zeros((0, 4)), Path("nowhere"), Path("/"), int, np.int64(3), np.float32(3), nn.Linear(4, 4),
    [[1, 2], [3]], {"a": "b"}, {1: 2}, np.ma.zeros((2, 4)), np.full((N, T, 4), 1e300), np.full((N, T, 4), 1j),
)  # fmt: skip


@pytest.fixture(scope="module")
def usual() -> dict[str, dict[str, Any]]:
    """What each verb takes without complaint."""
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Linear(4, 6, step_mode="m"), neuron.LIFNode(step_mode="m"), layer.Linear(6, 3, step_mode="m"),
        neuron.IFNode(step_mode="m"),
    ).eval()  # fmt: skip
    x = torch.rand(T, N, 4)
    neurocompile.save(net, "m.pt", x)
    neurocompile.export("m.pt", out="p")
    data = x.movedim(1, 0).numpy()
    return {
        "compile": {"model": net, "input_shape": (4,), "timesteps": T},
        "export": {"model": "m.pt", "dry_run": True, "validate": False},
        "simulate": {"program": "p", "x": data},
        "check": {"model": "m.pt"},
        "inspect": {"what": "m.pt"},
        "targets": {},
        "zoo": {"name": "sgad-small"},
        "validate": {"program": "p", "x": data, "reference": "m.pt", "recorded": api.simulate("p", data).spikes},
        "load": {"folder": "p"},
        "demo": {"write_data": "digits.npz"},
        "save": {"model": net, "path": "again.pt", "example_input": x},
    }


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("given"))
    yield
    os.chdir(before)


def _verb(name: str) -> Any:
    return getattr(api, name) if hasattr(api, name) else getattr(neurocompile, name)


def _given() -> Iterator[tuple[str, str]]:
    for name in VERBS:
        for parameter in inspect.signature(_verb(name)).parameters:
            if (name, parameter) != ("demo", "targets"):  # measures every chip that it is told
                yield name, parameter


@pytest.mark.parametrize(("name", "parameter"), _given())
def test_anything_for_anything(usual: dict[str, dict[str, Any]], name: str, parameter: str) -> None:
    refused, told = 0, True
    for value in ANYTHING:
        try:
            _verb(name)(**{**usual[name], parameter: value})
        except NeurocompileError as error:
            refused += 1
            told &= all(problem.what for problem in error.problems)
    assert refused
    assert told


def test_all_that_is_wrong_is_told_at_once(usual: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(UsageError) as caught:
        api.simulate("p", usual["simulate"]["x"], threads=2.5, stream="yes", price_as=7)  # type: ignore[arg-type]
    told = {(problem.where, problem.actual, problem.limit) for problem in caught.value.problems}
    assert told == {
        ("threads", "2.5", "a whole number from 1 to 2147483648 or None"), ("stream", "'yes'", "True or False"),
        ("price_as", "7", "a text or None"),
    }  # fmt: skip


def test_numbers_of_numpy_are_numbers(usual: dict[str, dict[str, Any]]) -> None:
    shape = tuple(np.array([4]))
    program = api.compile(usual["compile"]["model"], input_shape=shape, timesteps=np.int64(T), chips=np.int32(1))
    assert program.timesteps == T
    assert type(program.timesteps) is int


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_layer_without_a_neuron() -> None:
    net = nn.Sequential(layer.Linear(4, 0, step_mode="m"), neuron.IFNode(step_mode="m")).eval()
    with pytest.raises(UnsupportedModel, match=r"its output of shape \[0\] has no element"):
        neurocompile.save(net, "none.pt", torch.rand(T, N, 4))
    with pytest.raises(UnsupportedModel, match=r"its output of shape \[0\] has no element"):
        api.compile(net, input_shape=(4,), timesteps=T)


def test_a_named_type_is_what_it_names() -> None:
    """As NumPy's NDArray is from 2.5 on, in Pythons that have such names."""

    class Named:
        __value__ = np.ndarray[tuple[Any, ...], np.dtype[Any]]

    assert origin_of(GenericAlias(Named, (Any,))) is np.ndarray
    assert origin_of(Named) is np.ndarray
    assert origin_of(tuple[int, ...]) is tuple
    assert origin_of(int) is None
