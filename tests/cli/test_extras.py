"""Without the packages of an extra: what needs none of them works, what needs one names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

import neurocompile
from neurocompile.extras import EXTRAS
from tests.cli.helpers import Data, done, nothing_in
from tests.test_hosted import given, in_torch_layout, mixed

ALL = {package for packages in EXTRAS.values() for package in packages} | {"scipy", "torchvision"}

_WITHOUT = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {missing!r} else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
{statement}
"""


def python(missing: Collection[str], statement: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A statement in a process that has not got some packages."""
    script = _WITHOUT.format(missing=set(missing), statement=statement)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=cwd, env=environment)


def command(missing: Collection[str], cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command, likewise."""
    words = [str(argument) for argument in arguments]
    return python(missing, f"from neurocompile.cli import main; main({words!r})", cwd)


_EACH = """
import contextlib, io, json
from neurocompile.cli import main
ended = []
for words in {many!r}:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as stop:
            ended.append((stop.code, out.getvalue(), err.getvalue()))
print(json.dumps(ended))
"""


def commands(
    missing: Collection[str], cwd: Path, many: Sequence[Sequence[object]]
) -> list[subprocess.CompletedProcess[str]]:
    """Several commands, one after the other in one such process."""
    words = [[str(argument) for argument in arguments] for arguments in many]
    ran = python(missing, _EACH.format(many=words), cwd)
    assert ran.returncode == 0, ran.stderr
    ended = json.loads(ran.stdout)
    assert len(ended) == len(words)
    return [subprocess.CompletedProcess(args, *each) for args, each in zip(words, ended)]


def names(ran: subprocess.CompletedProcess[str], extra: str) -> None:
    """Check that a command failed with an extra to install, and with nothing else."""
    assert ran.returncode == 1, ran
    body = json.loads(ran.stdout)
    (error,) = body["errors"]
    assert error["fix"] == f"pip install 'neurocompile[{extra}]'", error
    assert "is not installed" in error["what"]
    assert "Traceback" not in ran.stderr
    assert "internal error" not in ran.stdout


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with host regions."""
    path = tmp_path_factory.mktemp("hosted") / "mixed.pt"
    neurocompile.save(mixed(), path, in_torch_layout(given()), layout="TN")
    return path


@pytest.mark.parametrize("real", [(), ("--real",), ("--reference",)], ids=str)
def test_simulate_needs_none(program: Path, data: Data, tmp_path: Path, real: tuple[str, ...]) -> None:
    ran = command(ALL, tmp_path, "simulate", program, "--data", data.path, *real, "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    here = done("simulate", program, "--data", data.path, *real, "--json").json
    body = json.loads(ran.stdout)
    assert body["accuracy"] == here["accuracy"]
    assert body["layers"] == here["layers"]


def test_the_other_verbs_of_a_program_need_none(program: Path, data: Data, tmp_path: Path) -> None:
    done("simulate", program, "--data", data.path, "--spikes", tmp_path / "spikes.npz")
    verbs: list[tuple[object, ...]] = [
        ("--help",),
        ("targets",),
        ("targets", "loihi"),
        ("inspect", program),
        ("validate", program, "--recorded", tmp_path / "spikes.npz", "--data", data.path),
    ]
    for ran in commands(ALL, tmp_path, verbs):
        assert ran.returncode == 0, ran
        assert ran.stdout


@pytest.mark.parametrize("package", EXTRAS["torch"])
def test_models_need_torch(package: str, model: Path, program: Path, data: Data, tmp_path: Path) -> None:
    verbs: list[tuple[object, ...]] = [
        ("export", model, "-o", tmp_path / "out"),
        ("inspect", model),
        ("validate", program, "--reference", model, "--data", data.path),
        ("explore", model, "--data", data.path),
        ("zoo",),
        ("demo",),
    ]
    for ran in commands({package}, tmp_path, [(*words, "--json") for words in verbs]):
        names(ran, "torch")
    nothing_in(tmp_path)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    for ran in commands(ALL, tmp_path, [(verb, "none.pt", "--json") for verb in ("export", "inspect")]):
        assert ran.returncode == 6
        assert json.loads(ran.stdout)["errors"][0]["what"] == "no such file"


@pytest.mark.parametrize("package", EXTRAS["cluster"])
def test_a_cluster_needs_dask(package: str, program: Path, data: Data, tmp_path: Path) -> None:
    words = ("simulate", program, "--data", data.path, "--scheduler", "tcp://127.0.0.1:1", "--json")
    names(command({package}, tmp_path, *words), "cluster")


def test_zarr_needs_zarr(program: Path, tmp_path: Path) -> None:
    (tmp_path / ".zgroup").write_text('{"zarr_format": 2}')
    names(command({"zarr"}, tmp_path, "simulate", program, "--data", tmp_path, "--json"), "zarr")


@pytest.mark.parametrize("package", EXTRAS["data"])
def test_the_demo_needs_data(package: str, tmp_path: Path) -> None:
    names(command({package}, tmp_path, "demo", "--json"), "data")


@pytest.mark.parametrize("package", EXTRAS["netx"])
def test_net_files_need_netx(package: str, model: Path, tmp_path: Path) -> None:
    words = ("export", model, "--target", "loihi", "-o", tmp_path / "out", "--json")
    refused, plain = commands({package}, tmp_path, [(*words, "--emit", "netx"), words])
    names(refused, "netx")
    assert plain.returncode == 0
    nothing_in(tmp_path, ["out"])
    assert not (tmp_path / "out" / "netx").exists()


@pytest.mark.parametrize("package", EXTRAS["host"])
def test_host_regions_need_host(package: str, model: Path, tmp_path: Path) -> None:
    save = f"""
import neurocompile, traceback
from neurocompile.cli import main
from neurocompile.errors import ToolFailed
from tests.test_hosted import given, in_torch_layout, mixed
try:
    neurocompile.save(mixed(), "m.pt", in_torch_layout(given()), layout="TN")
except ToolFailed:
    traceback.print_exc()
    main(["export", {str(model)!r}, "-o", "plain"])
"""
    ran = python({package}, save, tmp_path)
    assert "pip install 'neurocompile[host]'" in ran.stderr, ran
    assert not (tmp_path / "m.pt").exists()
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "plain").is_dir()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_running_host_regions_needs_host(package: str, hosted: Path, tmp_path: Path) -> None:
    import numpy as np

    done("export", hosted, "-o", tmp_path / "out", "--no-validate")
    np.savez(tmp_path / "x.npz", **given(4, seed=2))
    words = ("simulate", tmp_path / "out", "--data", tmp_path / "x.npz", "--json")
    names(command({package}, tmp_path, *words), "host")
    assert command(ALL - {"onnx", "onnxruntime"}, tmp_path, *words).returncode == 0


@pytest.mark.parametrize("name", ["save", "neuron", "equation", "host", "membrane"])
def test_python_names_the_extra(name: str, tmp_path: Path) -> None:
    ran = python({"torch"}, f"import neurocompile; neurocompile.{name}", tmp_path)
    assert "ToolFailed: " in ran.stderr
    assert "pip install 'neurocompile[torch]'" in ran.stderr


def test_a_package_of_no_extra_is_named_too(model: Path, tmp_path: Path) -> None:
    ran = command({"loguru"}, tmp_path, "inspect", model, "--json")
    if ran.returncode:  # some versions of SpikingJelly import it
        assert json.loads(ran.stdout)["errors"][0]["fix"] == "pip install loguru"


def test_nir_files_need_nir(model: Path, tmp_path: Path) -> None:
    """And no other model does: every file is asked whether it is one."""
    file = Path(__file__).parents[1] / "data" / "nir" / "norse-iaf.nir"
    read = ("inspect", file, "--dialect", "norse-1.1", "--timesteps", "3", "--json")
    plain = ("export", model, "-o", tmp_path / "plain", "--json")
    refused, ran = commands({"h5py"}, tmp_path, [read, plain])
    names(refused, "nir")
    assert ran.returncode == 0, ran


@pytest.mark.parametrize("package", EXTRAS["report"])
def test_pages_and_pictures_of_explore_need_report(package: str, model: Path, data: Data, tmp_path: Path) -> None:
    words = ("explore", model, "--data", data.path, "--bits", "4,8", "--targets", "anp-i", "--json")
    several = [(*words, "-o", "page.html"), (*words, "--picture", "front.svg"), (*words, "--csv", "points.csv")]
    page, picture, plain = commands({package}, tmp_path, several)
    names(page, "report")
    names(picture, "report")
    assert plain.returncode == 0, plain
    nothing_in(tmp_path, ["points.csv"])


def test_a_table_of_explore_needs_pandas(model: Path, data: Data, tmp_path: Path) -> None:
    sweep = f"import neurocompile; neurocompile.explore({str(model)!r}, {str(data.path)!r}, bits=(8,), targets='anp-i')"
    ran = python({"pandas"}, f"{sweep}.table()", tmp_path)
    assert "ToolFailed: table(): pandas is not installed" in ran.stderr
    assert "pip install pandas" in ran.stderr


@pytest.mark.parametrize("package", EXTRAS["sanafe"])
def test_architectures_of_sanafe_need_sanafe(package: str, tmp_path: Path) -> None:
    (tmp_path / "arch.yaml").write_text("architecture: {}")
    names(command({package}, tmp_path, "targets", "--import-sanafe", "arch.yaml", "-o", "a.toml", "--json"), "sanafe")
    nothing_in(tmp_path, ["arch.yaml"])


@pytest.mark.parametrize("package", EXTRAS["onnx"])
def test_onnx_files_need_onnx(package: str, model: Path, program: Path, data: Data, tmp_path: Path) -> None:
    """Where it is missing, the stage says so, and all others run."""
    words = ("export", model, "-o", tmp_path / "out", "--emit", "onnx", "--json")
    check = ("validate", program, "--data", data.path, "--reference", model, "--json")
    written, checked = commands({package}, tmp_path, [words, check])
    if package == "onnx":
        names(written, "onnx")
    assert written.returncode == (1 if package == "onnx" else 0)
    assert checked.returncode == 0
    stage = next(each for each in json.loads(checked.stdout)["stages"] if each["name"] == "onnx")
    assert stage["passed"] is None
    assert "pip install 'neurocompile[onnx]'" in stage["reason"]
