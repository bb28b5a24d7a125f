"""A chip's file of an architecture in SANA-FE's YAML: what comes over, what is named, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from neurocompile.targets import load_target
from neurocompile.targets.events import EVENTS, HOPS
from tests.cli.helpers import SHAPE, STEPS, done, refused, result, saved, small_net

ARCH = """
architecture:
  name: made_up
  attributes: {width: 3, height: 2, link_buffer_size: 7, topology: mesh, sync_model: table, latency_sync: {2: 3e-7, 1: 1.5e-7}}
  tile:
  - name: t[0..5]
    attributes:
      energy_north_hop: 1.1e-12
      latency_north_hop: 1.2e-9
      energy_east_hop: 2.1e-12
      latency_east_hop: 2.2e-9
      energy_south_hop: 3.1e-12
      latency_south_hop: 3.2e-9
      energy_west_hop: 4.1e-12
      latency_west_hop: 4.2e-9
    core:
    - name: c[0..3]
      attributes: {buffer_position: soma, max_neurons_supported: 50}
      axon_in: {name: in, attributes: {energy_message_in: 5.1e-12, latency_message_in: 5.2e-9}}
      synapse:
      - name: s
        attributes: {model: current_based, energy_process_spike: 6.1e-12, latency_process_spike: 6.2e-9}
      dendrite:
      - name: d
        attributes: {model: accumulator, energy_update: 0.0, latency_update: 0}
      soma:
      - name: lif
        attributes:
          model: leaky_integrate_fire
          energy_access_neuron: 7.1e-12
          latency_access_neuron: 7.2e-9
          energy_update_neuron: 8.2e-12
          latency_update_neuron: 8.3e-9
          energy_spike_out: 9.1e-12
          latency_spike_out: 9.2e-9
      axon_out:
      - {name: out, attributes: {energy_message_out: 10.1e-12, latency_message_out: 10.2e-9}}
"""  # noqa: E501
ZEROS = "\n".join(
    line.partition(": ")[0] + ": 0" if line.lstrip().startswith(("energy", "latency")) else line
    for line in ARCH.replace("{2: 3e-7, 1: 1.5e-7}", "{1: 0}").splitlines()
)
for number in ("5.1e-12", "5.2e-9", "6.1e-12", "6.2e-9", "10.1e-12", "10.2e-9"):
    ZEROS = ZEROS.replace(number, "0")
OTHER_SOMA = """      soma:
      - name: inputs[0..9]
        attributes: {model: input, energy_access_neuron: 0, latency_access_neuron: 0, energy_update_neuron: 0,
          latency_update_neuron: 0, energy_spike_out: 0, latency_spike_out: 0}
"""


def arch(folder: Path, text: str = ARCH) -> Path:
    (folder / "arch.yaml").write_text(text)
    return folder / "arch.yaml"


def imported(folder: Path, text: str = ARCH) -> dict[str, Any]:
    """What the command says of an architecture, whose target lies in chip.toml then."""
    return result("targets", "--import-sanafe", arch(folder, text), "-o", folder / "chip.toml", "--overwrite")


def test_every_number_comes_over(tmp_path: Path) -> None:
    imported(tmp_path)
    chip = load_target(str(tmp_path / "chip.toml"))
    assert (chip.family, chip.clock, chip.name) == ("generic", "events", "chip")
    assert chip.limits.mesh == (3, 2)
    assert (chip.limits.cores, chip.limits.cores_per_tile, chip.limits.neurons_per_core) == (24, 4, 50)
    events = chip.events
    assert events is not None
    assert vars(events.mesh) == {"width": 3, "height": 2, "cores_per_tile": 4, "link_depth": 7, "core_depth": 7}
    assert events.barrier == {1: 150.0, 2: 300.0}
    energy = {name: events.energy[name].nominal for name in EVENTS}
    assert energy == {
        **{"hop_north": 1.1, "hop_east": 2.1, "hop_south": 3.1, "hop_west": 4.1, "tile": 0.0},
        **{"message_in": 5.1, "message_out": 10.1, "neuron_access": 7.1, "neuron_update": 8.2, "neuron_spike": 9.1},
        **dict.fromkeys(("synapse_dense", "synapse_sparse", "synapse_conv"), 6.1),
    }
    assert [events.latency[name].nominal for name in HOPS] == [1.2, 2.2, 3.2, 4.2]
    assert events.latency["neuron_update"].nominal == 8.3
    prices = {name: price.nominal for name, price in chip.prices.items()}
    assert prices == {"sop": 6.1, "neuron_active": 15.3, "neuron_inactive": 7.1, "spike": 9.1}
    assert "arch.yaml" in chip.prices["sop"].source
    assert "energy_process_spike" in chip.prices["sop"].source


def test_what_it_lacks_is_named_in_the_output_and_in_the_file(tmp_path: Path) -> None:
    about = imported(tmp_path)["imported"]
    missing = {note["what"]: note["instead"] for note in about["missing"]}
    for what in ("weight bits", "synapse memory", "axons", "delays", "lists", "link", "power", "sources"):
        assert any(what in each for each in missing), what
    text = (tmp_path / "chip.toml").read_text()
    comments = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    assert all(f"- {what}: {instead}" in comments for what, instead in missing.items())
    shown = done("targets", "--import-sanafe", arch(tmp_path), "-o", tmp_path / "other.toml").out
    assert "synapse memory" in shown
    assert "other.toml" in shown
    assert done("targets", "--import-sanafe", arch(tmp_path)).out == (tmp_path / "other.toml").read_text()
    assert not about["unsaid"]


def test_it_is_compiled_for_and_timed(tmp_path: Path) -> None:
    imported(tmp_path)
    model = saved(small_net(), tmp_path / "net.pt")
    result("export", model, "--target", tmp_path / "chip.toml", "-o", tmp_path / "out")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).uniform(0, 1, (4, STEPS, *SHAPE)))
    ran = result("simulate", tmp_path / "out", "--data", tmp_path / "x.npz", "--timing")
    assert ran["timing"]["latency_ns"] > 0
    assert ran["energy_pj_by_term"]["sop"] == pytest.approx(6.1 * ran["sops"])
    report = neurocompile.targets(import_sanafe=tmp_path / "arch.yaml")
    assert report.toml == (tmp_path / "chip.toml").read_text()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("      soma:\n", OTHER_SOMA), "inputs[0..9]"),
        (("model: accumulator,", "model: taps, taps: 3,"), "model taps"),
        (("model: accumulator,", "model: taps, taps: 3,"), "dendrite d: taps"),
        (("model: leaky_integrate_fire\n", "model: leaky_integrate_fire\n          noise: a.csv\n"), "noise"),
        (("model: leaky_integrate_fire", "model: truenorth"), "model truenorth"),
        (("model: current_based,", "model: current_based, log_energy: true,"), "log_energy"),
        (("t[0..5]", "t[0..3]"), "the mesh is 3 x 2"),
        (("width: 3", "width: 4000"), "the mesh is 4000 x 2"),
    ],
)  # fmt: skip
def test_what_only_changes_neurons_is_named(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    assert change[0] in ARCH
    notes = imported(tmp_path, ARCH.replace(*change))["imported"]["unsaid"]
    assert any(told in note["what"] for note in notes), notes
    assert told.partition(" (")[0] in " ".join((tmp_path / "chip.toml").read_text().replace("#", "").split())


def test_tiles_of_a_part_of_the_mesh_are_a_mesh_of_their_own(tmp_path: Path) -> None:
    imported(tmp_path, ARCH.replace("t[0..5]", "t[0..3]"))
    assert load_target(str(tmp_path / "chip.toml")).limits.mesh == (2, 2)
    imported(tmp_path, ARCH.replace("t[0..5]", "t"))
    assert load_target(str(tmp_path / "chip.toml")).limits.mesh == (1, 1)


def test_synapses_of_three_kinds(tmp_path: Path) -> None:
    one = ARCH[ARCH.index("      - name: s\n") : ARCH.index("      dendrite:")]
    kinds = "".join(
        one.replace("name: s\n", f"name: my_{kind}_one\n").replace("6.1e-12", f"{number}e-12")
        for kind, number in (("conv", 1), ("DENSE", 2), ("sparse", 3))
    )
    imported(tmp_path, ARCH.replace(one, kinds))
    chip = load_target(str(tmp_path / "chip.toml"))
    assert chip.events is not None
    found = [chip.events.energy[f"synapse_{kind}"].nominal for kind in ("conv", "dense", "sparse")]
    assert found == [1.0, 2.0, 3.0]
    assert chip.prices["sop"].nominal == 2.0
    (error,) = refused(6, "targets", "--import-sanafe", arch(tmp_path, ARCH.replace(one, kinds.replace("DENSE", "d"))))
    assert "different prices" in error["what"]


def test_where_everything_costs_nothing_nothing_is_priced(tmp_path: Path) -> None:
    about = imported(tmp_path, ZEROS)["imported"]
    chip = load_target(str(tmp_path / "chip.toml"))
    assert (chip.prices, chip.events, chip.clock, chip.limits.cores) == ({}, None, "", 24)
    assert {"energies: all are 0", "times: all are 0"} <= {note["what"] for note in about["missing"]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("model: current_based", "model: mine, plugin: /x.so"), "plugin"),
        (("buffer_position: soma", "buffer_position: axon_out"), "updated by each message"),
        (("buffer_position: soma", "buffer_position: soma, buffer_inside_unit: true"), "updated by each message"),
        (("energy_update: 0.0", "energy_update: 1e-12"), "dendrite d costs"),
        (("model: current_based", "update_every_timestep: true, model: current_based"), "in every step"),
        (("topology: mesh", "topology: torus"), "topology"),
        (("sync_model: table", "sync_model: sometimes"), "sync_model"),
        (("t[0..5]", "t[0..6]"), "more tiles"),
        (("t[0..5]", "t[0..4]"), "not full"),
        (("t[0..5]", "t[5..0]"), "range"),
        (("c[0..3]", "c[0..999999999]"), "range"),
        (("width: 3", "width: 0"), "width cannot be this"),
        (("width: 3", "width: 1.5"), "width cannot be this"),
        (("width: 3, ", ""), "width is missing"),
        (("width: 3", "wdith: 3"), "width is missing"),
        (("1.1e-12", "-1.1e-12"), "energy_north_hop cannot be this"),
        (("1.1e-12", "1.1 pJ"), "energy_north_hop cannot be this"),
        (("1.1e-12", "nan"), "energy_north_hop cannot be this"),
        (("1.1e-12", "1.1"), "energy_north_hop cannot be this"),
        (("1.1e-12", "1e999"), "energy_north_hop cannot be this"),
        ((ARCH[ARCH.index("      axon_out") :], ""), "axon_out is missing"),
        (("core:", "core: []\n    cores:"), "core is missing"),
        (("architecture:", "network:"), "there is no architecture"),
        ((ARCH, ""), "it is empty"),
        ((ARCH, "- 1\n- 2"), "no table"),
        ((ARCH, "a: b: c"), "no YAML"),
        ((ARCH, '"\\UFFFFFFFF"'), "no YAML"),
        ((ARCH, "a: 1\n---\nb: 2"), "several documents"),
        ((ARCH, "architecture: &a [1]\nb: *a"), "no aliases"),
        ((ARCH, "architecture: !!python/object/apply:os.system [ls]"), "no tags"),
        ((ARCH, "a: 1\na: 2"), "twice"),
        ((ARCH, "architecture: " + "[" * 40 + "]" * 40), "nested too deeply"),
        ((ARCH, "[" * 100000), "nested too deeply"),
        ((ARCH, "#" * (1 << 19)), "too large"),
    ],
)  # fmt: skip
def test_what_no_file_can_say_is_refused(change: tuple[str, str], says: str, tmp_path: Path) -> None:
    assert change[0] in ARCH
    errors = refused(6, "targets", "--import-sanafe", arch(tmp_path, ARCH.replace(*change)), "-o", tmp_path / "c.toml")
    assert any(says in error["what"] for error in errors), errors
    assert all("arch.yaml" in error["where"] and error["fix"] for error in errors)
    assert not (tmp_path / "c.toml").exists()


def test_cores_and_tiles_that_differ_and_somas_of_two_prices(tmp_path: Path) -> None:
    core = ARCH[ARCH.index("    - name: c[0..3]") :]
    tile = ARCH[ARCH.index("  - name: t[0..5]") :]
    half, other = ARCH.replace("t[0..5]", "t[0..2]"), tile.replace("t[0..5]", "t[3..5]")
    soma = ARCH[ARCH.index("      - name: lif") : ARCH.index("      axon_out")]
    for text, says in (
        (ARCH + core.replace(": 50", ": 60"), "cores of a tile differ"),
        (half + other.replace("4.1e-12", "4e-12"), "tiles differ"),
        (ARCH.replace(soma, soma + soma.replace("7.1e-12", "17.1e-12")), "units of soma have different prices"),
    ):
        (error,) = refused(6, "targets", "--import-sanafe", arch(tmp_path, text))
        assert says in error["what"]
    (error,) = refused(6, "targets", "--import-sanafe", arch(tmp_path, half + other + core.replace("c[0..3]", "d")))
    assert "tiles differ" in error["what"]  # by the number of cores
    imported(tmp_path, half + other)  # alike, in two parts


def test_all_reasons_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    soma = ARCH[ARCH.index("      - name: lif") : ARCH.index("      axon_out")]
    wrong = ARCH.replace(soma, soma + soma.replace("7.1e-12", "17.1e-12").replace("name: lif", "name: other"))
    wrong = wrong.replace("width: 3", "width: x").replace("energy_update: 0.0", "energy_update: 1e-12")
    wrong = wrong.replace("model: current_based", "model: mine, plugin: /x.so")
    errors = refused(6, "targets", "--import-sanafe", arch(tmp_path, wrong))
    assert [int(error["where"].rpartition(":")[2]) for error in errors] == sorted(
        int(error["where"].rpartition(":")[2]) for error in errors
    )
    for says in ("width", "plugin", "dendrite", "different prices"):
        assert any(says in error["what"] for error in errors), errors


def test_names_are_no_toml(tmp_path: Path) -> None:
    imported(tmp_path, ARCH.replace("name: made_up", 'name: "a\\"b\\n[limits]\\ncores = 3 \\x7f \\u202e"'))
    text = (tmp_path / "chip.toml").read_text()
    assert tomllib.loads(text)["limits"]["cores"] == 24
    assert "\x7f" not in text
    assert "\u202e" not in text


def test_nothing_is_written_over(tmp_path: Path) -> None:
    source, out = arch(tmp_path), tmp_path / "chip.toml"
    out.write_text("mine")
    (error,) = refused(2, "targets", "--import-sanafe", source, "-o", out)
    assert "exists" in error["what"]
    assert out.read_text() == "mine"
    done("targets", "--import-sanafe", source, "-o", out, "--overwrite")
    assert out.read_text() != "mine"
    for words in (("-o", out), ("loihi", "--import-sanafe", source), ("--import-sanafe", source, "--toml"),
                  ("--import-sanafe", source, "-o", tmp_path / "chip.txt")):  # fmt: skip
        refused(2, "targets", *words)
    refused(6, "targets", "--import-sanafe", tmp_path / "none.yaml")
