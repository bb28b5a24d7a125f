"""Nothing is written over, and nothing half-written is left."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from spikingjelly.activation_based import layer, neuron
from torch import nn

import neurocompile
from neurocompile.errors import ToolFailed
from tests.cli.helpers import (
    Data,
    command,
    done,
    exported,
    nothing_in,
    one,
    refused,
    result,
    run,
    saved,
    says,
    small_net,
)

ROOT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# -- what exists -----------------------------------------------------------------------------------------------------


def test_a_program_is_not_written_over(model: Path, tmp_path: Path) -> None:
    out = exported(model, tmp_path / "out")
    before = contents(out)
    error = one(refused(2, "export", model, "-o", out, "--bits", "4"))
    says(error, what="exists", where=str(out), fix="--overwrite")
    assert contents(out) == before


def test_unless_it_is_asked_for(model: Path, tmp_path: Path) -> None:
    out = exported(model, tmp_path / "out")
    done("export", model, "-o", out, "--input-bits", "6", "--overwrite")
    assert sorted(contents(out)) == ["arrays.npz", "graph.txt", "program.json"]
    assert json.loads((out / "program.json").read_text())["settings"]["input_bits"] == 6
    nothing_in(tmp_path, ["out"])


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling link"])
def test_what_is_no_program_is_never_replaced(kind: str, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    if kind == "folder":
        precious.rename(out)
        precious = out
    elif kind == "file":
        out.write_text("years of work")
    else:
        out.symlink_to(precious if kind == "link" else tmp_path / "nowhere")
    before = contents(tmp_path)
    error = one(refused(2, "export", model, "-o", out, "--overwrite"))
    says(error, where=str(out), fix="remove it yourself")
    assert contents(tmp_path) == before
    says(one(refused(2, "export", model, "-o", out)), where=str(out))
    assert contents(tmp_path) == before
    assert out.is_symlink() is (kind.endswith("link"))


@pytest.mark.parametrize("text", ['{"name": "my own project"}', "", "[]", "not json"])
def test_a_folder_with_a_program_json_of_its_own_is_no_program(text: str, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "program.json").write_text(text)
    (out / "thesis.tex").write_text("years of work")
    before = contents(out)
    says(one(refused(2, "export", model, "-o", out, "--overwrite")), where=str(out))
    assert contents(out) == before


def test_a_link_to_a_program(model: Path, tmp_path: Path) -> None:
    """Either the link is followed or it is replaced; nothing else is left, and the program behind it is whole."""
    behind, out = exported(model, tmp_path / "behind"), tmp_path / "out"
    out.symlink_to(behind)
    done("export", model, "-o", out, "--overwrite", "--input-bits", "6")
    assert json.loads((out / "program.json").read_text())["settings"]["input_bits"] == 6
    assert result("inspect", behind)["ok"]
    nothing_in(tmp_path, ["behind", "out"])


def test_an_altered_program_may_be_replaced(model: Path, tmp_path: Path) -> None:
    out = exported(model, tmp_path / "out")
    (out / "arrays.npz").write_bytes(b"")
    done("export", model, "-o", out, "--overwrite")
    assert result("inspect", out)["ok"]


def test_it_is_refused_before_the_work_is_done(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    error = one(refused(2, "export", tmp_path / "no-model.pt", "-o", tmp_path / "out"))
    says(error, what="exists")


def test_the_folder_above_is_made(model: Path, tmp_path: Path) -> None:
    done("export", model, "-o", tmp_path / "a" / "b" / "out")
    assert result("inspect", tmp_path / "a" / "b" / "out")["ok"]


def test_the_folder_above_is_a_file(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = one(refused(1, "export", model, "-o", tmp_path / "file" / "out"))
    says(error, where=str(tmp_path / "file" / "out"))
    nothing_in(tmp_path, ["file"])


def test_without_o_it_is_named_after_the_model(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert result("export", model)["program"] == "small"
    nothing_in(tmp_path, ["small"])


def test_names_of_all_kinds(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("out/", "./there/../third", "here/.hidden", "with a space", "with.dots.pt"):
        done("export", model, "-o", name)
        assert result("inspect", name)["ok"], name


@pytest.mark.parametrize("name", [".", "", "../here"])
def test_the_folder_that_one_is_in(name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    says(one(refused(2, "export", model, "-o", name)), what="exists")
    ran = run("export", model, "-o", name, "--overwrite")
    assert ran.code in (0, 1, 2), ran
    assert "internal" not in ran.err
    assert sorted(contents(here)) == (["arrays.npz", "graph.txt", "program.json"] if ran.code == 0 else [])
    nothing_in(tmp_path, ["here"])


def test_dry_run_writes_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    body = result("export", model, "--dry-run")
    assert body["program"] is None
    assert body["files"] == []
    assert body["neurons"] > 0
    nothing_in(tmp_path)


# -- the same bytes --------------------------------------------------------------------------------------------------


def test_exporting_twice_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    first, second = exported(model, tmp_path / "a"), exported(model, tmp_path / "b")
    assert contents(first) == contents(second)


def test_so_does_another_process_with_another_hash_seed(model: Path, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed}
        arguments = command("export", model, "-o", tmp_path / seed)
        subprocess.run(arguments, check=True, env=environment, capture_output=True)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(exported(model, tmp_path / "3"))


def test_so_does_a_model_that_was_saved_twice(tmp_path: Path) -> None:
    programs = [exported(saved(small_net(), tmp_path / f"{n}.pt"), tmp_path / n) for n in ("a", "b")]
    assert contents(programs[0]) == contents(programs[1])


def test_no_path_and_no_name_of_the_machine_is_in_it(model: Path, tmp_path: Path) -> None:
    texts = contents(exported(model, tmp_path / "out"))
    assert all(str(tmp_path).encode() not in text for text in texts.values())
    assert all(str(model).encode() not in text for text in texts.values())


# -- a full disk -----------------------------------------------------------------------------------------------------


class FullDisk:
    """Lets so many bytes through, then there is no space left."""

    def __init__(self, space: int) -> None:
        self.left = space

    def fsync(self, handle: int) -> None:
        self.left -= os.fstat(handle).st_size
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("space", [0, 1000, 4000, 9000])
@pytest.mark.parametrize("there_is_one", [False, True], ids=["new", "overwrite"])
def test_the_disk_is_full(
    there_is_one: bool, space: int, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    if there_is_one:
        exported(model, out)
        before = contents(out)
        space = min(space, sum(map(len, before.values())) - 1)
    disk = FullDisk(space)
    monkeypatch.setattr("neurocompile.files.writing.os.fsync", disk.fsync)
    for more in ((), ("--json",)):
        disk.left = space
        ended = run("export", model, "-o", out, "--input-bits", "6", "--overwrite", *more)
        assert ended.code == 1, ended
        assert "No space left" in ended.out + ended.err
        assert "internal error" not in ended.out + ended.err
        if there_is_one:
            assert contents(out) == before
            nothing_in(tmp_path, ["out"])
        else:
            nothing_in(tmp_path)
    error = one(ended.json["errors"])
    says(error, what="cannot write the program", where=str(out), fix="free some space")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.EIO, "Input/output error")], ids=["Ctrl-C", "EIO"])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_the_old_program_survives_whatever_stops_the_new_one(
    at: int, error: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted at any of the steps in which the new folder takes the place of the old one."""
    out = exported(model, tmp_path / "out")
    before = contents(out)
    calls = [0]

    def counted(real: Any) -> Any:
        def step(*arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] - 1 == at:
                raise error
            return real(*arguments, **named)

        return step

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    ended = run("export", model, "-o", out, "--overwrite", "--input-bits", "6")
    monkeypatch.undo()
    assert ended.code in (0, 1, 130)
    if ended.code == 0:
        assert contents(out) != before
    elif contents(out) != before:
        assert result("inspect", out)["ok"]
    nothing_in(tmp_path, ["out"])


def _limited(size: int) -> Any:
    """For a process that may write no file larger than ``size``; it is told so by an error, not by a signal."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def _run_limited(size: int, *arguments: object) -> dict[str, Any]:
    done_ = subprocess.run(
        command(*arguments, "--json"), capture_output=True, text=True, preexec_fn=_limited(size), check=False
    )
    assert done_.returncode == 1, done_
    assert "Traceback" not in done_.stderr
    body: dict[str, Any] = json.loads(done_.stdout)
    assert body["ok"] is False
    return body


def test_a_file_that_cannot_be_written_whole(model: Path, tmp_path: Path) -> None:
    """With a limit of the kernel instead of a function that was replaced."""
    out = tmp_path / "out"
    error = one(_run_limited(1500, "export", model, "-o", out)["errors"])
    says(error, what="cannot write the program", where=str(out))
    nothing_in(tmp_path)


def test_spikes_that_cannot_be_written_whole(program: Path, data: Data, tmp_path: Path) -> None:
    file = tmp_path / "spikes.npz"
    error = one(_run_limited(200, "simulate", program, "--data", data.path, "--spikes", file)["errors"])
    says(error, where=str(file))
    nothing_in(tmp_path)


def test_digits_that_cannot_be_written_whole(tmp_path: Path) -> None:
    error = one(_run_limited(5000, "demo", "--write-data", tmp_path / "digits.npz")["errors"])
    says(error, where="digits.npz")
    nothing_in(tmp_path)


@pytest.mark.parametrize("target", ["nowhere/spikes.npz", "file/spikes.npz", "folder"])
def test_spikes_to_a_place_that_is_none(target: str, program: Path, data: Data, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    error = one(refused(2, "simulate", program, "--data", data.path, "--spikes", tmp_path / target))
    assert str(tmp_path / target) in error["where"], error
    nothing_in(tmp_path, ["file", "folder"])


def test_a_model_that_cannot_be_written_whole(tmp_path: Path) -> None:
    script = f"""
import pathlib
from neurocompile.errors import ToolFailed
from tests.cli.helpers import saved, small_net
try:
    saved(small_net(), pathlib.Path({str(tmp_path / "model.pt")!r}))
except ToolFailed as error:
    print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, preexec_fn=_limited(1000), check=True
    )
    assert str(tmp_path / "model.pt") in ended.stdout
    nothing_in(tmp_path)


def test_a_model_saved_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match="nowhere"):
        saved(small_net(), tmp_path / "nowhere" / "model.pt")


def test_a_model_file_is_not_touched_if_saving_fails(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(model.read_bytes())
    net = nn.Sequential(layer.Linear(4, 3, step_mode="m"), nn.PReLU(), neuron.IFNode(step_mode="m")).eval()
    with pytest.raises(neurocompile.errors.UnsupportedModel):
        saved(net, file)
    assert file.read_bytes() == model.read_bytes()
    nothing_in(tmp_path, ["model.pt"])
