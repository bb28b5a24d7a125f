"""Files that would run code: refused with exit 6, and nothing of them is run."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.cli.helpers import PICKLED, done, edited, nothing_in, one, refused, run, saved, says, small_data, small_net

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in a file of the second version: as it is written where classes do not tell the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neurocompile.frontends.pytorch.model._symbolic", lambda *given: None)
        return saved(small_net(), tmp_path_factory.mktemp("model") / "small.pt")


class Custom(nn.Module):
    """A class that only the user's own program has."""

    loaded = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).loaded += 1
        super().__setstate__(state)


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _touch(file: Path) -> str:
    return f"open({str(file)!r}, 'w').close()"


ATTACKS: dict[str, Callable[[Path], Any]] = {
    "os.system": lambda file: Calls(os.system, f"touch {file}"),
    "builtins.exec": lambda file: Calls(exec, _touch(file)),
    "builtins.eval": lambda file: Calls(eval, _touch(file)),
    "subprocess": lambda file: Calls(subprocess.call, ["touch", str(file)]),
    "builtins.open": lambda file: Calls(builtins.open, str(file), "w"),
    "builtins.getattr": lambda file: Calls(getattr, Calls(__import__, "os"), "sep"),
}


def _pickle(protocol: int) -> Callable[[Any, Path], None]:
    return lambda value, path: path.write_bytes(pickle.dumps(value, protocol))


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "zip": torch.save,
    "legacy": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
    **{f"pickle-{protocol}": _pickle(protocol) for protocol in (0, 2, 5)},
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pickle_that_would_run_code(attack: str, writer: str, tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "model.pt"
    WRITERS[writer](ATTACKS[attack](canary), file)
    error = one(refused(6, "export", file, "-o", tmp_path / "out", *PICKLED))
    assert not canary.exists()
    says(error, where=str(file), what="nothing was run")
    nothing_in(tmp_path, ["model.pt"])


@pytest.mark.parametrize("writer", ["zip", "legacy"])
@pytest.mark.parametrize("verb", ["export", "inspect"])
def test_what_it_wants_to_load_is_named_with_the_ways_out(verb: str, writer: str, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    WRITERS[writer](Calls(os.system, "true"), file)
    error = one(refused(6, verb, file, *PICKLED))
    says(error, what="system")
    ways = [error["fix"].find(way) for way in ("neurocompile.save", "--arch", "--trust")]
    assert ways == sorted(ways), "--trust is the last way out"
    assert -1 not in ways


@pytest.mark.parametrize("writer", ["zip", "legacy"])
def test_code_hidden_in_an_innocent_module(writer: str, tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "model.pt"
    net = small_net()
    net[1].note = Calls(os.system, f"touch {canary}")
    WRITERS[writer](net, file)
    refused(6, "export", file, "-o", tmp_path / "out", *PICKLED)
    nothing_in(tmp_path, ["model.pt"])


@pytest.mark.parametrize("writer", ["zip", "legacy"])
def test_code_hidden_in_a_state_dict(writer: str, tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "model.pt"
    WRITERS[writer]({**small_net().state_dict(), "x": Calls(os.system, f"touch {canary}")}, file)
    refused(6, "export", file, "--arch", "tests.cli.helpers:small_net", "-o", tmp_path / "out", *PICKLED)
    nothing_in(tmp_path, ["model.pt"])


@pytest.mark.parametrize("writer", WRITERS)
def test_a_class_of_the_users_own_is_not_loaded(writer: str, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    WRITERS[writer](nn.Sequential(small_net(), Custom()).eval(), file)
    Custom.loaded = 0
    error = one(refused(6, "export", file, "-o", tmp_path / "out", *PICKLED))
    assert Custom.loaded == 0
    if writer in ("zip", "legacy"):
        says(error, what="Custom")
    nothing_in(tmp_path, ["model.pt"])


def test_trust_loads_it(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save(nn.Sequential(small_net(), Custom()).eval(), file)
    done("export", file, "--trust", "-o", tmp_path / "out", *PICKLED)
    assert done("simulate", tmp_path / "out", "--data", small_data(tmp_path / "x.npz").path).code == 0


def test_trust_does_run_the_code(tmp_path: Path) -> None:
    """Only to be sure that the attacks above are real."""
    canary, file = tmp_path / "canary", tmp_path / "model.pt"
    torch.save(Calls(os.system, f"touch {canary}"), file)
    refused(6, "export", file, "--trust", "-o", tmp_path / "out", *PICKLED)
    assert canary.exists()


def test_a_reference_is_held_to_the_same(program: Path, tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "model.pt"
    torch.save(Calls(os.system, f"touch {canary}"), file)
    refused(6, "validate", program, "--reference", file)
    assert not canary.exists()


@pytest.mark.parametrize("option", ["--data", "--recorded"])
def test_arrays_are_held_to_the_same(option: str, program: Path, tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "x.npz"
    file.write_bytes(pickle.dumps(Calls(os.system, f"touch {canary}")))
    refused(6, "validate", program, option, file, *(["--recorded", file] if option == "--data" else []))
    assert not canary.exists()


# -- files in the first version of neurocompile.save's format, whose graph is not what save would write ----------------


@pytest.fixture
def old_model() -> Path:
    """The small network as the first version wrote it."""
    return DATA / "model-v1.pt"


_IN = {"kind": "node", "name": "input_1"}


def _node(op: str, name: str, target: str, *arguments: Any) -> dict[str, Any]:
    return {
        "op": op,
        "name": name,
        "target": target,
        "args": {"kind": "tuple", "items": list(arguments)},
        "kwargs": {"kind": "dict", "items": {}},
    }


def _result(name: str) -> dict[str, str]:
    return {"kind": "node", "name": name}


def _through_subclasses(canary: Path) -> list[dict[str, Any]]:
    place = next(i for i, cls in enumerate(object.__subclasses__()) if cls.__name__ == "_wrap_close")
    return [
        _node("call_function", "a", "builtins.getattr", "", "__class__"),
        _node("call_function", "b", "builtins.getattr", _result("a"), "__base__"),
        _node("call_method", "c", "__subclasses__", _result("b")),
        _node("call_function", "d", "operator.getitem", _result("c"), place),
        _node("call_function", "e", "builtins.getattr", _result("d"), "__init__"),
        _node("call_function", "f", "builtins.getattr", _result("e"), "__globals__"),
        _node("call_function", "g", "operator.getitem", _result("f"), "system"),
        _node("call_method", "h", "__call__", _result("g"), f"touch {canary}"),
    ]


def _through_globals(canary: Path) -> list[dict[str, Any]]:
    return [
        _node("get_attr", "a", "0.forward.__func__.__globals__"),
        _node("call_function", "b", "operator.getitem", _result("a"), "__builtins__"),
        _node("call_function", "c", "operator.getitem", _result("b"), "exec"),
        _node("call_method", "d", "__call__", _result("c"), _touch(canary)),
    ]


def _code(canary: Path) -> str:
    return f"__import__('os').system('touch {canary}')"


GRAPHS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "subclasses": _through_subclasses,
    "globals": _through_globals,
    "a file written by a tensor": lambda file: [
        _node("call_method", "a", "numpy", _IN),
        _node("call_method", "b", "tofile", _result("a"), str(file)),
    ],
    "a method that is code": lambda file: [_node("call_method", "a", f"clone() or {_code(file)} or x.clone", _IN)],
    "a method in two lines": lambda file: [_node("call_method", "a", f"clone()\n    {_code(file)}\n    x = (", _IN)],
    "a name that is code": lambda file: [_node("call_method", f"a = {_code(file)}; b", "clone", _IN)],
    "a function that nobody lowers": lambda file: [_node("call_function", "a", "os.system", f"touch {file}")],
    "a dtype that is none": lambda file: [
        _node("call_function", "a", "builtins.getattr", {"kind": "dtype", "name": "os"}, "system"),
        _node("call_method", "b", "__call__", _result("a"), f"touch {file}"),
    ],
    "a module that is none": lambda file: [_node("call_module", "a", f"0.{_code(file)}", _IN)],
    "a placeholder with a default": lambda file: [_node("placeholder", "a", f"a={_code(file)}")],
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_saved_graph_that_would_run_code(graph: str, old_model: Path, tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "evil.pt"

    def change(content: dict[str, Any]) -> None:
        content["nodes"][1:1] = GRAPHS[graph](canary)

    edited(old_model, file, change)
    refused(6, "export", file, "-o", tmp_path / "out")
    nothing_in(tmp_path, ["evil.pt"])


def test_an_argument_of_forward_that_is_code(old_model: Path, tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "evil.pt"

    def change(content: dict[str, Any]) -> None:
        content["nodes"][0]["target"] = f"input={_code(canary)}"

    edited(old_model, file, change)
    refused(6, "export", file, "-o", tmp_path / "out")
    nothing_in(tmp_path, ["evil.pt"])


OLD_DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a node before its input": lambda c: c["nodes"].reverse(),
    "no nodes": lambda c: c.update(nodes=[]),
    "no output": lambda c: c["nodes"].pop(),
    "no modules": lambda c: c.update(modules={}),
    "a missing layout": lambda c: c.pop("layout"),
    "missing nodes": lambda c: c.pop("nodes"),
    "a missing example": lambda c: c.pop("example"),
    "a layout that is none": lambda c: c.update(layout="XY"),
    "steps that are none": lambda c: c.update(timesteps=-1),
    "steps that are a word": lambda c: c.update(timesteps="many"),
    "shapes of another model": lambda c: c.update(input_shapes={"input": (9,)}),
    "an input that is not there": lambda c: c.update(input_shapes={"other": (4,)}),
    "a readout that is none": lambda c: c.update(readout="loudest"),
    "nodes that are a number": lambda c: c.update(nodes=3),
    "a version that is a word": lambda c: c.update(version="one"),
    "a later version": lambda c: c.update(version=99),
    "an example of another shape": lambda c: c.update(example={"input": torch.rand(2, 9)}),
    "an example with NaN": lambda c: c.update(example={"input": torch.full((2, 4), float("nan"))}),
    "modules that are numbers": lambda c: c.update(modules={"0": 1, "1": 2}),
}


@pytest.mark.parametrize("damage", OLD_DAMAGES)
def test_an_old_model_that_was_damaged(damage: str, old_model: Path, tmp_path: Path) -> None:
    file = edited(old_model, tmp_path / "damaged.pt", OLD_DAMAGES[damage])
    refused(6, "export", file, "-o", tmp_path / "out")
    nothing_in(tmp_path, ["damaged.pt"])


# -- files in neurocompile.save's own format, which say what save would not write ------------------------------------


def _call(operation: str, *arguments: Any, **other: Any) -> dict[str, Any]:
    names = {"module": "0", "line": "", "site": "0", "leaf": ""}
    return {"operation": operation, "args": list(arguments), "out": 10**6, "shape": [15, 4], **names, **other}


_GIVEN = {"value": 0}

CALLS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "an operation of another module": lambda file: _call("os.system", f"touch {file}"),
    "an operation of torch that nobody records": lambda file: _call("save", _GIVEN, str(file)),
    "an operation that is code": lambda file: _call(f"neg or {_code(file)}", _GIVEN),
    "a name of the vocabulary's own code": lambda file: _call("__class__", _GIVEN),
    "a kind of number that is none": lambda file: _call("to", _GIVEN, _code(file)),
    "a text for a number": lambda file: _call("add", _GIVEN, f"touch {file}"),
    "a text for a size": lambda file: _call("view", _GIVEN, [_code(file)]),
    "a tensor for a size": lambda file: _call("view", _GIVEN, [_GIVEN]),
    "an argument too many": lambda file: _call("neg", _GIVEN, str(file)),
    "an argument too few": lambda file: _call("add", _GIVEN),
    "named arguments": lambda file: _call("neg", {"named": {"input": _GIVEN, "out": str(file)}}),
    "a view that is none": lambda file: _call("write", _GIVEN, _GIVEN, [["tofile", str(file)]]),
    "a view with arguments of another": lambda file: _call("write", _GIVEN, _GIVEN, [["select", str(file), 0]]),
    "a module that is not there": lambda file: _call("leaf", [_GIVEN], {"named": {}}, leaf="os.system"),
    "a module under another operation": lambda file: _call("neg", _GIVEN, leaf="os.system"),
    "a value that is not there": lambda file: _call("neg", {"value": 10**7}),
    "a value twice": lambda file: _call("neg", _GIVEN, out=0),
    "itself": lambda file: _call("neg", {"value": 10**6}),
    "a shape that fills the memory": lambda file: _call("full", [1 << 40], 0.0, "float", shape=[1 << 40]),
    "a size that fills the memory": lambda file: _call("full", [1 << 20, 1 << 20], 0.0, "float"),
    "copies that fill the memory": lambda file: _call("repeat", _GIVEN, [1 << 20, 1 << 20, 1]),
    "a shape below zero": lambda file: _call("neg", _GIVEN, shape=[-1]),
    "a place that is none": lambda file: _call("neg", _GIVEN, line=3),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_saved_recording_that_would_run_something_else(call: str, recorded: Path, tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "evil.pt"
    edited(recorded, file, lambda content: content["calls"].insert(0, CALLS[call](canary)))
    error = one(refused(6, "export", file, "-o", tmp_path / "out"))
    says(error, what="nothing was run", where=str(file))
    nothing_in(tmp_path, ["evil.pt"])


def test_an_input_that_is_code(recorded: Path, tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "evil.pt"
    name = f"input={_code(canary)}"

    def change(content: dict[str, Any]) -> None:
        for key in ("inputs", "shapes", "input_shapes", "carries", "example"):
            content[key] = dict.fromkeys([name], content[key]["input"])
        content["recording"]["inputs"] = {name: content["recording"]["inputs"]["input"]}

    edited(recorded, file, change)
    refused(6, "export", file, "-o", tmp_path / "out")
    nothing_in(tmp_path, ["evil.pt"])


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a call before its input": lambda c: c["calls"].reverse(),
    "no calls": lambda c: c.update(calls=[]),
    "no outputs": lambda c: c.update(outputs=[]),
    "no constants": lambda c: c.update(constants={}),
    "constants of other shapes": lambda c: c.update(constants={n: x[..., :1] for n, x in c["constants"].items()}),
    "constants that are numbers": lambda c: c.update(constants=dict.fromkeys(c["constants"], 1.0)),
    "other weights": lambda c: c.update(constants={n: x + 1.0 for n, x in c["constants"].items()}),
    "weights that are no numbers": lambda c: c.update(constants={n: x * np.nan for n, x in c["constants"].items()}),
    "a missing layout": lambda c: c.pop("layout"),
    "missing calls": lambda c: c.pop("calls"),
    "a missing example": lambda c: c.pop("example"),
    "a missing recording": lambda c: c.pop("recording"),
    "missing leaves": lambda c: c.pop("leaves"),
    "a recording without spikes": lambda c: c["recording"]["spikes"].pop("1"),
    "a recording of other samples": lambda c: c["recording"]["inputs"].update(input=torch.rand(3, 5, 4)),
    "a recording that fired otherwise": lambda c: c["recording"]["spikes"]["1"].logical_not_(),
    "a recording of other outputs": lambda c: c["recording"]["outputs"]["output"].add_(1.0),
    "a layout that is none": lambda c: c.update(layout="XY"),
    "another layout": lambda c: c.update(layout="NT"),
    "steps that are none": lambda c: c.update(timesteps=-1),
    "steps that are a word": lambda c: c.update(timesteps="many"),
    "shapes of another model": lambda c: c.update(input_shapes={"input": (9,)}),
    "an input that is not there": lambda c: c.update(input_shapes={"other": (4,)}),
    "a readout that is none": lambda c: c.update(readout="loudest"),
    "carries that are none": lambda c: c.update(carries={"input": "wishes"}),
    "calls that are a number": lambda c: c.update(calls=3),
    "a batch that is none": lambda c: c.update(batch=0),
    "a version that is a word": lambda c: c.update(version="one"),
    "a later version": lambda c: c.update(version=99),
    "an example of another shape": lambda c: c.update(example={"input": torch.rand(2, 9)}),
    "an example with NaN": lambda c: c.update(example={"input": torch.full((2, 4), float("nan"))}),
    "leaves that are numbers": lambda c: c.update(leaves={"0": 1, "1": 2}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_saved_model_that_was_damaged(damage: str, recorded: Path, tmp_path: Path) -> None:
    """What it computes is held against what the live module did: other weights are found out, too."""
    file = edited(recorded, tmp_path / "damaged.pt", DAMAGES[damage])
    ran = run("export", file, "-o", tmp_path / "out")
    assert ran.code in (3, 5, 6), ran
    refused(ran.code, "export", file, "-o", tmp_path / "out")
    nothing_in(tmp_path, ["damaged.pt"])


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    ran = run("export", tmp_path / "nothing.pt", "--debug")
    assert ran.code == 6
    assert "Traceback" in ran.err
    ran = run("export", tmp_path / "nothing.pt", "--debug", "--json")
    assert ran.code == 6
    assert ran.json["ok"] is False


def test_nobody_is_told_to_load_a_file_unsafely(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"\x00\x01")
    error = one(refused(6, "export", tmp_path / "model.pt", "-o", tmp_path / "out"))
    assert not any("weights_only" in text for text in error.values())
