"""Program folders that are missing, altered, or of a later version."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neurocompile.program import FORMAT_VERSION
from tests.cli.helpers import Data, one, refused, run, says


@pytest.fixture
def copy(program: Path, tmp_path: Path) -> Path:
    """A program that a test may spoil."""
    return Path(shutil.copytree(program, tmp_path / "copy"))


def _refused(folder: Path, data: Data) -> list[dict[str, str]]:
    """What the verbs that read a program say; they all say the same."""
    errors = refused(6, "simulate", folder, "--data", data.path)
    assert errors == refused(6, "validate", folder, "--data", data.path, "--recorded", data.path)
    return errors


def test_missing(data: Data, tmp_path: Path) -> None:
    error = one(_refused(tmp_path / "nowhere", data))
    says(error, what="no such", where="nowhere", fix="export")


def test_an_empty_folder(data: Data, tmp_path: Path) -> None:
    says(one(_refused(tmp_path, data)), what="no program", where=str(tmp_path))


def test_a_file_where_a_folder_belongs(model: Path, data: Data) -> None:
    says(one(_refused(model, data)), what="no program", where=str(model))


@pytest.mark.parametrize("name", ["program.json", "arrays.npz"])
def test_a_file_that_was_removed(name: str, copy: Path, data: Data) -> None:
    (copy / name).unlink()
    error = one(_refused(copy, data))
    assert name in str(error)
    says(error, fix="export")


@pytest.mark.parametrize("name", ["program.json", "arrays.npz"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"not json", b"\xff\xfe\x00", b'{"format": 3}'])
def test_a_file_that_is_something_else(name: str, content: bytes, copy: Path, data: Data) -> None:
    (copy / name).write_bytes(content)
    says(one(_refused(copy, data)), where=str(copy), fix="export")


@pytest.mark.parametrize("name", ["program.json", "arrays.npz"])
def test_a_file_that_is_a_folder(name: str, copy: Path, data: Data) -> None:
    (copy / name).unlink()
    (copy / name).mkdir()
    says(one(_refused(copy, data)), where=str(copy), fix="export")


@pytest.mark.parametrize("seed", range(8))
def test_any_byte_of_the_arrays(seed: int, copy: Path, data: Data) -> None:
    file = copy / "arrays.npz"
    content, draw = bytearray(file.read_bytes()), random.Random(seed)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)
    says(one(_refused(copy, data)), what="altered", where=str(file))


@pytest.mark.parametrize("more", [b"\n", b"x"])
def test_bytes_after_the_arrays(more: bytes, copy: Path, data: Data) -> None:
    with open(copy / "arrays.npz", "ab") as file:
        file.write(more)
    says(one(_refused(copy, data)), what="altered")


def _leaves(value: Any, *way: Any) -> Iterator[tuple[Any, ...]]:
    """The paths to every number, word and truth in a JSON value."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, *way, key)
    else:
        yield way


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    return 7 if value is None else value + 1


def _altered(file: Path, way: tuple[Any, ...], change: Callable[[Any], Any] = _other) -> None:
    body = json.loads(file.read_bytes())
    place = body
    for key in way[:-1]:
        place = place[key]
    place[way[-1]] = change(place[way[-1]])
    file.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")


def test_any_value_of_the_json(copy: Path, data: Data) -> None:
    file = copy / "program.json"
    original = file.read_bytes()
    ways = list(_leaves(json.loads(original)))
    assert len(ways) > 50
    draw = random.Random(0)
    for way in draw.sample(ways, 40):
        file.write_bytes(original)
        _altered(file, way)
        ran = run("simulate", copy, "--data", data.path, "--json")
        assert ran.code == 6, (way, ran)
        assert ran.json["errors"][0]["fix"], way


@pytest.mark.slow
def test_every_value_of_the_json(copy: Path, data: Data) -> None:
    file = copy / "program.json"
    original = file.read_bytes()
    for way in _leaves(json.loads(original)):
        file.write_bytes(original)
        _altered(file, way)
        assert run("inspect", copy, "--json").code == 6, way


def test_a_truncated_json(copy: Path, data: Data) -> None:
    file = copy / "program.json"
    content = file.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        file.write_bytes(content[: int(len(content) * share)])
        says(one(_refused(copy, data)), where=str(copy))


def test_a_later_version_is_named(copy: Path, data: Data) -> None:
    _altered(copy / "program.json", ("version",), lambda version: FORMAT_VERSION + 1)
    error = one(_refused(copy, data))
    says(error, what="later version", fix="update")
    assert str(FORMAT_VERSION + 1) in error["actual"]
    assert str(FORMAT_VERSION) in error["limit"]


@pytest.mark.parametrize("version", ["two", None, -1, 0, 1.5, True])
def test_a_version_that_is_none(version: Any, copy: Path, data: Data) -> None:
    _altered(copy / "program.json", ("version",), lambda _: version)
    says(one(_refused(copy, data)), where=str(copy))


def _resealed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Alter program.json and give it a checksum that is right again."""
    file = folder / "program.json"
    body = json.loads(file.read_bytes())
    change(body)
    sums = {"arrays.npz": hashlib.sha256((folder / "arrays.npz").read_bytes()).hexdigest()}
    body["sha256"] = sums
    text = json.dumps(body, sort_keys=True)
    body["sha256"] = {**sums, "program.json": hashlib.sha256(text.encode()).hexdigest()}
    file.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")


RESEALED: dict[str, Callable[[dict[str, Any]], object]] = {
    "an operation that is none": lambda body: body["real"][1].update(op="System"),
    "an edge from nowhere": lambda body: body["integer"][-1].update(inputs=["nowhere"]),
    "a missing field": lambda body: body["real"][1].update(fields={}),
    "steps that are none": lambda body: body.update(timesteps=-3),
    "steps that are a word": lambda body: body.update(timesteps="many"),
    "arithmetic of another version": lambda body: body["arithmetic"].update(more=1),
    "no units": lambda body: body.pop("units"),
    "an array that is not there": lambda body: body["units"].update({next(iter(body["units"])): {"array": "gone"}}),
    "no nodes": lambda body: body.update(integer=[], real=[]),
    "a target that is none": lambda body: body.update(target="loihi-9"),
}


def test_a_resealed_program_is_a_program(copy: Path, data: Data) -> None:
    """Only to be sure that the cases below fail for what was changed."""
    _resealed(copy, lambda body: None)
    assert run("simulate", copy, "--data", data.path).code == 0


@pytest.mark.parametrize("damage", RESEALED)
def test_nonsense_with_a_right_checksum(damage: str, copy: Path, data: Data) -> None:
    _resealed(copy, RESEALED[damage])  # type: ignore[arg-type]
    ran = run("simulate", copy, "--data", data.path, "--json")
    assert ran.code == 6 or (damage == "a target that is none" and ran.code == 2), ran
    assert "internal" not in ran.out


def test_inspect_refuses_an_altered_program(copy: Path) -> None:
    _altered(copy / "program.json", ("timesteps",))
    says(one(refused(6, "inspect", copy)), what="altered")


def test_formatting_is_no_alteration(copy: Path, data: Data) -> None:
    """The checksum is one of the content: another indentation leaves the program as it is."""
    file = copy / "program.json"
    file.write_text(json.dumps(json.loads(file.read_bytes())))
    assert run("simulate", copy, "--data", data.path).code == 0
