"""The bundle as a user gets it: a folder that Python 3.10 runs with Lava alone."""

from __future__ import annotations

import json
import os
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from neurocompile.backends.lava import bundle_files, plan_of
from neurocompile.compiler import Options, compile_graph
from neurocompile.frontends import load_model
from neurocompile.models.digits import load_digits_split
from neurocompile.program import Program
from neurocompile.simulator import simulate_integers
from tests.backends.lava.against import need_lava, write_bundle

STOCK = {
    "from lava.proc.conv.process import Conv",
    "from lava.proc.dense.process import Dense",
    "from lava.proc.io import source",
    "from lava.proc.lif.process import LIFReset",
    "from lava.proc.sparse.process import DelaySparse",
    "from lava.proc.sparse.process import Sparse",
    "from lava.utils.weightutils import SignMode",
}


def program_of(name: str, target: str) -> Program:
    with resources.as_file(resources.files("neurocompile.models") / "checkpoints" / f"{name}.pt") as file:
        model = load_model(file)
    return compile_graph(model.graph, target, model.timesteps, Options(), example=model.example)


def run(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """run.py in Lava's interpreter, which knows nothing of this project."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [need_lava(), "run.py", *map(str, options)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_digits_use_stock_processes_only() -> None:
    for target in ("loihi", "loihi2"):
        program = program_of("digits", target)
        plan = plan_of(program)
        assert plan.own == []
        assert plan.pools == ()
        text = bundle_files(program)["network.py"].decode()
        imports = {line for line in text.splitlines() if line.startswith(("from", "import"))}
        assert imports - {"import numpy as np", "from scipy.sparse import csr_matrix"} <= STOCK
        assert "own." not in text


def test_layers_of_our_own_are_named_with_the_way_out() -> None:
    plan = plan_of(program_of("digits-spikingjelly", "loihi2"))
    assert [population.name for population in plan.own] == ["neuron1", "neuron2", "neuron3", "neuron4"]
    for population in plan.own:
        (missing,) = population.missing
        assert "different decays" in missing.what
        assert "MPBN" in missing.fix


@pytest.mark.parametrize("target", ["loihi", "loihi2"])
def test_it_runs_without_this_project(target: str, tmp_path: Path) -> None:
    program = program_of("digits", target)
    folder = write_bundle(program, tmp_path)
    assert subprocess.run([need_lava(), "-c", "import neurocompile"], capture_output=True, cwd=tmp_path).returncode
    ran = run(folder, "--samples", 2, "--membranes", "--out", tmp_path / "out.npz")
    assert ran.returncode == 0, ran.stderr
    assert "0 of 29184 spikes differ from neurocompile's simulator" in ran.stdout
    with np.load(tmp_path / "out.npz") as archive:
        assert archive["spikes/neuron2"].shape == (2, 4, 32, 8, 8)
        assert archive["membranes/neuron2"].shape == (2, 4, 32, 8, 8)
        assert archive["outputs/output"].shape == (2, 10)


def test_it_takes_real_data_and_says_how_accurate_it_was(tmp_path: Path) -> None:
    program = program_of("digits", "loihi2")
    folder = write_bundle(program, tmp_path / "lava")
    _, _, x, y = load_digits_split()
    np.savez(tmp_path / "x.npz", x=x[:4], y=y[:4])
    ran = run(folder, "--data", tmp_path / "x.npz", "--out", tmp_path / "out.npz")
    assert ran.returncode == 0, ran.stderr
    whole, _ = program.integers({"x_seq": np.broadcast_to(x[:4, None], (4, 4, 1, 8, 8))})
    known = simulate_integers(program.integer, program.arithmetic, whole)
    right = float((known.outputs["output"].argmax(1) == y[:4]).mean())
    assert f"accuracy {right:.2%}" in ran.stdout
    with np.load(tmp_path / "out.npz") as archive:
        np.testing.assert_array_equal(archive["outputs/output"], known.outputs["output"])


def test_bad_data_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = write_bundle(program_of("digits", "loihi2"), tmp_path / "lava")
    good = np.zeros((2, 1, 8, 8))
    cases = {
        "NaN": good * np.nan,
        "no sample": good[:0],
        "labels are one whole number": good,
    }
    for said, x in cases.items():
        np.savez(tmp_path / "x.npz", x=x, y=np.zeros(1, np.int64))
        ran = run(folder, "--data", tmp_path / "x.npz")
        assert said in ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
    (tmp_path / "x.npz").write_bytes(b"nothing")
    for options, said in (
        (("--data", tmp_path / "x.npz"), "cannot be read"),
        (("--data", tmp_path / "none.npz"), "no such file"),
        (("--samples", 0), "at least 1"),
    ):
        ran = run(folder, *options)
        assert ran.returncode == 2
        assert said in ran.stderr
        assert "Traceback" not in ran.stderr


def test_the_same_program_gives_the_same_bytes() -> None:
    assert bundle_files(program_of("digits", "loihi")) == bundle_files(program_of("digits", "loihi"))


def test_a_changed_bundle_is_noticed(tmp_path: Path) -> None:
    folder = write_bundle(program_of("digits", "loihi"), tmp_path)
    with np.load(folder / "arrays.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["conv2.weight"] = -arrays["conv2.weight"]
    np.savez(folder / "arrays.npz", **arrays)
    ran = run(folder, "--samples", 2)
    assert ran.returncode == 1
    assert "0 of" not in ran.stdout


def test_the_readme_says_what_runs_where() -> None:
    text = bundle_files(program_of("digits-spikingjelly", "loihi"))["README.md"].decode()
    assert "| neuron1 | run.py, on the host | 0 |" in text
    assert "| neuron2 | own/neuron.py, CPU simulation only | 1 |" in text
    assert "| output.integrator | Lava's LIF | 4 |" in text


def test_bundle_json_is_plain() -> None:
    body = json.loads(bundle_files(program_of("digits", "loihi2"))["bundle.json"])
    assert body["latency"] == 5
    assert [layer["depth"] for layer in body["layers"]] == [1, 2, 3, 4, 5]
