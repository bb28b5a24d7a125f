"""The RTL as a stage of a validation: it agrees, and a chip with one thing wrong does not."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from neurocompile.backends.rtl import runner
from neurocompile.backends.rtl.executor import RTL, RtlExecutor
from neurocompile.data import Data
from neurocompile.reports import plain
from neurocompile.reports.validation import Stage, Validation
from neurocompile.simulator.base import RunnerSettings
from neurocompile.verbs.validate import validate_program
from tests.backends.rtl.test_rtl import need
from tests.random_networks.graphs import Drawn
from tests.random_networks.nc1 import random_case


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def ordinary(seed: int) -> Drawn:
    while True:
        case = random_case(random.Random(seed))
        if case.is_calibrated and case.mood == "ordinary" and len(case.known.spikes) > 1:
            return case
        seed += 1_000_003


def validated(case: Drawn) -> tuple[Validation, Stage]:
    inputs = {name: x.astype(float) for name, x in case.inputs.items()}
    backend = RtlExecutor(case.program, "iverilog")
    found = validate_program(case.program, Data(inputs, None, "the samples"), opened=[(RTL, backend)])
    return found, next(stage for stage in found.stages if stage.name == "rtl")


@pytest.mark.parametrize("seed", range(3))
def test_the_rtl_is_a_stage_that_compares_spikes_membranes_and_cycles(seed: int) -> None:
    need("iverilog")
    case = ordinary(seed)
    _, stage = validated(case)
    assert stage.passed
    assert stage.compared == sum(spikes.size for spikes in case.known.spikes.values())
    assert stage.membranes_compared == sum(v.size for v in case.known.potentials.values())
    assert stage.cycles_compared > 20
    assert plain(stage)["cycle_mismatches"] == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "shows_in"),
    [
        ("nc1_neuron.v", "(h_wide >= threshold)", "(h_wide <= threshold)", "spikes"),
        ("nc1.v", "wait_left <= BARRIER_CYCLES;", "wait_left <= BARRIER_CYCLES + 1'b1;", "cycles"),
    ],
)
def test_a_chip_with_one_thing_wrong_fails(
    file: str, old: str, new: str, shows_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("iverilog")
    known = runner.sources()
    text = known[file].decode()
    assert text.count(old) == 1
    monkeypatch.setattr(runner, "sources", lambda: {**known, file: text.replace(old, new).encode()})
    case = ordinary(5)
    found, stage = validated(case)
    assert stage.passed is False
    assert not found.passed
    if shows_in == "cycles":
        assert stage.cycle_mismatches > 0
        assert (stage.mismatches, stage.membrane_mismatches) == (0, 0)


def test_without_a_simulator_the_stage_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = ordinary(1)
    monkeypatch.setenv("PATH", str(tmp_path))
    why = RTL.open(case.program, RunnerSettings())
    assert isinstance(why, str)
    assert "make system" in why
    assert RTL.open(replace(case.program, target="generic"), RunnerSettings()) == ""
