"""The wheel holds all that the checkout's four houses hold, and runs outside the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from neurocompile.extras import EXTRAS
from neurocompile.program import load_program

ROOT = Path(__file__).parents[1]
HOUSES = {"neurocompile": "neurocompile", "backends": "neurocompile/backends", "models": "neurocompile/models",
          "simulator": "neurocompile/simulator"}  # fmt: skip


IN_SDIST = ("CHANGELOG.md", "SECURITY.md", "constraints-dev.txt", "constraints-lowest.txt")


def _copied(source: Path) -> Path:
    """The sources, so that nothing of an earlier build is packed and nothing is left in the checkout."""
    for house in HOUSES:
        shutil.copytree(ROOT / house, source / house, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", *IN_SDIST):
        shutil.copy(ROOT / name, source / name)
    return source


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, out = _copied(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("sdist")
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", out, source]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (file,) = out.glob("*.tar.gz")
    return file


def _build(source: Path, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    return subprocess.run(
        [*pip, "-w", out, source], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the sdist as an index's users build it, but for a minute of optimization: what it holds, that holds."""
    out = tmp_path_factory.mktemp("wheel")
    built = _build(sdist, out, NEUROCOMPILE_OPTIMIZE="0")
    assert built.returncode == 0, built.stderr
    (file,) = out.glob("*.whl")
    return file


def test_without_a_compiler_numpy_simulates_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    built = _build(_copied(tmp_path / "source"), tmp_path, PATH=str(tmp_path), CXX="")
    assert built.returncode == 0, built.stderr
    (file,) = tmp_path.glob("*.whl")
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, file]
    subprocess.run(pip, check=True, capture_output=True)
    main = "import neurocompile.cli; neurocompile.cli.main()"
    ran = _run(target, tmp_path, "-c", main, "demo", "--target", "anp-i")
    assert ran.returncode == 0, ran.stderr
    assert "NumPy reference" in ran.stdout


def test_a_build_that_fails_is_an_installation_that_fails(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    built = _build(_copied(tmp_path / "source"), tmp_path, CXX="false", CC="false")
    assert built.returncode != 0
    assert list(tmp_path.glob("*.whl")) == []


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel]
    subprocess.run(pip, check=True, capture_output=True)
    return target


def _run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the installed wheel, away from the checkout; its dependencies are this environment's."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_every_file_of_the_houses_is_in_it(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"{inside}/{file.relative_to(ROOT / house)}"
        for house, inside in HOUSES.items()
        for file in (ROOT / house).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith(".")
    }
    looked_for = {
        "neurocompile/py.typed",
        "neurocompile/targets/generic/generic.toml",
        "neurocompile/models/checkpoints/digits.pt",
        "neurocompile/models/checkpoints/digits-norse.nir",
        "neurocompile/simulator/__init__.py",
        "neurocompile/backends/__init__.py",
    }
    assert looked_for <= wanted
    assert wanted - packed == set(), "missing from the wheel: see packages and package_data in setup.cfg"
    extra = {name for name in packed - wanted if ".dist-info/" not in name}
    assert extra == set(), "in the wheel, but in no house"


def test_the_files_are_the_same(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for house, inside in HOUSES.items():
            for file in (ROOT / house).rglob("*"):
                if file.suffix in (".py", ".pt", ".nir") and "__pycache__" not in file.parts:
                    assert archive.read(f"{inside}/{file.relative_to(ROOT / house)}") == file.read_bytes(), file


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
        scripts = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
        assert any(name.endswith("LICENSE") for name in archive.namelist())
    assert "Name: neurocompile\n" in text
    assert "Apache-2.0" in text
    assert "Requires-Python: >=3.11" in text
    wanted = {line.removeprefix("Requires-Dist: ") for line in text.splitlines() if line.startswith("Requires-Dist: ")}
    plain = {line.partition(">")[0] for line in wanted if "extra ==" not in line}
    assert plain == {"click", "networkx", "numpy", "rich"}, "what a program is simulated with, and no more"
    for extra, packages in EXTRAS.items():
        for package in packages:
            name = {"sklearn": "scikit-learn", "yaml": "PyYAML"}.get(package, package)
            bounded = [line for line in wanted if line.startswith(f"{name}>=") and f'extra == "{extra}"' in line]
            assert len(bounded) == 1, f"{name} has no lower bound"
    assert f'neurocompile[{",".join(sorted(EXTRAS))}]; extra == "all"' in {
        re.sub(r"\[(.*)\]", lambda found: f"[{','.join(sorted(found[1].split(',')))}]", line) for line in wanted
    }
    assert "neurocompile = neurocompile.cli:main" in scripts


def test_it_is_the_wheel_that_is_imported(installed: Path, tmp_path: Path) -> None:
    rooms = ("simulator", "backends", "models", "cli", "program")
    names = ["neurocompile", *(f"neurocompile.{room}" for room in rooms)]
    script = f"import importlib\nfor name in {names}: print(importlib.import_module(name).__file__)"
    ran = _run(installed, tmp_path, "-c", script)
    assert ran.returncode == 0, ran.stderr
    files = ran.stdout.split()
    assert len(files) == len(names)
    assert all(Path(file).is_relative_to(installed) for file in files), files


def test_it_runs_the_demo_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    main = "import neurocompile.cli, sys; print(neurocompile.__file__, file=sys.stderr); neurocompile.cli.main()"
    ran = _run(installed, tmp_path, "-c", main, "demo", "--target", "anp-i", "--json")
    assert ran.returncode == 0, ran.stderr
    assert str(installed) in ran.stderr
    body = json.loads(ran.stdout)
    assert body["passed"] is True
    assert body["accuracy_reference"] >= 0.98
    assert set(body["targets"]) == {"anp-i"}
    assert list(tmp_path.iterdir()) == []


def test_python_m(installed: Path, tmp_path: Path) -> None:
    ran = _run(installed, tmp_path, "-m", "neurocompile", "targets", "generic", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["command"] == "targets"


def test_the_command_that_it_installs(installed: Path, tmp_path: Path) -> None:
    script = installed / "bin" / "neurocompile"
    assert script.exists()
    ran = _run(installed, tmp_path, str(script), "--version")
    assert ran.returncode == 0, ran.stderr
    assert "neurocompile" in ran.stdout


def test_the_sdist_holds_what_else_is_published(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert all((source / name).is_file() for name in IN_SDIST)


def test_an_index_takes_them(sdist: Path, wheel: Path) -> None:
    pytest.importorskip("twine")
    check = [sys.executable, "-m", "twine", "check", "--strict", sdist, wheel]
    ran = subprocess.run(check, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def _unprivileged() -> list[str]:
    """What keeps the superuser, too, from writing where nobody may."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--bounding-set=-dac_override"] if setpriv and os.geteuid() == 0 else []


def test_where_nothing_can_be_written(installed: Path, tmp_path: Path) -> None:
    """A home and a working folder that are read only, no encoding, no terminal and no input."""
    program = ROOT / "tests" / "data" / "program-v4"
    data, home, out = tmp_path / "x.npz", tmp_path / "home", tmp_path / "out"
    np.savez(data, **load_program(program).example)
    home.mkdir(mode=0o500)
    out.mkdir()
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "HOME": str(home), "LANG": "C", "LC_ALL": "C",
            "TERM": "dumb", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}  # fmt: skip
    words: tuple[tuple[str | Path, ...], ...] = (
        ("targets",),
        ("targets", "loihi"),
        ("inspect", program),
        ("simulate", program, "--data", data, "--spikes", out / "s.npz"),
        ("export", installed / "neurocompile" / "models" / "checkpoints" / "digits.pt", "-o", out / "program"),
    )
    for each in words:
        command = [*_unprivileged(), sys.executable, "-m", "neurocompile", *map(str, each)]
        ran = subprocess.run(command, cwd=home, env=bare, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert ran.returncode == 0, (each, ran.stderr.decode(errors="replace"))
        assert ran.stdout
    assert list(home.iterdir()) == []
