"""What is written never takes the place of what is read, nor of anything else unasked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.helpers import Data, done, exported, nothing_in, one, refused, says


@pytest.fixture
def own(data: Data, tmp_path: Path) -> Path:
    """The data, as a file that may be lost."""
    (tmp_path / "d.npz").write_bytes(data.path.read_bytes())
    return tmp_path / "d.npz"


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["", "overwrite"])
def test_the_data_are_not_written_over(overwrite: tuple[str, ...], program: Path, own: Path) -> None:
    before = own.read_bytes()
    for spelled in (own, own.parent / "." / "x" / ".." / own.name):
        error = one(refused(2, "simulate", program, "--data", own, "--spikes", spelled, *overwrite))
        says(error, what="written over what is read", where="--spikes")
    link = own.with_name("link.npz")
    link.symlink_to(own)
    says(one(refused(2, "simulate", program, "--data", own, "--spikes", link, *overwrite)), where="--spikes")
    assert own.read_bytes() == before


def test_nothing_is_written_into_a_program_that_is_read(program: Path, own: Path) -> None:
    before = sorted(os.listdir(program))
    for name in ("program.json", "spikes.npz"):
        refused(2, "simulate", program, "--data", own, "--spikes", program / name, "--overwrite")
    assert sorted(os.listdir(program)) == before


def test_two_outputs_are_two_files(model: Path, own: Path, tmp_path: Path) -> None:
    core = exported(model, tmp_path / "core", "--target", "nc1")
    out = tmp_path / "out"
    error = one(refused(2, "simulate", core, "--data", own, "--spikes", out, "--timeline", out))
    says(error, where="--timeline")
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [(("demo", "--write-data"), "--write-data"), (("demo", "--write-model"), "--write-model"),
     (("zoo", "sgad-small", "-o"), "-o")],
    ids=["data", "model", "zoo"],
)  # fmt: skip
def test_what_exists_stays_unless_it_is_said(arguments: tuple[str, ...], option: str, tmp_path: Path) -> None:
    out = tmp_path / "precious"
    out.write_text("years of work")
    says(one(refused(2, *arguments, out)), what="exists already", where=option)
    assert out.read_text() == "years of work"
    nothing_in(tmp_path, ["precious"])


def test_spikes_are_replaced_if_it_is_said(program: Path, own: Path, tmp_path: Path) -> None:
    out = tmp_path / "spikes.npz"
    done("simulate", program, "--data", own, "--spikes", out)
    before = out.read_bytes()
    says(one(refused(2, "simulate", program, "--data", own, "--spikes", out)), fix="--overwrite")
    out.write_bytes(b"")
    done("simulate", program, "--data", own, "--spikes", out, "--overwrite")
    assert out.read_bytes() == before


@pytest.mark.parametrize("name", ["nowhere/out.npz", ".", "folder"])
def test_places_that_are_none(name: str, program: Path, own: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    says(
        one(refused(2, "simulate", program, "--data", own, "--spikes", tmp_path / name, "--overwrite")),
        where="--spikes",
    )
    nothing_in(tmp_path, ["d.npz", "folder"])


def test_devices_are_not_replaced(program: Path, own: Path) -> None:
    says(one(refused(2, "simulate", program, "--data", own, "--spikes", "/dev/null", "--overwrite")), what="device")
    assert not Path("/dev/null").is_file()


def test_a_program_is_not_replaced_with_the_model_in_it(model: Path, tmp_path: Path) -> None:
    out = exported(model, tmp_path / "out")
    inside = out / "m.pt"
    inside.write_bytes(model.read_bytes())
    says(one(refused(2, "export", inside, "-o", out, "--overwrite")), what="what is read in it")
    assert inside.exists()


def test_a_program_is_not_replaced_with_other_files_in_it(model: Path, tmp_path: Path) -> None:
    out = exported(model, tmp_path / "out")
    (out / "notes").mkdir()
    (out / "notes" / "thesis.tex").write_text("years of work")
    says(one(refused(2, "export", model, "-o", out, "--overwrite")), actual="notes/thesis.tex")
    assert (out / "notes" / "thesis.tex").exists()


@pytest.mark.parametrize("name", ["graph.txt", "rtl/Makefile"])
def test_altered_files_beside_the_program_are_noticed(name: str, model: Path, own: Path, tmp_path: Path) -> None:
    out = exported(model, tmp_path / "core", "--target", "nc1")
    content = (out / name).read_bytes()
    (out / name).write_bytes(content + b"#")
    says(one(refused(6, "simulate", out, "--data", own)), what="altered", where=name)
    (out / name).unlink()  # what is only for other tools may be elsewhere
    done("simulate", out, "--data", own)
