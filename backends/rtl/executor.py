"""nc1's RTL as an executor of programs for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.backends.rtl.builds import builds_folder
from neurocompile.backends.rtl.bundle import foresee, run_files
from neurocompile.backends.rtl.runner import RUN_LIMIT_S, Run, Tool, build
from neurocompile.ir.ops import Array, Integrator, Neuron
from neurocompile.ir.trace import Trace, joined
from neurocompile.program import Program
from neurocompile.simulator.base import Runner, RunnerSettings
from neurocompile.targets import target_of
from neurocompile.targets.nc1.chip import Nc1, map_to_nc1

__all__ = ["RTL", "RtlExecutor", "read_log"]


_SAMPLES = 32
"""So many are one run: several run at once, as many as there are cores, and each loads the memories anew."""


@dataclass
class RtlExecutor:
    """Runs a Program's integers in the RTL, and compares every cycle with the timing simulator's on the way.

    The moments of its traces are the lines of logs that were compared: spike vectors, events, rests.
    """

    program: Program
    tool: Tool
    time_limit_s: float | None = RUN_LIMIT_S

    @property
    def name(self) -> str:
        """What it is."""
        return f"nc1's RTL in {'Verilator' if self.tool == 'verilator' else 'Icarus Verilog'}"

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Run samples ``inputs[name][N, T, *shape]``, in real units: spikes, membranes after the reset, moments."""
        chip, samples = map_to_nc1(self.program), len(next(iter(inputs.values())))
        made = build(chip.parameters, builds_folder(), self.tool)
        pieces = [{n: x[k : k + _SAMPLES] for n, x in inputs.items()} for k in range(0, max(samples, 1), _SAMPLES)]
        traces: list[Trace] = []
        running: deque[_Piece] = deque()
        try:
            for piece in pieces:
                running.append(_Piece(chip, made, piece))
                if len(running) == (os.cpu_count() or 1):
                    traces.append(running.popleft().trace(self.time_limit_s))
            while running:
                traces.append(running.popleft().trace(self.time_limit_s))
        finally:
            for left in running:
                left.stop()
        return joined(traces)


class _Piece:
    """Some samples in the RTL, running in a folder that lives as long."""

    def __init__(self, chip: Nc1, made: Path, inputs: Mapping[str, Array]) -> None:
        self._chip, self._samples = chip, len(next(iter(inputs.values())))
        self._folder = tempfile.TemporaryDirectory(prefix="neurocompile-rtl-")
        files = run_files(chip, foresee(chip, inputs))
        self._expected = files["expected.txt"].decode()
        for name, content in files.items():
            Path(self._folder.name, name).write_bytes(content)
        self._run = Run(made, Path(self._folder.name), options=["+membranes"])

    def trace(self, time_limit_s: float | None) -> Trace:
        """What it did, once it has ended."""
        try:
            self._run.finish(time_limit_s)
            log = Path(self._folder.name, "log.txt").read_text()
        finally:
            self.stop()
        lines, expected = log.splitlines(), self._expected.splitlines()
        differing = sum(a != b for a, b in zip(lines, expected)) + abs(len(lines) - len(expected))
        spikes, left = read_log(self._chip, log, self._samples)
        return Trace(spikes=spikes, potentials=left, moments=len(expected), moments_differing=differing)

    def stop(self) -> None:
        """Nothing of it stays."""
        self._run.stop()
        self._folder.cleanup()


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
