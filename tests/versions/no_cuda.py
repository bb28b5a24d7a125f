"""Lets a CUDA build of torch run on a CPU without the gigabytes of CUDA's own libraries.

The package index has CUDA builds of most versions only, and these load CUDA's libraries when they are imported, though
on a CPU none of their functions is needed. Here each library that lies nowhere becomes an empty one beside torch's: all
functions that torch links against are in it, and each answers with the error 100, "no device".
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

__all__ = ["fill_in"]

_NO_DEVICE = 100
_NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")


def fill_in(libraries: Path) -> list[str]:
    """Put what is missing beside torch's libraries (the folder ``torch/lib``), and name it."""
    files = sorted(libraries.glob("*.so*"))
    needed = {name for file in files for name in _NEEDED.findall(_run("readelf", "-d", str(file)))}
    known = set(re.findall(r"^\s+(\S+) \(", _run("ldconfig", "-p"), re.MULTILINE)) | {file.name for file in files}
    missing = sorted(name for name in needed - known if not name.startswith("ld-"))
    wanted, tags = _wanted(files), _tags(files)
    for name in missing:
        versions = {tag: wanted.get(tag, set()) for tag in sorted(tags.get(name, ()))}
        # What asks for no version may come from any of them.
        _build(libraries / name, versions, wanted[""] if name == missing[0] else set())
    return missing


def _tags(files: list[Path]) -> dict[str, set[str]]:
    """The versions that are asked for, by the library that is to have them."""
    found: dict[str, set[str]] = {}
    for file in files:
        library = ""
        for line in _run("readelf", "-W", "-V", str(file)).splitlines():
            if named := re.search(r"File: (\S+)", line):
                library = named[1]
            elif library and (tag := re.search(r"Name: (\S+)\s+Flags", line)):
                found.setdefault(library, set()).add(tag[1])
    return found


def _wanted(files: list[Path]) -> dict[str, set[str]]:
    """The functions that lie in none of these files, by the version that is asked for ("": none)."""
    own = {line.split()[-1].partition("@")[0] for file in files for line in _symbols(file, "--defined-only")}
    found: dict[str, set[str]] = {"": set()}
    for file in files:
        for line in _symbols(file, "--undefined-only"):
            kind, symbol = line.split()[-2:]
            name, _, version = symbol.partition("@")
            if kind == "U" and name not in own:
                found.setdefault(version.lstrip("@"), set()).add(name)
    return found


def _symbols(file: Path, which: str) -> list[str]:
    return [line for line in _run("nm", "-D", which, "--with-symbol-versions", str(file)).splitlines() if line.strip()]


def _build(library: Path, versions: dict[str, set[str]], others: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder, "empty.c"), Path(folder, "versions")
        names = sorted(name for name in others.union(*versions.values()) if name.isidentifier())
        source.write_text("".join(f"long {name}(void) {{ return {_NO_DEVICE}; }}\n" for name in names))
        tags = [
            f"{tag} {{ global: {_listed(names)} }};" if names else f"{tag} {{ }};" for tag, names in versions.items()
        ]
        script.write_text("\n".join(tags))
        options = [f"-Wl,--version-script={script}"] if tags else []
        _run("gcc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{library.name}", *options, "-o",
             str(library), str(source))  # fmt: skip


def _listed(names: set[str]) -> str:
    return " ".join(f"{name};" for name in sorted(names))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
