"""Executors that are other programs: Lava, lava-dl's loader, and nc1's RTL."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.rtl import SETS, Tally, compare_logs
from neurocompile.backends.lava import plan_of
from neurocompile.backends.netx import problems_with, write_net
from neurocompile.backends.rtl.bundle import foresee, run_files
from neurocompile.backends.rtl.executor import read_log
from neurocompile.backends.rtl.runner import build, run
from neurocompile.errors import NeurocompileError
from neurocompile.ir.ops import Integrator
from neurocompile.ir.trace import Trace
from neurocompile.simulator.timing.events import EventClock, OnCores
from neurocompile.targets import load_events, target_of
from tests.backends.lava.against import Worker
from tests.backends.netx.lava import run_in_lava
from tests.fuzz.graphs.cases import Case
from tests.fuzz.graphs.executors import named, reference_of, same, whole_of
from tests.random_networks.nc1 import random_chip
from tests.simulator import async_reference
from tests.simulator.engine_sweep import Compared

__all__ = ["by_events", "in_lava", "in_netx", "in_rtl"]

SECONDS = 300.0
"""No network that is drawn takes Lava so long."""


@cache
def _worker() -> Worker:
    """One Lava process for all that is to run in it."""
    worker = Worker(SECONDS)
    atexit.register(worker.stop)
    return worker


def in_lava(case: Case) -> Compared | None:
    """Spikes, membranes after the reset and outputs; of one sample, where each is a run of its own."""
    program = case.program
    # What is drawn as integers has weights and biases that no compiler gives a chip of this kind.
    if program is None or case.integer or program.integer.hosts or "lava" not in target_of(program).backends:
        return None
    try:
        ran = slice(None if plan_of(program).streams else 1)
    except NeurocompileError:
        return None
    found = _worker().run(program, {name: x[ran] for name, x in case.of(whole_of).items()})
    known: Trace = case.of(reference_of)
    kinds = {kind: {name.partition("/")[2]: x for name, x in found.items() if name.startswith(kind)}
             for kind in ("spikes", "membranes", "outputs")}  # fmt: skip
    return same(
        Trace(**{kind: {name: x[ran] for name, x in getattr(known, kind).items()}
                 for kind in ("spikes", "potentials", "outputs")}),
        Trace(spikes={n: kinds["spikes"][n] for n in known.spikes if n in kinds["spikes"]},
              potentials={n: kinds["membranes"][n] for n in known.potentials if n in kinds["membranes"]},
              outputs=kinds["outputs"]),
        "lava", ("spikes", "potentials", "outputs"),
    )  # fmt: skip


def in_netx(case: Case) -> Compared | None:
    """Spikes, and the membranes that its processes keep."""
    program = case.program
    if program is None or program.integer.hosts or "netx" not in target_of(program).backends:
        return None
    if problems_with(program):
        return None
    (x,) = case.of(whole_of).values()
    with tempfile.TemporaryDirectory() as folder:
        ran = run_in_lava(Path(folder), {"network": (write_net(program), x)}, SECONDS)["network"]
    known, done = case.of(reference_of), Compared()
    for name, spikes in known.spikes.items():
        done.hold("spikes", f"{name} (netx)", ran[f"spikes/{name}"], spikes)
    for name, values in known.potentials.items():
        if f"potentials/{name}" in ran:
            done.hold("membranes", f"{name} (netx)", ran[f"potentials/{name}"], values)
    return done


def in_rtl(case: Case) -> Compared | None:
    """Spikes, membranes after the reset, and every moment: on a mesh that is drawn."""
    program = case.program
    if program is None or program.integer.hosts or "rtl" not in target_of(program).backends:
        return None
    r = random.Random(case.recipe)
    mesh, parameters = SETS[r.randrange(2)]
    try:
        chip = random_chip(r, program, mesh, parameters)
    except NeurocompileError:
        return None
    tool = "verilator" if shutil.which("verilator") else "iverilog"
    builds = Path(os.environ.get("NEUROCOMPILE_RTL_BUILDS", "build/nc1")).resolve()
    files = run_files(chip, foresee(chip, {name: x.astype(np.float64) for name, x in case.inputs.items()}))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        run(build(chip.parameters, builds, tool), folder, options=["+membranes"])
        log = (folder / "log.txt").read_text()
    spikes, left = read_log(chip, log, case.samples)
    known = case.of(reference_of)
    done = same(
        Trace(spikes=known.spikes, potentials=known.potentials), Trace(spikes=spikes, potentials=left), "rtl",
        ("spikes", "potentials"),
    )  # fmt: skip
    tally = Tally()
    compare_logs(files["expected.txt"].decode(), log, chip.parameters.lanes, tally)
    done.values["moments"] += sum(tally.lines.values())
    if wrong := tally.cycle_mismatches + tally.spike_mismatches + tally.state_mismatches:
        done.mismatches["moments"] += wrong
        done.where.append(f"rtl: {wrong} moments differ: {tally.first}")
    return done


def by_events(case: Case) -> Compared | None:
    """When every message of the first sample left, arrived and was done, and when each core was idle."""
    program = case.program
    if program is None or program.integer.hosts or target_of(program).clock != "events":
        return None
    try:
        clock = EventClock(program, keep=True)
    except NeurocompileError:
        return None
    known, whole = case.of(reference_of), case.of(whole_of)
    clock.take({name: x[:1] for name, x in whole.items()}, {name: x[:1] for name, x in known.spikes.items()})
    found, mapped = clock.first, clock.mapped
    assert found is not None
    if len(found.events) > 3000:  # plain Python takes its time
        return None
    target = target_of(program)
    events, done, start = target.events or load_events(target.timed_as or target.name), Compared(), 0
    everyone = set(range(mapped.chip.neurons))
    for step in range(mapped.steps):
        fired = _fired(mapped, known, whole, step)
        expected = async_reference.by_links(
            mapped.chip, events, async_reference.plan(mapped.chip, events, fired, everyone)
        )
        messages = sorted(
            (m.neuron, m.axon, *(start + each for each in (m.ready, m.entered, m.arrived, m.taken, m.done)))
            for m in expected.messages
        )
        done.hold(
            "moments",
            f"messages of step {step}",
            _rows(sorted(map(tuple, found.events[found.events[:, 0] == step, 1:].tolist()))),
            _rows(messages),
        )
        done.hold("moments", f"when step {step} is quiet", int(found.quiet[step]), start + expected.quiet)
        done.hold("moments", f"idle cores of step {step}", found.idle[step], [start + each for each in expected.idle])
        start += expected.quiet + found.barrier
    return named("events", done)


def _rows(rows: list[tuple[int, ...]]) -> np.ndarray:
    return np.asarray(rows, np.int64).reshape(-1, 7)


def _fired(mapped: OnCores, known: Trace, whole: dict[str, np.ndarray], step: int) -> set[int]:
    """Which neurons of the chip fire in one of its steps, by their numbers there."""
    found: list[int] = []
    for name, population in mapped.netlist.populations.items():
        t = step - population.depth
        if isinstance(population.op, Integrator) or not 0 <= t < mapped.netlist.timesteps:
            continue
        fired = known.spikes.get(population.layer)
        values = whole[population.layer][0] if fired is None else fired[0]
        values = values[t if len(values) > 1 else 0]
        found += (mapped.first[name] + np.flatnonzero(values.reshape(-1))).tolist()
    return set(mapped.chip.number[found].tolist())
