"""nc1's RTL as an executor of programs for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.backends.rtl.bundle import foresee, run_files
from neurocompile.backends.rtl.runner import TIME_LIMIT_S, Tool, build, run
from neurocompile.ir.ops import Array, Integrator, Neuron
from neurocompile.ir.trace import Trace
from neurocompile.program import Program
from neurocompile.simulator.base import Runner, RunnerSettings
from neurocompile.targets import target_of
from neurocompile.targets.nc1.chip import Nc1, map_to_nc1

__all__ = ["RTL", "RtlExecutor", "builds_folder", "read_log"]


@dataclass
class RtlExecutor:
    """Runs a Program's integers in the RTL, and compares every cycle with the timing simulator's on the way.

    The moments of its traces are the lines of logs that were compared: spike vectors, events, rests.
    """

    program: Program
    tool: Tool
    time_limit_s: float = TIME_LIMIT_S

    @property
    def name(self) -> str:
        """What it is."""
        return f"nc1's RTL in {'Verilator' if self.tool == 'verilator' else 'Icarus Verilog'}"

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Run samples ``inputs[name][N, T, *shape]``, in real units: spikes, membranes after the reset, moments."""
        chip = map_to_nc1(self.program)
        files = run_files(chip, foresee(chip, inputs))
        with tempfile.TemporaryDirectory(prefix="neurocompile-rtl-") as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            made = build(chip.parameters, builds_folder(), self.tool)
            run(made, Path(folder), options=["+membranes"], time_limit_s=self.time_limit_s)
            log = (Path(folder) / "log.txt").read_text()
        lines, expected = log.splitlines(), files["expected.txt"].decode().splitlines()
        differing = sum(a != b for a, b in zip(lines, expected)) + abs(len(lines) - len(expected))
        spikes, left = read_log(chip, log, len(next(iter(inputs.values()))))
        return Trace(spikes=spikes, potentials=left, moments=len(expected), moments_differing=differing)


def builds_folder() -> Path:
    """Where simulators of the RTL are kept between runs, one for each set of parameters: below ``$XDG_CACHE_HOME``."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "neurocompile" / "nc1"


def _open(program: Program, settings: RunnerSettings) -> RtlExecutor | str:
    """The RTL for a program that it runs, or why there is none."""
    if "rtl" not in target_of(program).backends:
        return ""
    if program.integer.hosts:
        return "parts of this network are computed by the host, which the RTL does not have"
    tools: tuple[Tool, ...] = ("verilator", "iverilog")
    for tool in tools:
        if shutil.which(tool):
            return RtlExecutor(program, tool, settings.time_limit_s)
    return "there is neither Verilator nor Icarus Verilog here: install one (in the checkout: make system)"


RTL = Runner("rtl", 4, _open, later="`neurocompile validate` runs its RTL")
"""Runs programs for nc1."""


def read_log(chip: Nc1, log: str, samples: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Spikes and membranes of the network's layers from a log with membranes, ``[N, T, *shape]`` in network time."""
    graph, p, timesteps = chip.program.integer, chip.parameters, chip.netlist.timesteps
    layers = {node.name: graph.edges[node.name].shape for node in graph.of(Neuron, Integrator)}
    spikes: dict[str, Any] = {n: np.zeros((samples, timesteps, int(np.prod(s))), np.int8) for n, s in layers.items()}
    left: dict[str, Any] = {name: np.zeros(x.shape, np.int64) for name, x in spikes.items()}
    neurons = _neurons_of_groups(chip)
    sign, mask = 1 << (p.state_bits - 1), (1 << p.state_bits) - 1
    sample = step = 0
    for line in log.splitlines():
        kind, *rest = line.split()
        if kind == "t":
            sample, step = int(rest[1]), int(rest[2])
        elif kind == "u":
            name, lanes = neurons[int(rest[1]), int(rest[2])]
            if name not in layers:
                continue
            t = step - chip.netlist.populations[name].depth
            bits, membranes = int(rest[3], 16), int(rest[4], 16)
            for lane, neuron in lanes:
                spikes[name][sample, t, neuron] = bits >> lane & 1
                value = membranes >> (lane * p.state_bits) & mask
                left[name][sample, t, neuron] = (value ^ sign) - sign
    fires = {node.name for node in graph.of(Neuron)}
    return (
        {n: x.reshape(samples, timesteps, *layers[n]) for n, x in spikes.items() if n in fires},
        {n: x.reshape(samples, timesteps, *layers[n]) for n, x in left.items()},
    )


def _neurons_of_groups(chip: Nc1) -> dict[tuple[int, int], tuple[str, list[tuple[int, int]]]]:
    """For each place and group the population, and its lanes and neurons."""
    found: dict[tuple[int, int], tuple[str, list[tuple[int, int]]]] = {}
    for name, slots in chip.partition.slot.items():
        places = chip.place[chip.partition.core[name]]
        for neuron, (place, slot) in enumerate(zip(places.tolist(), slots.tolist())):
            group, lane = divmod(slot, chip.parameters.lanes)
            found.setdefault((place, group), (name, []))[1].append((lane, neuron))
    return found
