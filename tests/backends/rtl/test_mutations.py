"""Wrong timing rules are caught: written into the simulator, compiled, and held against what the RTL logged."""

from __future__ import annotations

import importlib.util
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pybind11
import pytest

import neurocompile
from benchmarks.rtl import SETS
from neurocompile.backends.rtl.bundle import foresee, run_files
from neurocompile.backends.rtl.runner import build, run
from neurocompile.simulator.timing import nc1 as timing
from tests.backends.rtl.test_rtl import crowded, need

NATIVE = Path(neurocompile.__file__).parent.parent / "simulator" / "timing" / "native"
SEEDS = range(8)

EAST_WEST = "if (x != router.x) return x > router.x ? east : west;"
NORTH_SOUTH = "if (y != router.y) return y > router.y ? south : north;"
BETWEEN = "\n    "
MUTATIONS = {
    "the sweep starts a cycle late": ("steps.group[core.next] + 2;", "steps.group[core.next] + 3;"),
    "a full spike FIFO does not stall": (
        "if (waiting < p_.spike_depth) {",
        "if (core.vector_count < (int)core.vectors.size()) {",
    ),
    "what a full spike FIFO costs is forgotten": (
        "core.due = now_ + steps.group[core.next] - group;",
        "core.due = std::max(now_ + 1, start_ + steps.group[core.next] + 2);",
    ),
    "a spike vector is loaded only when its predecessor is done": (
        "waiting && (!core.v_bits || (pick && !(core.v_bits & (core.v_bits - 1))))",
        "waiting && !core.v_bits",
    ),
    "the fan-out pointer is not read ahead": ("(!core.q_valid || q_take);", "!core.q_valid;"),
    "a flit waits for the next entry": ("core.f_left && (!core.o_valid || o_send);", "core.f_left && !core.o_valid;"),
    "an event of one word takes two cycles": ("now_ + std::max(core.l_words, 1)", "now_ + std::max(core.l_words, 2)"),
    "the next axon is not read ahead": ("(!core.l_valid || take);", "!core.l_valid;"),
    "a word is written a cycle earlier": ("core.l_words + 3 : now_ + 1", "core.l_words + 2 : now_ + 1"),
    "the arbiter always begins with the north": (
        "wants[(router.last[o] + step) % 5] == o) chosen = (router.last[o] + step) % 5;",
        "wants[(4 + step) % 5] == o) chosen = (4 + step) % 5;",
    ),
    "the arbiter starts with another input": ("last[5] = {4, 4, 4, 4, 4}", "last[5] = {0, 0, 0, 0, 0}"),
    "rows before columns": (EAST_WEST + BETWEEN + NORTH_SOUTH, NORTH_SOUTH + BETWEEN + EAST_WEST),
    "a place more in the routers": ("router.credit[o] = p_.router_depth;", "router.credit[o] = p_.router_depth + 1;"),
    "a place more in front of a core": (
        "router.credit[local] = p_.input_depth;",
        "router.credit[local] = p_.input_depth + 1;",
    ),
    "the barrier is a cycle shorter": ("quiet + p_.barrier + 2", "quiet + p_.barrier + 1"),
    "the host waits a cycle": ("wake(the_host, 0, start_)", "wake(the_host, 0, start_ + 1)"),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, Any, str]]:
    """Networks with what the RTL logged of them, which is what the simulator says."""
    need("verilator")
    builds = tmp_path_factory.mktemp("nc1")
    found = []
    for seed in SEEDS:
        case, chip = crowded(seed, seed % 2 + 1)
        samples = {name: x.astype(np.float64) for name, x in case.inputs.items()}
        folder = builds / f"run{seed}"
        folder.mkdir()
        files = run_files(chip, foresee(chip, samples))
        for name, content in files.items():
            (folder / name).write_bytes(content)
        run(build(chip.parameters, builds), folder, options=["+membranes"])
        log = (folder / "log.txt").read_text()
        assert files["expected.txt"].decode() == log
        found.append((chip, samples, log))
    assert len({chip.parameters for chip, _, _ in found}) == 2 < len(SETS)
    return found


def compiled(folder: Path, old: str, new: str) -> Any:
    """The simulator with one rule changed, as a module."""
    sources = {file.name: file.read_text() for file in NATIVE.iterdir()}
    changed = {name: text.replace(old, new) for name, text in sources.items()}
    assert sum(sources[name].count(old) for name in sources) == 1, old
    for name, text in changed.items():
        (folder / name).write_text(text)
    made = folder / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = [f"-I{path}" for path in (pybind11.get_include(), sysconfig.get_paths()["include"])]
    files = [str(folder / name) for name in changed if name.endswith(".cpp")]
    subprocess.run(["g++", "-O1", "-std=c++17", "-fPIC", "-shared", *include, *files, "-o", str(made)], check=True)
    spec = importlib.util.spec_from_file_location("_native", made)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("rule", MUTATIONS)
def test_a_wrong_rule_is_caught(
    rule: str, cases: list[tuple[Any, Any, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "_native", compiled(tmp_path, *MUTATIONS[rule]))
    caught = 0
    for chip, samples, log in cases:
        try:
            caught += run_files(chip, foresee(chip, samples))["expected.txt"].decode() != log
        except Exception:
            caught += 1
    assert caught
