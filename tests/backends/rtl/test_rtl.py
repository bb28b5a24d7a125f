"""The timing simulator against the RTL, event by event, and a bundle as a user would run it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from spikingjelly.activation_based.neuron import IFNode

import neurocompile
from benchmarks.rtl import SETS, Tally, compare_logs, one, sweep
from neurocompile.backends.rtl import bundle_files
from neurocompile.backends.rtl.bundle import foresee, run_files
from neurocompile.backends.rtl.runner import Tool, build, run, synthesize
from neurocompile.errors import DoesNotFit, ToolFailed
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.ir import Graph, Node
from neurocompile.ir.ops import Add, Delay, Input, Linear, Output
from neurocompile.program import Program
from neurocompile.simulator.timing.nc1 import time_on_nc1
from neurocompile.targets.nc1.chip import Nc1, map_to_nc1, usual
from tests.random_networks.graphs import Drawn, program_of, whole_neuron
from tests.random_networks.nc1 import random_case, random_chip

CHECKPOINTS = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints"


def need(tool: str) -> None:
    """Skip without a tool; in CI it has to be there."""
    if shutil.which(tool) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"there is no {tool}: make system")
        pytest.skip(f"there is no {tool} here: make system")


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nc1")


def crowded(seed: int, which: int) -> tuple[Drawn, Nc1]:
    """A network on a chip with the smallest FIFOs."""
    mesh, parameters = SETS[which]
    while True:
        r = random.Random(seed)
        case = random_case(r)
        try:
            return case, random_chip(r, case.program, mesh, parameters)
        except DoesNotFit:
            seed += 1_000_003


def agrees(tally: Tally) -> None:
    assert tally.first == ""
    assert (tally.spike_mismatches, tally.cycle_mismatches, tally.state_mismatches) == (0, 0, 0)
    assert tally.lines["updates"] > 0
    assert tally.lines["events"] > 0


def test_simulator_equals_rtl_in_icarus(builds: Path) -> None:
    need("iverilog")
    agrees(sweep(6, 11, builds, "iverilog", sets=2))


def test_simulator_equals_rtl_in_verilator(builds: Path) -> None:
    need("verilator")
    tally = Tally()
    for seed in range(6):
        case, chip = crowded(seed, 1)
        one(case, chip, builds / "run", builds, "verilator", tally)
    agrees(tally)


@pytest.mark.slow
def test_simulator_equals_rtl_on_many_networks(builds: Path) -> None:
    need("verilator")
    tally = sweep(200, 20, builds)
    agrees(tally)
    assert tally.calibrated >= 0.8 * tally.moods["ordinary"]
    assert set(tally.moods) == {"ordinary", "burst", "silent"}
    assert len(tally.meshes) == 3


@pytest.mark.parametrize("tool", ["iverilog", pytest.param("verilator", marks=pytest.mark.slow)])
def test_a_bundle_checks_itself_as_its_readme_says(tool: Tool, tmp_path: Path) -> None:
    need(tool)
    need("make")
    case, _ = crowded(4, 0)
    for name, content in bundle_files(case.program, {n: x.astype(float) for n, x in case.inputs.items()}).items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(["make", "check", f"SIM={tool}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    expected = (tmp_path / "expected.txt").read_text()
    assert f"PASS {len(expected.splitlines())} lines" in done.stdout, done.stdout + done.stderr
    # And one that fails says where.
    lines = expected.splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("u"))
    kind, cycle, *rest = lines[at].split()
    lines[at] = " ".join([kind, str(int(cycle) + 1), *rest])
    (tmp_path / "expected.txt").write_text("\n".join(lines) + "\n")
    done = subprocess.run(["make", "check", f"SIM={tool}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"FAIL line {at + 1}" in done.stdout
    assert "PASS" not in done.stdout


def test_the_digits_fit_a_mesh_of_16_cores_and_two_bundles_are_the_same() -> None:
    program = neurocompile.compile(CHECKPOINTS / "digits.pt", "nc1")
    assert map_to_nc1(program).parameters.mesh == (4, 4)
    first, second = bundle_files(program), bundle_files(program)
    assert first == second


@pytest.mark.slow
def test_synthesized_gates_do_the_same_without_a_latch(builds: Path) -> None:
    need("yosys")
    need("iverilog")
    parameters = {"lanes": 2, "neurons": 32, "axons": 64, "words": 256, "fanout": 64, "spike_depth": 1}
    chip, case, seed = None, None, 0
    while chip is None:
        r = random.Random(seed)
        seed += 1
        case = random_case(r)
        with contextlib.suppress(DoesNotFit):
            found = random_chip(r, case.program, (2, 1), parameters)
            chip = found if found.partition.cores == 2 and case.mood == "ordinary" else None
    assert case is not None
    netlist, cells = synthesize(chip.parameters, builds / "gates")
    assert not [kind for kind in cells if "LATCH" in kind.upper()]
    assert sum(count for kind, count in cells.items() if "DFF" in kind) > 500
    files = run_files(chip, foresee(chip, {name: x.astype(float) for name, x in case.inputs.items()}))
    for name, content in files.items():
        (builds / "gates" / name).write_bytes(content)
    run(build(chip.parameters, builds, "iverilog", netlist), builds / "gates", options=["+membranes"])
    assert (builds / "gates" / "log.txt").read_text() == files["expected.txt"].decode()


def test_a_missing_tool_and_a_broken_run_are_clear_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolFailed, match="there is no verilator here"):
        build(usual(), tmp_path)


def test_a_run_without_its_files_says_which_is_missing(builds: Path, tmp_path: Path) -> None:
    need("iverilog")
    _, chip = crowded(1, 0)
    made = build(chip.parameters, builds, "iverilog")
    with pytest.raises(ToolFailed, match=r"ERROR cannot open .*txt"):
        run(made, tmp_path)


def test_a_wrong_log_is_counted() -> None:
    tally = Tally()
    ours = "t 0 0 0\nu 2 0 0 1 00\nu 3 0 1 0 ff\ni 0 0 0 9\nd 9\n"
    compare_logs(ours, ours, 4, tally)
    assert tally.spikes_compared == 8
    assert not tally.first
    compare_logs(ours, "t 0 0 0\nu 2 0 0 1 01\nu 4 0 1 0 ff\ni 0 0 0 9\n", 4, tally)
    assert (tally.state_mismatches, tally.cycle_mismatches, tally.spike_mismatches) == (1, 2, 0)
    assert tally.first.startswith("line 2")


def test_samples_follow_one_another_from_a_clean_chip() -> None:
    """What a sample leaves behind does not reach the next: two runs of one sample are those of two."""
    case, chip = crowded(9, 1)
    both = {n: x[:1].astype(float).repeat(2, axis=0) for n, x in case.inputs.items()}
    files = run_files(chip, foresee(chip, both))
    lines = [line.split() for line in files["expected.txt"].decode().splitlines() if line.startswith("u")]
    half = len(lines) // 2
    assert [line[2:] for line in lines[:half]] == [line[2:] for line in lines[half:]]


def everyone_to_everyone(neurons: int, layers: int, timesteps: int) -> Program:
    """Layers whose neurons all fire at every step, each connected to all of the next and of its own."""
    matrix, always = np.ones((neurons, neurons), np.int64), whole_neuron(-(1 << 22), 0, reset="none")
    nodes, last = [Node("x", Input((neurons,), "spikes", 1.0, 0, 1))], "x"
    for k in range(layers):
        nodes += [Node(f"w{k}", Linear(matrix), (last,)), Node(f"back{k}", Delay((neurons,), 1), (f"n{k}",))]
        nodes += [Node(f"own{k}", Linear(matrix), (f"back{k}",)), Node(f"sum{k}", Add(), (f"w{k}", f"own{k}"))]
        nodes.append(Node(f"n{k}", always, (f"sum{k}",)))
        last = f"n{k}"
    nodes.append(Node("output", Output("sum"), (last,)))
    return program_of(Graph(nodes), timesteps, "nc1")


def test_a_full_mesh_under_the_worst_traffic_finishes(builds: Path) -> None:
    """16 cores, every neuron to every core and to the host at every step, one place in each FIFO."""
    need("iverilog")
    program = everyone_to_everyone(16, 2, 2)
    parameters = usual(
        4, 4, lanes=2, neurons=2, axons=256, words=512, fanout=64, router_depth=1, input_depth=1, spike_depth=1
    )
    chip = map_to_nc1(program, parameters)
    assert chip.partition.cores == 16
    chip = chip.moved(np.random.default_rng(0).permutation(16))
    foreseen = foresee(chip, {"x": np.ones((1, 2, 16))})
    assert (foreseen.timing.fullest == 1).mean() > 0.5
    assert foreseen.timing.waiting.sum() > foreseen.timing.cycles
    files = run_files(chip, foreseen)
    folder = builds / "worst"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    run(build(parameters, builds, "iverilog"), folder, options=["+membranes"])
    assert (folder / "log.txt").read_text() == files["expected.txt"].decode()


def test_a_step_that_takes_too_long_is_reported_by_both(builds: Path) -> None:
    program = everyone_to_everyone(16, 1, 2)
    chip = map_to_nc1(program, usual(2, 2, lanes=2, neurons=4, axons=64, words=512, fanout=64))
    foreseen = foresee(chip, {"x": np.ones((1, 2, 16))})
    with pytest.raises(ToolFailed, match="step 0 has not ended after 20 cycles"):
        time_on_nc1(chip, foreseen.steps, limit=20)
    need("iverilog")
    folder = builds / "long"
    folder.mkdir()
    for name, content in run_files(chip, foreseen).items():
        (folder / name).write_bytes(content)
    with pytest.raises(ToolFailed, match="TIMEOUT at cycle"):
        run(build(chip.parameters, builds, "iverilog"), folder, options=["+limit=20"])


def test_sums_that_an_accumulator_cannot_hold_are_refused_before_anything_runs() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(700, 4, bias=False), IFNode(step_mode="s"))
    torch.nn.init.uniform_(network[0].weight, 0.5, 1.0)
    x = torch.randint(0, 256, (20, 700)).float()
    model = TorchModel.from_module(network, {"input": (700,)}, 2, "loop")
    model.example = {"input": np.asarray(x)[:, None].repeat(2, 1)}
    with pytest.raises(DoesNotFit, match="synaptic sum"):
        neurocompile.compile(model, "nc1")
