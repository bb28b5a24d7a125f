"""The papers' networks on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from neurocompile.models.zoo import ZOO
from tests.cli.helpers import run, says


def test_the_list_has_every_network() -> None:
    ran = run("zoo", "--json")
    assert ran.code == 0
    listed = {row["name"]: row for row in ran.json["networks"]}
    assert list(listed) == list(ZOO)
    assert listed["mpbn-resnet34"]["inputs"] == [[3, 224, 224]]
    assert listed["sddpm-cifar10"]["inputs"] == [[3, 32, 32], []]
    assert all(row["source"] and row["timesteps"] >= 1 for row in listed.values())
    papers = {row["paper"] for row in listed.values() if row["size"] == "paper"}
    assert papers == {"MPBN", "DSR", "Spiking-Diffusion", "SDDPM", "FSVAE", "SGAD", "Spiking-GAN"}
    assert papers == {row["paper"] for row in listed.values() if row["size"] == "small"}
    shown = run("zoo", "--size", "small").out
    assert "fsvae-small" in shown
    assert "fsvae-celeba" not in shown


def test_a_network_from_the_zoo_is_exported(tmp_path: Path) -> None:
    made = run("zoo", "vq-svae-small", "-o", tmp_path / "m.pt", "--samples", "3", "--json")
    assert made.code == 0, made.err
    assert made.json["synthetic"]
    assert all(0.09 < rate < 0.16 for rate in made.json["firing_rates"].values())
    exported = run("export", tmp_path / "m.pt", "-o", tmp_path / "out", "--json")
    assert exported.code == 0, exported.err
    assert exported.json["validate"]["stages"][0]["mismatches"] == 0


def test_a_network_is_measured() -> None:
    ran = run("zoo", "mpbn-vgg-digits", "--measure", "--json")
    assert ran.code == 0, ran.err
    (row,) = ran.json["networks"]
    assert (row["spikes_differing"], row["integers_differing"]) == (0, 0)
    assert row["sops"] > 0
    assert row["inputs"] == [[1, 8, 8]]
    assert "sops" in run("zoo", "mpbn-vgg-digits", "--measure").out


def test_the_same_seed_makes_the_same_file(tmp_path: Path) -> None:
    for name, seed in (("a.pt", 3), ("b.pt", 3), ("c.pt", 4)):
        assert run("zoo", "dsr-vgg-digits-if", "-o", tmp_path / name, "--seed", seed).code == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.pt", "b.pt", "c.pt"))
    assert a == b != c


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("vgg",), {"what": "no such network", "limit": "mpbn-vgg16"}),
        (("-o", "x.pt"), {"what": "one network"}),
        (("--measure",), {"where": "--measure", "fix": "name one"}),
    ],
)
def test_bad_calls(arguments: tuple[str, ...], parts: dict[str, str], tmp_path: Path) -> None:
    ran = run("zoo", *arguments, "--json")
    assert ran.code == 2
    (error,) = ran.json["errors"]
    says(error, **parts)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / "mine.pt"
    file.write_text("mine")
    assert run("zoo", "vq-svae-small", "-o", file).code == 2
    assert file.read_text() == "mine"
