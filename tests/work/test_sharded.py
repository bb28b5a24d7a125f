"""Shard by shard or in one piece: the same JSON, byte for byte, whoever does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from neurocompile.verbs.simulate import SimulateRequest, simulate
from tests.cli.helpers import SHAPE, STEPS, done, exported, one, refused, run, saved, says, small_net

SAMPLES = 700
SHARD = 128
"""So many samples a shard has here, and the last one fewer."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a small network for three chips, the network, another one, and samples in files of each kind."""
    place = tmp_path_factory.mktemp("sharded")
    saved(small_net(), place / "m.pt")
    saved(small_net(seed=1), place / "other.pt")
    for target in ("generic", "loihi", "nc1"):
        exported(place / "m.pt", place / target, "--target", target)
    draw = np.random.default_rng(5)
    x, y = draw.random((SAMPLES, STEPS, *SHAPE)), draw.integers(0, 3, SAMPLES)
    np.savez(place / "x.npz", x=x, y=y)
    for name in ("npy", "parts"):
        (place / name).mkdir()
    np.save(place / "npy" / "x.npy", x)
    np.save(place / "npy" / "y.npy", y)
    for number, start in enumerate((0, 100, 101, 512)):
        stop = (100, 101, 512, SAMPLES)[number]
        np.savez(place / "parts" / f"part-{number}.npz", x=x[start:stop], y=y[start:stop])
    return place


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of few samples. Whoever works on them is told their borders."""
    monkeypatch.setattr("neurocompile.verbs.shards._MOST", SHARD)


def printed(*arguments: object) -> str:
    """The JSON of a command, as it is printed."""
    return done(*arguments, "--json").out


def ways(folder: Path, local: str, hand: str) -> dict[str, tuple[object, ...]]:
    return {
        "workers 2": ("--workers", 2, "--cache", folder), "what is kept": ("--workers", 1, "--cache", folder),
        "local": ("--scheduler", local), "by hand": ("--scheduler", hand),
    }  # fmt: skip


def test_the_same_data_in_any_files(folder: Path, local: str, small: None) -> None:
    common = ["simulate", folder / "generic", "--data"]
    whole = printed(*common, folder / "x.npz", "--workers", 1)
    assert all(printed(*common, folder / name, "--workers", 1) == whole for name in ("npy", "parts"))
    assert printed(*common, folder / "parts", "--scheduler", local) == whole


@pytest.mark.parametrize("options", [["generic"], ["generic", "--real"], ["generic", "--reference"], ["loihi"]])
def test_simulate(options: list[str], folder: Path, local: str, hand: str, small: None, tmp_path: Path) -> None:
    name, *rest = options
    common = ["simulate", folder / name, "--data", folder / "npy", "--overwrite", *rest]
    whole = printed(*common, "--workers", 1, "--spikes", tmp_path / "whole.npz")
    assert json.loads(whole)["samples"] == SAMPLES
    if name == "loihi":
        assert json.loads(whole)["timing"] is not None
    spikes = (tmp_path / "whole.npz").read_bytes()
    wanted = ways(tmp_path / "kept", local, hand)
    if rest:  # a pool takes longer to start than all of this
        del wanted["workers 2"]
    for way, said in wanted.items():
        assert printed(*common, *said, "--spikes", tmp_path / "cut.npz") == whole, way
        assert (tmp_path / "cut.npz").read_bytes() == spikes, way


@pytest.mark.parametrize("samples", [200, pytest.param(SAMPLES, marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", ["m.pt", "other.pt"])
def test_validate(model: str, samples: int, folder: Path, local: str, hand: str, small: None, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for name in ("x", "y"):
        np.save(few / f"{name}.npy", np.load(folder / "npy" / f"{name}.npy")[:samples])
    common = ["validate", folder / "loihi", "--data", few, "--reference", folder / model,
              "--backend-samples", 0, "--json"]  # fmt: skip
    whole = run(*common, "--workers", 1)
    assert whole.code == (0 if model == "m.pt" else 5)
    if model == "other.pt":
        first = whole.json["stages"][0]
        assert first["mismatches"]
        assert first["causes"], "nobody looked into it"
    wanted = ways(tmp_path / "kept", local, hand)
    if samples < SAMPLES:  # each worker imports torch for it: in shards, here; by others among the slow ones
        wanted = {"what is kept": wanted["what is kept"]}
    for way, said in wanted.items():
        assert run(*common, *said) == whole, way


def test_the_report_of_python_is_the_same(folder: Path, local: str, small: None) -> None:
    with np.load(folder / "x.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    program = neurocompile.load(folder / "generic")
    whole, cut = (neurocompile.simulate(program, x, y, scheduler=address) for address in (None, local))
    assert whole == cut
    for kind in ("outputs", "spikes"):
        mine, its = getattr(whole, kind), getattr(cut, kind)
        assert list(mine) == list(its)
        assert all((mine[name].dtype, mine[name].tobytes()) == (its[name].dtype, its[name].tobytes()) for name in mine)
    for name, counts in whole.counts.layers.items():
        assert all(np.array_equal(a, b) for a, b in zip(vars(counts).values(), vars(cut.counts.layers[name]).values()))


def test_what_is_kept_is_not_done_again(folder: Path, small: None, tmp_path: Path, monkeypatch: Any) -> None:
    request = {"program": folder / "generic", "workers": 1, "cache": tmp_path / "kept"}
    shards = -(-SAMPLES // SHARD)
    simulate(SimulateRequest(data=folder / "npy", **request))
    counted: list[tuple[int, int]] = []

    def run_and_count(self: Any, tasks: Any, progress: Any = None) -> Any:
        found = list(kept_run(self, tasks, progress))
        counted.append((self.found, self.done))
        return iter(found)

    from neurocompile.work import Kept

    kept_run = Kept.run
    monkeypatch.setattr(Kept, "run", run_and_count)
    simulate(SimulateRequest(data=folder / "x.npz", **request))  # the same numbers, elsewhere
    simulate(SimulateRequest(data=folder / "npy", real=True, **request))
    with np.load(folder / "x.npz") as arrays:
        changed = arrays["x"].copy()
    changed[300, 2, 1] += 0.25
    simulate(SimulateRequest(data=changed, **request))
    assert counted == [(shards, 0), (0, shards), (shards - 1, 1)]


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("nc1", [], "routers"),
        ("generic", ["--stream"], "--stream keeps"),
        ("loihi", ["--timeline", "t.json"], "--timeline wants"),
    ],
)
def test_what_cannot_be_cut(
    name: str, options: list[str], reason: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["simulate", folder / name, "--data", folder / "x.npz", *options]
    for said in (["--workers", 2], ["--cache", "kept"], ["--scheduler", "tcp://127.0.0.1:1"]):
        says(one(refused(2, *common, *said)), what=reason, where=said[0], fix=f"leave out {said[0]}")
    done(*common, "--workers", 1)


def test_nc1_without_its_clock(folder: Path, local: str, small: None) -> None:
    common = ["simulate", folder / "nc1", "--data", folder / "x.npz", "--no-timing"]
    assert printed(*common, "--workers", 1) == printed(*common, "--scheduler", local)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("other", ["none", "fewer", "another", "one value in the middle"])
def test_other_data_on_a_worker(other: str, kept: bool, folder: Path, small: None, tmp_path: Path) -> None:
    """The same name, and other files: told by the number of samples, by those at the ends, or by all where results
    are kept."""
    from neurocompile.data import load_data
    from neurocompile.errors import BadInput
    from neurocompile.verbs.shards import part_of, part_sum, source_of

    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "x.npy", np.zeros((300, STEPS, *SHAPE)))
    data = load_data(tmp_path / "data", {"input": SHAPE}, STEPS)
    source = source_of(data, (0, 128), part_sum(data.part(0, 128)) if kept else "")
    x = np.full((200 if other == "fewer" else 300, STEPS, *SHAPE), float(other == "another"))
    x[64] += 1
    np.save(tmp_path / "data" / "x.npy", x)
    if other == "none":
        (tmp_path / "data" / "x.npy").unlink()
    if other.startswith("one") and not kept:
        part_of(source, (0, 128), STEPS)
        return
    with pytest.raises(BadInput, match="other data"):
        part_of(source, (0, 128), STEPS)


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "holds no data"),
        ({"x.npy": "x", "a.npz": "x"}, "holds no data"),
        ({"x.npy": "nan"}, "holds NaN"),
        ({"x.npy": "columns"}, "column by column"),
        ({"a.npz": "x", "b.npz": "wide"}, "another array than in the first part"),
        ({".zarray": "pickle"}, "packed by what is not unpacked here"),
    ],
)
def test_folders_that_are_no_data(files: dict[str, str], what: str, folder: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((9, STEPS, *SHAPE))
    wrong = x.copy()
    wrong[4, 0, 0] = np.nan
    arrays = {"x": x, "nan": wrong, "columns": np.asfortranarray(x), "wide": np.zeros((2, STEPS, 5))}
    (tmp_path / "data").mkdir()
    for name, kind in files.items():
        path = tmp_path / "data" / name
        if kind == "pickle":
            path.write_text(json.dumps({"zarr_format": 2, "compressor": None, "filters": [{"id": "pickle"}]}))
        elif name.endswith("npz"):
            np.savez(path, x=arrays[kind])
        else:
            np.save(path, arrays[kind])
    says(one(refused(6, "simulate", folder / "generic", "--data", tmp_path / "data")), what=what)
