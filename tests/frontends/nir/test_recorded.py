"""What a network fired where it was made chooses the dialect of its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import neurocompile
from neurocompile.errors import BadInput, UnsupportedModel, UsageError
from neurocompile.frontends import load_model
from neurocompile.frontends.nir.hdf5 import read_nir, read_nir_data
from neurocompile.frontends.nir.network import network_of
from neurocompile.ir.ops import Array
from tests.cli.helpers import done, one, refused, result
from tests.frontends.nir.files import N, affine, chain, lif

DATA = Path(__file__).parents[2] / "data" / "nir"
DIALECTS: dict[str, str] = json.loads((DATA / "dialects.json").read_text())
LAST = {name for name in DIALECTS if not name.startswith("digits")}


def _held(name: str) -> tuple[Path, dict[str, Array]]:
    """A file of a framework, and what went in and came out of its last layer, by their names."""
    file = DATA / f"{name}.nir"
    network = network_of(read_nir(file), str(file))
    (port,), (out,) = network.inputs, network.outputs
    (last,) = network.sources[out]
    with np.load(DATA / f"{name}.npz") as held:
        return file, {port: held["x"], last: held["spikes"]}


@pytest.mark.parametrize("name", sorted(LAST))
def test_the_dialect_of_every_framework_is_found(name: str) -> None:
    file, held = _held(name)
    model = load_model(file, timesteps=20, recording=held)
    if model.reading["dialect"] != DIALECTS[name]:  # another that fires alike
        assert DIALECTS[name] in next(note for note in model.notes if "so would" in note)


def test_from_npz_and_from_nirs_own_data(tmp_path: Path) -> None:
    file, held = _held("snntorch-leaky-subtract-late-0.9")
    np.savez(tmp_path / "seen.npz", **{"x" if value is next(iter(held.values())) else name: value
                                       for name, value in held.items()})  # fmt: skip
    done("export", file, "--timesteps", 20, "--recorded", tmp_path / "seen.npz", "-o", tmp_path / "a")
    (x_name, x), (last, spikes) = held.items()
    sampled = {x_name: nir.NIRNodeData({"input": nir.TimeGriddedData(x, 1e-4)}),
               last: nir.NIRNodeData({"spikes": nir.TimeGriddedData(spikes.astype(bool), 1e-4)})}  # fmt: skip
    nir.write_data(tmp_path / "sampled.h5", nir.NIRGraphData(sampled))
    spiked = sampled[last].observables["spikes"].to_event(500)
    events = {**sampled, last: nir.NIRNodeData({"v": nir.TimeGriddedData(x, 1e-4), "spikes": spiked})}
    nir.write_data(tmp_path / "events.h5", nir.NIRGraphData(events))
    for recorded in ("sampled.h5", "events.h5"):
        assert np.array_equal(read_nir_data(tmp_path / recorded)[last], spikes)
        notes = result("inspect", file, "--timesteps", 20, "--recorded", tmp_path / recorded)["notes"]
        assert notes is not None
        model = load_model(file, timesteps=20, recording=tmp_path / recorded)
        assert model.reading == {"dialect": "snntorch-late"}
    assert neurocompile.load(tmp_path / "a").settings["reading"] == {"dialect": "snntorch-late"}


def test_a_program_keeps_how_its_source_was_read(tmp_path: Path) -> None:
    file, held = _held("snntorch-leaky-subtract-late-0.9")
    x = next(iter(held.values()))
    np.savez(tmp_path / "x.npz", x=x)
    parts = ("--dialect", "snntorch", "--reset", "hard", "--dt", "2e-4")
    done("export", file, "--timesteps", x.shape[1], *parts, "--calibrate", tmp_path / "x.npz", "-o", tmp_path / "out")
    body = result(
        "validate", tmp_path / "out", "--reference", file, "--data", tmp_path / "x.npz", "--require", "lowering"
    )
    assert body["stages"][0]["mismatches"] == 0
    assert neurocompile.load(tmp_path / "out").settings["reading"] == {
        "dialect": "snntorch", "dt": 2e-4, "reset": "hard",
    }  # fmt: skip


def test_none_fires_so(tmp_path: Path) -> None:
    file, held = _held("snntorch-leaky-subtract-late-0.9")
    (name, x), (last, spikes) = held.items()
    with pytest.raises(UnsupportedModel, match="are others than recorded") as caught:
        load_model(file, timesteps=20, recording={name: x, last: 1 - spikes})
    assert len(caught.value.problems) > 3
    with pytest.raises(UnsupportedModel, match="read as snntorch-zero"):
        load_model(file, timesteps=20, recording=held, dialect="snntorch-zero")
    assert load_model(file, timesteps=20, recording=held, dialect="snntorch-late").reading["dialect"] == "snntorch-late"


def test_a_few_spikes_of_float32_may_differ() -> None:
    file, held = _held("snntorch-leaky-subtract-late-0.9")
    (name, x), (last, spikes) = held.items()
    spikes = spikes.copy()
    spikes.flat[5] = 1 - spikes.flat[5]
    assert load_model(file, timesteps=20, recording={name: x, last: spikes}).reading["dialect"] == "snntorch-late"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda held: held.pop("n1"), "holds no spikes"),
        (lambda held: held.pop("input"), "what went in is missing"),
        (lambda held: held.update(n1=held["n1"][:, :-1]), "n1 has the wrong shape"),
        (lambda held: held.update(n1=0 * held["n1"]), "nothing fires"),
        (lambda held: held.update(lost=held["n1"]), "no such node"),
        (lambda held: held.update(input=np.full_like(held["input"], np.nan)), "NaN"),
        (lambda held: held.update(n1=np.full(held["n1"].shape, "a")), "n1 has the wrong shape"),
    ],
)
def test_bad_recordings(change: Any, what: str, tmp_path: Path) -> None:
    path = chain(tmp_path / "net.nir", affine(), lif())
    held = {"input": np.zeros((2, 6, N)), "n1": np.ones((2, 6, N))}
    change(held)
    with pytest.raises(BadInput, match=what):
        load_model(path, timesteps=5, recording=held)
    np.savez(tmp_path / "r.npz", **held)
    assert what in " ".join(
        error["what"] for error in refused(6, "check", path, "--recorded", tmp_path / "r.npz")
    )  # fmt: skip


def test_a_model_of_torch_takes_none(tmp_path: Path) -> None:
    net = nn.Sequential(layer.Linear(4, 3, step_mode="m"), neuron.IFNode(step_mode="m")).eval()
    neurocompile.save(net, tmp_path / "m.pt", torch.rand(3, 2, 4))
    np.savez(tmp_path / "r.npz", x=np.zeros((1, 3, 4)))
    for verb in ("check", "inspect", "export"):
        assert one(refused(2, verb, tmp_path / "m.pt", "--recorded", tmp_path / "r.npz"))["where"] == "--recorded"
    with pytest.raises(UsageError, match="recording"):
        neurocompile.compile(net, input_shape=(4,), timesteps=3, recording={"x": np.zeros((1, 3, 4))})


def test_bad_data_of_nir(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.nir", affine(), lif())
    assert "NIRGraphData" in one(refused(6, "check", path, "--recorded", path))["what"]
    events = nir.EventData(np.zeros((1, 4), int), np.full((1, 4), 9.0), N, 1.0)
    for dt, what in ((None, "how long a step is"), (0.1, "later than the recording ends"), (1e-12, "too long")):
        nir.write_data(tmp_path / "e.h5", nir.NIRGraphData({"n1": nir.NIRNodeData({"spikes": events})}))
        with pytest.raises(BadInput, match=what):
            read_nir_data(tmp_path / "e.h5", dt)
    sampled = nir.TimeGriddedData(np.zeros((1, 4, N)), 0.0)
    both = {"n0": nir.NIRNodeData({"v": sampled}), "n1": nir.NIRNodeData({"spikes": events})}
    nir.write_data(tmp_path / "zero.h5", nir.NIRGraphData(both))
    with pytest.raises(BadInput, match="how long a step is"):
        read_nir_data(tmp_path / "zero.h5")
    with h5py.File(tmp_path / "e.h5", "r+") as file:
        file["nodes/n1/observables/spikes"].attrs["n_neurons"] = 1 << 60
    with pytest.raises(BadInput, match="too long"):
        read_nir_data(tmp_path / "e.h5", 0.1)
