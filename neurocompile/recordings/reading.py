"""Files of a recording, each read as what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from neurocompile.files import opened
from neurocompile.ir.ops import Array
from neurocompile.recordings.base import Found, Hints, Reader, bad
from neurocompile.registry import Table

__all__ = ["READERS", "read_recordings"]

READERS: Table[Reader] = Table(
    "neurocompile.recordings",
    {
        "numpy": "neurocompile.recordings.arrays:NUMPY",
        "nir": "neurocompile.recordings.nirdata:NIR_DATA",
        "parquet": "neurocompile.recordings.tables:PARQUET",
        "aedat4": "neurocompile.recordings.sensors:AEDAT4",
        "aedat3": "neurocompile.recordings.sensors:AEDAT3",
        "aedat2": "neurocompile.recordings.sensors:AEDAT2",
        "prophesee": "neurocompile.recordings.sensors:PROPHESEE",
        "nmnist": "neurocompile.recordings.sensors:NMNIST",
        "csv": "neurocompile.recordings.tables:CSV",
    },
)
"""Kinds of files by name, those that are known by their content first."""


def read_recordings(files: Sequence[tuple[str, Path]], hints: Hints, single: str) -> Found:
    """What several files hold together.

    Args:
        files: each with the layer that it is of; "" for what the file says.
        hints: what the user says of them.
        single: the layer of a file that names none.

    Raises:
        BadInput: for files that cannot be read, are of no known kind, or tell of one layer twice.
        ToolFailed: if a package is missing that a kind needs.
    """
    whole: dict[str, Any] = {}
    for layer, path in files:
        _join(whole, _named(_read(path, hints), layer, single, path), path)
    return Found(**whole)


def _read(path: Path, hints: Hints) -> Found:
    with opened(path) as file:
        start = file.read(64)
    for name in READERS:
        reader = READERS[name]
        if reader.recognizes(start, path):
            return reader.read(path, hints)
    fix = "name a table .csv, an N-MNIST recording .bin, a Prophesee recording .raw or .dat"
    raise bad("this is no recording of a kind that is known", path, path.suffix, ", ".join(READERS), fix)


def _named(found: Found, layer: str, single: str, path: Path) -> Found:
    """The same under the names of layers: an unnamed one is ``layer``, or else ``single``."""
    if layer and found.layers - {""}:
        others = sorted(found.layers - {"", layer})
        if others:
            told = ", ".join(others)
            raise bad("the file names other layers", path, told, layer, f"give it without {layer}=")
    name = layer or single

    def renamed(by: Mapping[str, Any]) -> dict[str, Any]:
        return {each or name: value for each, value in by.items()}

    return replace(
        found,
        spikes=renamed(found.spikes),
        gridded=renamed(found.gridded),
        events=renamed(found.events),
        counts=renamed(found.counts),
    )


def _join(whole: dict[str, Any], found: Found, path: Path) -> None:
    for name, value in _parts(found):
        if isinstance(value, Mapping):
            held = whole.setdefault(name, {})
            twice = sorted(held.keys() & value.keys())
            if twice:
                raise bad("this layer is recorded twice", f"{path}, {twice[0]}", fix="give one file of each layer")
            held.update(value)
        elif whole.get(name) is not None:
            raise bad(f"{name} are recorded twice", path, fix="give one file of them")
        else:
            whole[name] = value


def _parts(found: Found) -> Iterator[tuple[str, Mapping[str, Any] | Array]]:
    for field in fields(Found):
        value = getattr(found, field.name)
        if value is not None:
            yield field.name, value
