"""An environment of its own: made, filled, and its tests run."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.versions.cells import Cell
from tests.versions.no_cuda import fill_in

__all__ = ["Row", "sdist", "tried"]

# What a cell needs beside the project, to run its tests.
_TESTS = ("pytest", "hypothesis")
# torch asks for CUDA's libraries, and SpikingJelly for a torchvision that would bring another torch.
_LEFT_OUT = ("nvidia", "cuda", "triton", "torch")
_NEEDS = """
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement
for line in requires({package!r}) or ():
    each = Requirement(line)
    if (each.marker is None or each.marker.evaluate({{"extra": ""}})) and not each.name.startswith({left_out!r}):
        print(f"{{each.name}}{{each.specifier}}")
"""
_VERSIONS = """
from importlib.metadata import PackageNotFoundError, version
def of(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
print(*map(of, {packages!r}), sep="\\n")
"""


class NotTried(Exception):
    """An interpreter or a wheel cannot be had here."""


@dataclass(frozen=True)
class Row:
    """What became of an environment."""

    name: str
    python: str
    torch: str
    spikingjelly: str
    numpy: str
    onnxruntime: str
    megabytes: int | None
    passed: bool
    outcome: str

    def line(self) -> str:
        """Its row of the table."""
        size = "" if self.megabytes is None else f"{self.megabytes:,}"
        cells = (
            self.name,
            self.python,
            self.torch,
            self.spikingjelly,
            self.numpy,
            self.onnxruntime,
            size,
            self.outcome,
        )
        return f"| {' | '.join(cells)} |"


def sdist(root: Path, folder: Path) -> Path:
    """The source distribution of the checkout."""
    _run(sys.executable, "-m", "build", "--sdist", "--outdir", str(folder), str(root))
    (file,) = folder.glob("*.tar.gz")
    return file


def tried(cell: Cell, root: Path, folder: Path, source: Path, fresh: bool) -> Row:
    """Make an environment, if it is not there yet, install the project anew and run the tests."""
    place = folder / cell.name
    if fresh:
        shutil.rmtree(place, ignore_errors=True)
    wanted = [word or "none" for word in (cell.torch, cell.spikingjelly, cell.numpy)]
    try:
        python = _made(cell, root, place, source)
    except NotTried as reason:
        return Row(cell.name, cell.python, *wanted, "", None, True, f"not tried: {reason}")
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.startswith("ERROR")] or ["it cannot be installed"]
        return _failed(cell, wanted, said[-1])
    packages = ("torch", "spikingjelly", "numpy", "onnxruntime")
    versions = _run(python, "-c", _VERSIONS.format(packages=packages)).split()
    passed, outcome = _tests(cell, root, place, python)
    exact = _run(python, "-c", "import platform; print(platform.python_version())").strip()
    return Row(cell.name, exact, *versions, _megabytes(place), passed, outcome)


def _failed(cell: Cell, wanted: list[str], said: str) -> Row:
    outcome = f"FAILED: {said.removeprefix('ERROR: ')[:120]}"
    return Row(cell.name, cell.python, *wanted, "", None, False, outcome)


# -- making it ---------------------------------------------------------------------------------------------------------


def _interpreter(version: str) -> str:
    """The interpreter of a version: pyenv's newest, or the one on the PATH."""
    named = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    found = str(named[-1]) if named else shutil.which(f"python{version}")
    if found is None:
        raise NotTried(f"no Python {version} here")
    return found


def _made(cell: Cell, root: Path, place: Path, source: Path) -> str:
    python = str(place / "bin" / "python")
    if not Path(python).exists():
        interpreter = _interpreter(cell.python)
        _run(interpreter, "-m", "venv", str(place))
        if cell.torch:
            _install(python, "--no-deps", _pinned("torch", cell.torch))
            _install(python, *_needs(python, "torch"), *_numpy(cell))
            lib = next(place.glob("lib/python*/site-packages/torch/lib"))
            fill_in(lib)
            _install(python, "--no-deps", _pinned("spikingjelly", cell.spikingjelly))
            _install(python, *_needs(python, "spikingjelly"), *_numpy(cell))
        _install(python, *_TESTS, *_numpy(cell))
    extras = "[host,data,netx]" if cell.torch else ""
    lowest = ("-c", str(root / "constraints-lowest.txt")) if cell.lowest else ()
    # The project itself is installed anew each time, whatever its version says.
    _run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "neurocompile")
    wheel = _wheel(python, place.parent / "wheels" / f"{cell.python}-{_digest(source)}", source)
    _install(python, *lowest, f"neurocompile{extras} @ {wheel.as_uri()}", *_numpy(cell))
    return python


def _wheel(python: str, folder: Path, source: Path) -> Path:
    """The project, built by an interpreter from an sdist, once."""
    if not list(folder.glob("*.whl")):
        _run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(source))
    (file,) = folder.glob("*.whl")
    return file


def _digest(source: Path) -> str:
    """What an sdist holds, whenever it was packed."""
    found = hashlib.sha256()
    with tarfile.open(source) as archive:
        for member in sorted(archive.getmembers(), key=lambda each: each.name):
            content = archive.extractfile(member)
            found.update(member.name.encode() + b"\0" + (content.read() if content else b""))
    return found.hexdigest()[:16]


def _numpy(cell: Cell) -> tuple[str, ...]:
    return () if cell.numpy == "newest" else (f"numpy=={cell.numpy}",)


def _pinned(package: str, version: str) -> str:
    return package if version == "newest" else f"{package}=={version}"


def _needs(python: str, package: str) -> list[str]:
    return _run(python, "-c", _NEEDS.format(package=package, left_out=_LEFT_OUT)).split()


def _install(python: str, *what: str) -> None:
    try:
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", *what)
    except subprocess.CalledProcessError as error:
        if missing := re.search(r"No matching distribution found for (\S+)", error.stderr):
            raise NotTried(f"no wheel of {missing[1]} for it") from error
        raise


# -- its tests ---------------------------------------------------------------------------------------------------------


def _tests(cell: Cell, root: Path, place: Path, python: str) -> tuple[bool, str]:
    """Run them beside no checkout, so that what is installed is what is imported."""
    beside = place / "run"
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(root / "tests", beside / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", beside / "pyproject.toml")
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow", "-rfE", "--durations=8", *cell.tests]
    ran = subprocess.run(command, cwd=beside, env=_environment(), capture_output=True, text=True, check=False)
    (place / "tests.log").write_text(ran.stdout + ran.stderr)
    last = next((line for line in reversed(ran.stdout.splitlines()) if re.search(r" in [\d.]+s", line)), "")
    counts = re.findall(r"(\d+) (passed|failed|errors?|skipped)", last)
    return ran.returncode == 0, ", ".join(f"{number} {word}" for number, word in counts) or "no tests ran"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _megabytes(place: Path) -> int:
    """What lies in its site-packages."""
    packages = next(place.glob("lib/python*/site-packages"))
    return round(sum(file.lstat().st_size for file in packages.rglob("*") if file.is_file()) / 1e6)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env=_environment()).stdout
