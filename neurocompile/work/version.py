"""What results depend on besides their arguments: the code that makes them, and what that computes with."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np

from neurocompile import __version__

__all__ = ["differences", "versions"]

_HOUSES = ("", ".backends", ".simulator")
_KINDS = {".py", ".toml", ".cpp", ".h", ".v"}


@cache
def versions() -> dict[str, str]:
    """Of this package (and a checksum of its source, as versions in development share a number), Python and NumPy."""
    return {
        "neurocompile": __version__,
        "neurocompile's source": _source(),
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "NumPy": np.__version__,
    }


def differences(there: dict[str, str]) -> list[tuple[str, str, str]]:
    """What has another version elsewhere: its name, that version, and the one here."""
    return [(name, there.get(name, "none"), mine) for name, mine in versions().items() if there.get(name) != mine]


def _source() -> str:
    """The checksum of all files that compute anything, wherever their folders are."""
    digest, seen = hashlib.sha256(), set()
    for house in _HOUSES:
        folder = Path(str(import_module(f"neurocompile{house}").__file__)).parent
        for file in sorted(folder.rglob("*")):
            if file.suffix in _KINDS and file not in seen and "models" not in file.relative_to(folder).parts[:1]:
                seen.add(file)
                inner = hashlib.sha256(file.read_bytes()).digest()
                digest.update(f"{house}:{file.relative_to(folder).as_posix()}:".encode() + inner)
    return digest.hexdigest()[:12]
