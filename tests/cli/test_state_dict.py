"""A state_dict needs the function that makes its module."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.cli.helpers import PICKLED, done, nothing_in, one, pickled, refused, result, says, small_data, small_net

ARCH = ("--arch", "tests.cli.test_state_dict:factory")


def factory() -> nn.Module:
    """The architecture; its weights are not those of the file."""
    return small_net(seed=9)


def needs_an_argument(width: int) -> nn.Module:
    return nn.Linear(width, width)


def makes_no_module() -> int:
    return 3


def raises() -> nn.Module:
    raise RuntimeError("no data set here")


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(6))


NO_FUNCTION = 5


@pytest.fixture
def state(tmp_path: Path) -> Path:
    torch.save(small_net().state_dict(), tmp_path / "state.pt")
    return tmp_path / "state.pt"


def test_without_arch(state: Path, tmp_path: Path) -> None:
    error = one(refused(6, "export", state, "-o", tmp_path / "out", *PICKLED))
    says(error, what="state_dict", where=str(state), fix="--arch")
    nothing_in(tmp_path, ["state.pt"])


def test_with_arch_it_is_the_same_as_the_module(state: Path, tmp_path: Path) -> None:
    done("export", state, *ARCH, *PICKLED, "-o", tmp_path / "a")
    done("export", pickled(small_net(), tmp_path / "module.pt"), *PICKLED, "-o", tmp_path / "b")
    for name in ("program.json", "arrays.npz", "graph.txt"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_factory_may_make_it_in_training_mode(tmp_path: Path) -> None:
    """A state_dict knows no mode, so the module that is made for it is put into eval mode."""
    torch.save(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)).state_dict(), tmp_path / "state.pt")
    done("export", tmp_path / "state.pt", "--arch", "tests.cli.test_state_dict:in_training", *PICKLED,
         "-o", tmp_path / "out")  # fmt: skip


def in_training() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)).train()


def test_as_a_reference(state: Path, tmp_path: Path) -> None:
    done("export", state, *ARCH, *PICKLED, "-o", tmp_path / "out")
    data = small_data(tmp_path / "x.npz")
    assert result("validate", tmp_path / "out", "--reference", state, *ARCH, "--data", data.path)["passed"]
    says(one(refused(6, "validate", tmp_path / "out", "--reference", state, "--data", data.path)), fix="--arch")


def test_arch_without_shape_and_steps(state: Path) -> None:
    assert len(refused(2, "export", state, *ARCH)) == 2


@pytest.mark.parametrize(
    "arch",
    ["", "nonsense", ":factory", "tests.cli.test_state_dict", "tests.cli.test_state_dict:", "no.such.module:factory",
     "tests.cli.test_state_dict:no_such_function", "tests.cli.test_state_dict:needs_an_argument",
     "tests.cli.test_state_dict:makes_no_module", "tests.cli.test_state_dict:raises",
     "tests.cli.test_state_dict:NO_FUNCTION", "tests/cli/test_state_dict.py:factory"],
)  # fmt: skip
def test_an_arch_that_makes_nothing(arch: str, state: Path, tmp_path: Path) -> None:
    error = one(refused(2, "export", state, f"--arch={arch}", *PICKLED, "-o", tmp_path / "out"))
    assert "--arch" in error["where"] + error["what"] + error["fix"]
    says(error)
    nothing_in(tmp_path, ["state.pt"])


def wider() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 7), nn.Identity(), nn.Linear(7, 3))


def deeper() -> nn.Module:
    return nn.Sequential(small_net(), nn.Linear(3, 3))


@pytest.mark.parametrize("arch", ["wider", "deeper"])
def test_weights_of_another_architecture(arch: str, state: Path, tmp_path: Path) -> None:
    error = one(refused(6, "export", state, "--arch", f"tests.cli.test_state_dict:{arch}", *PICKLED))
    says(error, what="do not belong", where=str(state))
    assert "0" in error["what"], "which weights"
    nothing_in(tmp_path, ["state.pt"])


def test_nan_in_a_state_dict(tmp_path: Path) -> None:
    state = small_net().state_dict()
    state["2.weight"][0, 0] = float("nan")
    torch.save(state, tmp_path / "state.pt")
    says(one(refused(6, "export", tmp_path / "state.pt", *ARCH, *PICKLED)), where="2.weight")


def test_arch_in_the_folder_one_is_in(state: Path, tmp_path: Path) -> None:
    """`--arch mynet:factory` with mynet.py beside the user, by the installed command, which has no such path."""
    (tmp_path / "mynet.py").write_text("from tests.cli.helpers import small_net\nfactory = small_net\n")
    script = Path(sys.executable).with_name("neurocompile")
    if not script.exists():
        pytest.skip("the command is not installed beside this interpreter")
    ended = subprocess.run(
        [script, "export", state, "--arch", "mynet:factory", *PICKLED, "-o", tmp_path / "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
