"""Every verb's report on pages of 80 and 120 columns, and names that look like something else."""

from __future__ import annotations

import io
import json
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn

import neurocompile
from neurocompile.cli.console import PIPED
from neurocompile.reports import Report
from neurocompile.reports.text import text
from neurocompile.reports.text.parts import Table, Verbatim
from neurocompile.targets import load_target, target_names
from tests.cli.helpers import Data, done, exported, npz, refused, run, saved, says
from tests.reports.test_layout import is_readable

CHECKPOINTS = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints"
WIDTHS = (80, 120)


def fits(report: Report) -> None:
    """Every part of a report is readable on every page."""
    for part in text(report):
        for width in () if isinstance(part, Verbatim) else WIDTHS:
            shown = is_readable(part, width)
            if isinstance(part, Table) and width == 80 and len(part.columns) > 2:
                assert any(line and not line.strip(" ─") for line in shown), f"a list, no table: {shown}"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the digits."""
    folder = tmp_path_factory.mktemp("digits")
    done("demo", "--write-data", folder / "all.npz")
    with np.load(folder / "all.npz") as arrays:
        return npz(folder / "few.npz", x=arrays["x"][:3], y=arrays["y"][:3])


@pytest.mark.parametrize("target", [name for name in target_names() if load_target(name).arithmetic])
def test_what_is_done_for_each_target(target: str, digits: Path, tmp_path: Path) -> None:
    model = CHECKPOINTS / "digits.pt"
    report = neurocompile.export(model, tmp_path / "out", target, calibrate=digits, dry_run=True)
    fits(report)
    fits(neurocompile.inspect(model, target))
    if report.errors:
        return
    neurocompile.export(model, tmp_path / "out", target, validate=False)
    fits(neurocompile.simulate(tmp_path / "out", digits))
    fits(neurocompile.inspect(tmp_path / "out"))
    fits(neurocompile.validate(tmp_path / "out", digits, reference=model, backend_samples=0, require=["recorded"]))


def test_what_is_known_of_chips_and_networks() -> None:
    fits(neurocompile.targets())
    fits(neurocompile.zoo())
    for name in target_names():
        fits(neurocompile.targets(name))
        fits(neurocompile.targets(name, toml=True))


@pytest.mark.slow
def test_a_network_that_is_measured() -> None:
    fits(neurocompile.zoo("mpbn-vgg-digits", measure=True))


def test_the_demo(tmp_path: Path) -> None:
    fits(neurocompile.demo())
    fits(neurocompile.demo(write_data=tmp_path / "d.npz"))
    fits(neurocompile.zoo("mpbn-vgg-digits", tmp_path / "m.pt"))


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_columns_is_obeyed_where_there_is_no_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch, model: Path, program: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    commands = (("targets",), ("targets", "loihi"), ("zoo",), ("inspect", program),
                ("export", model, "-o", tmp_path / "out", "--target", "loihi"))  # fmt: skip
    for command in commands:
        ran = done(*command)
        widest = max(len(line) for line in (ran.out + ran.err).splitlines())
        assert int(columns) * 0.8 < widest <= int(columns), command


@pytest.mark.parametrize("columns", [None, "", "wide", "0", "-5"])
def test_without_columns_a_page_has_its_usual_width(columns: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    widest = max(len(line) for line in done("targets", "loihi").out.splitlines())
    assert PIPED - 15 < widest <= PIPED


def test_a_target_s_file_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    file = Path(neurocompile.__file__).parent / "targets" / "loihi" / "loihi.toml"
    assert done("targets", "loihi", "--toml").out == file.read_text().rstrip() + "\n"


def test_an_encoding_without_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    with pytest.raises(SystemExit):
        neurocompile.cli.main(["targets"])
    assert b"-----" in written.getvalue()
    assert b"\\u" not in written.getvalue()


# -- names -------------------------------------------------------------------------------------------------------------

NAMES = ["[/foo]", "[bold]x[/]", "[red", "\x1b[31mred", "\u202egnp", "a\nb", "a\r", ":smile:", "a b"]


def _net(name: str) -> nn.Module:
    torch.manual_seed(0)
    parts = OrderedDict([("fc", nn.Linear(4, 6)), (name, neuron.IFNode(step_mode="m")),
                         ("out", nn.Linear(6, 3)), ("last", neuron.IFNode(step_mode="m"))])  # fmt: skip
    net = nn.Sequential(parts).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.rand_like(parameter) * 0.8)
    return net


def _printed(*arguments: object, code: int = 0) -> str:
    """What a command prints; nothing of it moves a cursor or changes a colour."""
    ran = run(*arguments)
    assert ran.code == code, ran
    said = ran.out + ran.err
    assert all(each.isprintable() or each == "\n" for each in said), said
    return said


def _commands(model: Path, out: Path, data: Path) -> Iterator[tuple[object, ...]]:
    fired = out.parent / "fired.npz"
    yield "export", model, "-o", out, "--target", "nc1", "--print-ir-after", "all"
    yield "inspect", model
    yield "inspect", out
    yield "simulate", out, "--data", data, "--spikes", fired
    yield "validate", out, "--data", data, "--reference", model, "--recorded", fired, "--backend-samples", "0"


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_may_be_called_anything(name: str, data: Data, tmp_path: Path) -> None:
    model = saved(_net(name), tmp_path / "model.pt")
    shown = name.encode("unicode_escape").decode()
    for command in _commands(model, tmp_path / "out", data.path):
        assert shown in _printed(*command), command
    wrong = npz(tmp_path / "wrong.npz", **{f"{name}?": np.zeros((12, 5, 6))})
    assert f"{shown}?" in _printed("validate", tmp_path / "out", "--data", data.path, "--recorded", wrong, code=6)
    assert name in json.loads(run("simulate", tmp_path / "out", "--data", data.path, "--json").out)["layers"][0]["name"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_may_be_called_anything(name: str, model: Path, data: Data, tmp_path: Path) -> None:
    folder = tmp_path / name.replace("/", "|")
    folder.mkdir()
    shown = "".join(folder.name.encode("unicode_escape").decode().split())

    def printed(*arguments: object, code: int = 0) -> str:
        return "".join(_printed(*arguments, code=code).split())  # a path may be longer than a line

    (folder / "m.pt").write_bytes(model.read_bytes())
    assert shown in printed("export", folder / "m.pt", "-o", folder / "out")
    assert shown in printed("export", folder / "m.pt", "-o", folder / "out", code=2)
    assert shown in printed("inspect", folder / "nothing", code=6)
    assert shown in printed("simulate", folder / "out", "--data", folder / "nothing.npz", code=6)
    assert shown in printed("demo", "--write-data", folder / "d.npz")
    assert shown in printed("zoo", "mpbn-vgg-digits", "-o", folder / "z.pt")
    assert shown in printed("targets", folder.name, code=2)
    exported(model, folder / "again")


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    model = saved(_net("a\ud800b"), tmp_path / "model.pt")
    (error,) = refused(3, "export", model, "-o", tmp_path / "out")
    says(error, where="a\ud800b", what="half a character")
    assert "a\\ud800b" in _printed("export", model, "-o", tmp_path / "out", code=3)
