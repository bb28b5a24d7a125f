"""A frontend that another package brings: installed, found by its entry point, asked by content."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurocompile.errors import BadInput
from neurocompile.frontends import load_model
from tests.cli.helpers import refused, saved, small_net

PACKAGE = Path(__file__).parents[1] / "packages" / "toy_frontend"
INPUTS, UNITS, STEPS = 5, 4, 6


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's package, installed as pip does."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "toy_frontend.py"):
        (source / name).write_text((PACKAGE / name).read_text())
    subprocess.run([*pip, "--no-build-isolation", "--target", site, source], check=True)
    return site


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A toy in a file whose name says something else."""
    random = np.random.default_rng(0)
    said = {"toy": 1, "timesteps": STEPS, "weights": random.normal(0.2, 0.6, (UNITS, INPUTS)).tolist(), "decay": 0.75,
            "threshold": 1.0, "example": random.uniform(0, 1, (16, INPUTS)).round(2).tolist()}  # fmt: skip
    (tmp_path / "net.pt").write_text(json.dumps(said))
    return tmp_path / "net.pt"


def python(site: Path, folder: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def cli(site: Path, folder: Path, *arguments: object) -> dict[str, Any]:
    ran = python(site, folder, "from neurocompile.cli import main; main()", *arguments, "--json")
    assert ran.returncode == 0, ran
    body: dict[str, Any] = json.loads(ran.stdout)
    return body


def test_every_verb_takes_it(site: Path, net: Path) -> None:
    folder = net.parent
    stages = cli(site, folder, "export", net, "--target", "generic", "-o", "out")["validate"]["stages"]
    assert stages[0]["name"] == "lowering"
    assert stages[0]["passed"] is True
    assert (stages[0]["compared"], stages[0]["mismatches"]) == (16 * STEPS * UNITS, 0)
    assert 0.1 < stages[0]["firing_rates"]["lif"] < 0.9

    x = np.random.default_rng(1).uniform(0, 1, (8, STEPS, INPUTS))  # another at each step
    np.savez(folder / "x.npz", x=x)
    stages = cli(site, folder, "validate", "out", "--reference", net, "--data", "x.npz")["stages"]
    assert (stages[0]["compared"], stages[0]["mismatches"]) == (8 * STEPS * UNITS, 0)
    assert any("lif : " in line for line in cli(site, folder, "inspect", net)["graph"])


def test_a_difference_is_found(site: Path, net: Path) -> None:
    cli(site, net.parent, "export", net, "-o", "out")
    other = {**json.loads(net.read_text()), "threshold": 0.9}
    (net.parent / "other").write_text(json.dumps(other))
    main = "from neurocompile.cli import main; main()"
    ran = python(site, net.parent, main, "validate", "out", "--reference", "other", "--json")
    assert ran.returncode == 5
    assert json.loads(ran.stdout)["stages"][0]["mismatches"] > 0


def test_its_settings_reach_it(site: Path, net: Path) -> None:
    main = "from neurocompile.cli import main; main()"
    ran = python(site, net.parent, main, "export", net, "--layout", "NT", "-o", "out")
    assert ran.returncode == 2
    assert "a toy has one layout only" in ran.stderr
    assert cli(site, net.parent, "inspect", net, "--timesteps", "3")["timesteps"] == 3


def test_torch_is_not_imported_for_it(site: Path, net: Path) -> None:
    code = """
import json, sys
from pathlib import Path
import neurocompile
from neurocompile.frontends import live_model, load_model
path = Path(sys.argv[1])
assert type(load_model(path)).__name__ == "ToyModel"
assert neurocompile.compile(path).timesteps == 6
assert live_model(json.loads(path.read_text()), timesteps=2).timesteps == 2
assert "torch" not in sys.modules
"""
    ran = python(site, net.parent, code, net)
    assert ran.returncode == 0, ran.stderr


def test_models_of_torch_stay_what_they_are(site: Path, net: Path) -> None:
    model = saved(small_net(), net.parent / "small.json")
    body = cli(site, net.parent, "export", model, "-o", "out")
    assert body["validate"]["passed"] is True


def test_without_the_package_it_is_no_model(net: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read as a torch file"):
        load_model(net)
    (error,) = refused(6, "export", net, "-o", tmp_path / "out")
    assert error["what"].startswith("cannot be read as a torch file")
