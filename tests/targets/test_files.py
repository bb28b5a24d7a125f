"""A chip that a TOML file of the user's own describes: compiled for, run and priced by; and what is wrong in a file."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

import neurocompile
from neurocompile.errors import BadInput, UsageError
from neurocompile.program import load_program
from neurocompile.targets import Limits, load_target, target_names, target_of, toml_of
from neurocompile.targets.keys import LIMITS
from tests.cli.helpers import SHAPE, STEPS, done, refused, result, saved, small_net

SMALL = """
family = "loihi"
description = "half a Loihi"

[limits]
mesh = [2, 2]
cores = 16
neurons_per_core = 4

[prices.sop]
nominal = 20.0
unit = "pJ"
basis = "derived"
scope = "per event"
source = "a data sheet"
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(small_net(), tmp_path / "net.pt")


def file(folder: Path, text: str, name: str = "mine.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def data(folder: Path) -> Path:
    np.savez(folder / "x.npz", x=np.random.default_rng(0).uniform(0, 1, (4, STEPS, *SHAPE)))
    return folder / "x.npz"


@pytest.mark.parametrize("name", target_names())
def test_the_file_of_every_target_is_a_start(name: str, tmp_path: Path) -> None:
    known, again = load_target(name), load_target(str(file(tmp_path, toml_of(name))))
    assert (again.arithmetic, again.limits, again.prices) == (known.arithmetic, known.limits, known.prices)
    assert (again.family, again.clock, again.events) == (known.family, known.clock, known.events)
    named = load_target(str(file(tmp_path, toml_of(name), f"{name}.toml")))
    assert named.name == f"{name}.toml"  # not to be taken for the other


def test_another_mesh_other_limits_and_other_prices_of_a_family(model: Path, tmp_path: Path) -> None:
    mine = file(tmp_path, SMALL)
    body = result("export", model, "--target", mine, "-o", tmp_path / "out", "--emit", "lava")
    assert body["target"] == "mine"
    needed = [(layer["compartments_per_neuron"], layer["neurons"]) for layer in body["mapping"]["layers"]]
    assert needed == [(2, 3), (1, 3)]  # a soft reset, and the readout
    assert body["cores"] == sum(-(-each * neurons // 4) for each, neurons in needed) > 1
    assert {core["tile"][0] for core in body["mapping"]["placement"]} == {0}
    mine.unlink()  # the program knows its chip
    program = load_program(tmp_path / "out")
    assert target_of(program).limits.mesh == (2, 2)
    assert target_of(program).limits.input_axons_per_core == load_target("loihi").limits.input_axons_per_core
    ran = result("simulate", tmp_path / "out", "--data", data(tmp_path))
    spike = load_target("loihi").prices["spike"].nominal
    assert ran["energy_pj_by_term"]["sop"] == 20.0 * ran["sops"]
    on_chip = ran["spikes"] - ran["host"]["spikes"]
    assert ran["energy_pj_by_term"]["spike"] == pytest.approx(spike * on_chip)
    assert ran["timing"]["cores"] == body["cores"]
    known = json.loads(
        done("simulate", tmp_path / "out", "--data", data(tmp_path), "--price-as", "loihi", "--json").out
    )
    assert known["energy_pj"] != ran["energy_pj"]


def test_a_fixed_mesh_of_nc1(model: Path, tmp_path: Path) -> None:
    small = 'family = "nc1"\n[limits]\nmesh = [1, 1]\ncores = 1\nneurons_per_core = 8\n'
    errors = refused(4, "export", model, "--target", file(tmp_path, small), "-o", tmp_path / "out")
    assert any("more cores than the mesh" in error["what"] for error in errors)
    large = file(tmp_path, small.replace("[1, 1]", "[2, 2]").replace("cores = 1", "cores = 4"))
    body = result("export", model, "--target", large, "-o", tmp_path / "out")
    assert 1 < body["cores"] <= 4
    assert "rtl/image.txt" in body["files"]


def test_a_price_list_alone(model: Path, tmp_path: Path) -> None:
    prices = file(tmp_path, SMALL[SMALL.index("[prices") :])
    done("export", model, "-o", tmp_path / "out")
    ran = result("simulate", tmp_path / "out", "--data", data(tmp_path), "--price-as", prices)
    assert ran["energy_pj"] == 20.0 * ran["sops"]
    assert ran["target"] == "mine"
    (error,) = refused(2, "export", model, "--target", prices, "-o", tmp_path / "other")
    assert "price list" in error["what"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("cores = 16", 'cores = "16"'), ("limits.cores", "'16'", "whole number from 1")),
        (("cores = 16", "cores = 0"), ("limits.cores", "0", "from 1")),
        (("cores = 16", "cores = true"), ("limits.cores", "True", "whole number")),
        (("mesh = [2, 2]", "mesh = [2, 2, 2]"), ("limits.mesh", "[2, 2, 2]", "two whole numbers")),
        (("cores = 16", "coers = 16"), ("limits.coers", "16", "cores")),
        (('basis = "derived"', 'basis = "guessed"'), ("prices.sop.basis", "guessed", "measured")),
        (("nominal = 20.0", "nominal = 20.0\nmin = 30.0"), ("prices.sop", "30", "min <= nominal")),
        (("nominal = 20.0\n", ""), ("prices.sop.nominal", "nothing", "number")),
        (("[prices.sop]", "[prices.sops]"), ("prices.sops", "nominal", "sop")),
        (('family = "loihi"', 'family = "loihi9"'), ("family", "loihi9", "nc1")),
        (('family = "loihi"', 'family = "loihi"\nlike = "loihi9"'), ("like", "loihi9", "loihi2")),
        (('family = "loihi"', 'family = "loihi"\nchips = 3'), ("chips", "3", "family")),
        (("[limits]", "[arithmetic]\nweight_bits = 40\n[limits]"), ("arithmetic", "nothing", "whole number")),
        (("[limits]", "[parameters]\nbarrier = 3\n[limits]"), ("parameters.barrier", "3", "")),
        (("[limits]", "limits = 3\n#"), ("limits", "3", "[limits]")),
    ],
)
def test_what_is_wrong_names_key_value_and_range(
    change: tuple[str, str], says: tuple[str, str, str], tmp_path: Path
) -> None:
    wrong = file(tmp_path, SMALL.replace(*change))
    with pytest.raises(BadInput) as error:
        load_target(str(wrong))
    key, value, allowed = says
    found = [problem for problem in error.value.problems if key in problem.what]
    assert found, error.value
    assert any(value in problem.actual and allowed in problem.limit for problem in found), error.value
    assert all(problem.where == str(wrong) and problem.fix for problem in error.value.problems)


EVENTS = toml_of("loihi-sanafe")
WORDS = {
    "list_word_bits": 64, "entry_header_bits": 10, "entry_synapses": 60,
}  # fmt: skip


def limits(**given: object) -> str:
    return "\n".join(['family = "generic"', "[limits]", *(f"{key} = {value}" for key, value in given.items())])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # what is missing beside what is there
        (limits(list_word_bits=64), {f"limits.{key}" for key in WORDS if key != "list_word_bits"}),
        (limits(list_word_bits=64, entry_synapses=60, population_atoms=512),
         {"limits.entry_header_bits"}),
        (limits(halos="true", threshold_profiles=8),
         {"limits.list_word_bits", "limits.entry_header_bits", "limits.entry_synapses", "limits.packing"}),
        (limits(cores_per_tile=4), {"limits.mesh"}),
        (limits(mesh=[4, 4]), {"limits.cores_per_tile"}),
        (limits(synapse_words_per_core=100), {"limits.lanes"}),
        (limits(lanes=8), {"limits.synapse_words_per_core"}),
        ('family = "nc1"\n[limits]\npopulation_atoms = 3\ndelay = 3', {"limits.population_atoms", "limits.delay"}),
        ('family = "generic"\nclock = "events"', {"clock", "limits.cores", "limits.mesh"}),
        ("[static]\n[barrier]\n[mesh]", {"[static]", "[barrier]", "[mesh]"}),
        # numbers that cannot all be true
        (limits(mesh=[2, 2], cores_per_tile=4, cores=17), {"limits.cores"}),
        (limits(mesh=[4096, 4096], cores_per_tile=4), {"limits.mesh"}),
        (limits(neurons=1001, cores=10, neurons_per_core=100), {"limits.neurons"}),
        (limits(**{**WORDS, "entry_header_bits": 64}), {"limits.entry_header_bits"}),
        (limits(synapse_words_per_core=9, lanes=1, synapse_bytes_per_core=9), {"limits.synapse_bytes_per_core"}),
        ('family = "loihi"\n[limits]\nmesh = [9, 5]\ncores_per_tile = 5\n', {"limits.mesh", "limits.cores_per_tile"}),
        (toml_of("loihi").replace("decay_min = 1\n", "decay_min = 5000\n"), {"arithmetic.lif.decay_min"}),
        # sizes that are none
        (limits(cores=0, neurons=-1, synapses=1.5, delay='"2"'),
         {"limits.cores", "limits.neurons", "limits.synapses", "limits.delay"}),
        # names that nothing has
        ('family = "loihi"\nclock = "cycles"\ntimed_as = "loihi"', {"clock", "timed_as"}),
        ('family = "loihi"\nbackends = ["rtl"]\nemits = ["lavva"]', {"backends", "emits"}),
        ('like = "lohi"\n[arithmetic]\nsame_as = "nc2"\nweight_bits = 40',
         {"like", "arithmetic.same_as", "arithmetic.weight_bits"}),
        (SMALL.replace("source =", 'covers = ["spikes"]\nsource ='), {"prices.sop.covers"}),
        # what the timing simulator does not take
        (EVENTS.replace("nominal = 0.291", "nominal = 0.0001"), {"events.link_cycle.latency.nominal"}),
        (EVENTS.replace("nominal = 5.1", "nominal = 5e9"), {"events.message_out.latency.nominal"}),
        (EVENTS.replace("[1, 2, 4, 29]", "[1, 4, 2, 29]"), {"barrier.tiles"}),
        (EVENTS.replace("[1, 2, 4, 29]", "[1, 2.5, 4, 29]"), {"barrier.tiles"}),
        (EVENTS.replace("[events.tile.energy]", "[events.tile.enrgy]"), {"events.tile.energy", "there"}),
    ],
)  # fmt: skip
def test_what_is_missing_or_contradicts_itself(text: str, told: set[str], tmp_path: Path) -> None:
    errors = refused(6, "targets", file(tmp_path, text))
    assert {error["what"].split()[0] for error in errors} == told, errors
    assert all(error["where"].endswith("mine.toml") and error["fix"] for error in errors)


def test_a_price_in_another_unit_says_what_it_is_in_ours(tmp_path: Path) -> None:
    wrong = EVENTS.replace('[static]\nnominal = 104.0\nunit = "mW"', '[static]\nnominal = 0.104\nunit = "W"')
    wrong = wrong.replace("[prices.sop]\nnominal = 35.5\nmin = 23.6\nunit = \"pJ\"",
                          "[prices.sop]\nnominal = 3.5e-8\nunit = \"mJ\"")  # fmt: skip
    wrong = wrong.replace('nominal = 5.1\nunit = "ns"', 'nominal = 5.1\nunit = "cycles"')
    errors = {error["what"].split()[0]: error for error in refused(6, "targets", file(tmp_path, wrong))}
    assert set(errors) == {"static.unit", "prices.sop.unit", "events.message_out.latency.unit"}
    assert errors["static.unit"]["fix"] == "1 W is 1000 mW: write 104 mW"
    assert errors["prices.sop.unit"]["fix"] == "1 mJ is 1e+09 pJ: write 35 pJ"
    assert errors["events.message_out.latency.unit"]["fix"] == "say it in ns"


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        (("cores = 16", "coers = 16"), "did you mean cores?"),
        (("[limits]", "[limit]"), "did you mean limits?"),
        (('"derived"', '"simulatd"'), "did you mean simulated?"),
        (('"loihi"', '"lohi"'), "did you mean loihi?"),
        (("cores = 16", 'cores = "16 KB"'), "write numbers alone, without quotes or a unit"),
        (("cores = 16", "cores = 16.0"), "write 16"),
        (("cores = 16", "zebras = 16"), "leave it out, or name one"),
    ],
)
def test_an_error_says_what_to_write(change: tuple[str, str], fix: str, tmp_path: Path) -> None:
    errors = refused(6, "targets", file(tmp_path, SMALL.replace(*change)))
    assert fix in {error["fix"] for error in errors}, errors


def test_a_file_can_say_every_limit(tmp_path: Path) -> None:
    assert {field.name for field in dataclasses.fields(Limits)} == set(LIMITS)
    flags = {name: "true" for name, key in LIMITS.items() if key.kind == "flag"}
    given = {**dict.fromkeys(LIMITS, 8), **flags, **WORDS, "mesh": [2, 3], "cores": 24, "source": '"a book"'}
    of_lanes = {name: given.pop(name) for name in ("lanes", "synapse_words_per_core")}
    for said in (given, of_lanes):
        found = load_target(str(file(tmp_path, limits(**said)))).limits
        told = {"mesh": (2, 3), "source": "a book", **dict.fromkeys(flags, True)}
        assert {name: getattr(found, name) for name in said} == {
            name: told.get(name, value) for name, value in said.items()
        }


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    wrong = file(tmp_path, SMALL.replace("cores = 16", "cores = -1").replace("pJ", "").replace('"derived"', "3"))
    errors = refused(6, "targets", wrong)
    assert {"limits.cores", "prices.sop.basis"} <= {error["what"].split()[0] for error in errors}


@pytest.mark.parametrize(
    "text",
    [
        "family = ", "\x00", "[limits", 'family = "priced"\n[limits]\ncores = 99999999999999999999',
        f"limits = {'[' * 10000}", f"limits = 1{'0' * 9999}", "#" * (1 << 21),
    ],
)  # fmt: skip
def test_no_toml_file_is_refused_as_such(text: str, tmp_path: Path) -> None:
    refused(6, "targets", file(tmp_path, text))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_target(str(tmp_path / "none.toml"))
    os.mkdir(tmp_path / "folder.toml")
    with pytest.raises(BadInput, match="a folder, not a file"):
        load_target(str(tmp_path / "folder.toml"))


def test_lanes_of_nc1_and_the_arithmetic_of_its_rtl(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"limits\.lanes must be a power of two"):
        load_target(str(file(tmp_path, 'family = "nc1"\n[limits]\nlanes = 3\n')))
    own = toml_of("nc1").replace("decay_fraction = 16", "decay_fraction = 12")
    with pytest.raises(BadInput, match=r"arithmetic\.decay_fraction is fixed in the RTL"):
        load_target(str(file(tmp_path, own)))


def test_a_source_does_not_stay_with_another_number(tmp_path: Path) -> None:
    assert load_target("loihi").limits.source
    assert load_target(str(file(tmp_path, SMALL))).limits.source == ""


def test_python_takes_a_file_as_well(model: Path, tmp_path: Path) -> None:
    program = neurocompile.compile(model, str(file(tmp_path, SMALL)))
    assert program.target == "mine"
    assert neurocompile.targets(str(tmp_path / "mine.toml")).targets["mine"].limits.cores == 16
