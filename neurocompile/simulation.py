"""Running a Program on data of any length, and the summary of what it did and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from neurocompile.data import Data
from neurocompile.errors import BadInput, DoesNotFit, Problem, UsageError, naming_lines
from neurocompile.execution import Execution, Executor
from neurocompile.hosted import run_graph
from neurocompile.ir.ops import Add, Array, Integrator, Neuron, SumPool
from neurocompile.mapping import chips_needed, fit_problems
from neurocompile.mapping.host import host_layers
from neurocompile.program import Program
from neurocompile.simulator.counts import Counts, fanouts, stored_synapses
from neurocompile.simulator.energy import Bill, price
from neurocompile.simulator.timing.clock import Clock, Placed
from neurocompile.simulator.timing.loihi import LoihiClock
from neurocompile.simulator.timing.nc1 import timing_missing
from neurocompile.targets import Target, load_target

__all__ = ["TIMED", "Result", "accuracy_of", "ann_macs", "check_labels", "host_regions", "run_program", "summary"]

# Samples that are simulated at a time: enough for many threads, few enough that memory does not grow with the data.
_CHUNK = 128

TIMED = ("nc1", "loihi")
"""The targets with a timing model."""

# Every synapse is listed for a timing model, so that larger networks are timed only if that is asked for.
_TIMED_SYNAPSES = 5_000_000

_COUNTS = ("sops", "sops_nonzero", "macs", "spikes", "active", "inactive")


@dataclass
class Result:
    """What a program did with some data.

    ``outputs[name][N, ...]`` are in real units; ``spikes[layer][N, T, ...]`` only if they were asked for. ``counts``
    is empty for a run in float64. ``clipped`` counts input values outside the range of the program's inputs. ``engine``
    says what computed it. ``clock`` has the time it took, on a target with a timing model; ``untimed`` says why not.
    """

    program: Program
    samples: int
    outputs: dict[str, Array]
    labels: Array | None
    counts: Counts
    spike_counts: dict[str, int]
    spikes: dict[str, Array] = field(default_factory=dict)
    overflows: int = 0
    clipped: int = 0
    engine: str = ""
    clock: Clock | LoihiClock | None = None
    untimed: str = ""

    @property
    def accuracy(self) -> float | None:
        """The share of samples whose largest first output is the label; None without labels."""
        return accuracy_of(self.outputs, self.labels)

    @property
    def firing_rate(self) -> float:
        """Spikes a neuron and step, over all neuron layers."""
        places = sum(self.places(name) for name in self.spike_counts)
        return sum(self.spike_counts.values()) / places if places else 0.0

    def places(self, layer: str) -> int:
        """How many spikes a layer could have fired."""
        return self.program.integer.edges[layer].size * self.program.timesteps * self.samples


def accuracy_of(outputs: Mapping[str, Array], labels: Array | None) -> float | None:
    """The share of samples whose largest output is the label; a sequence of outputs is averaged over time first."""
    if labels is None or "output" not in outputs:
        return None
    scores = outputs["output"]
    if scores.ndim > 2:
        scores = scores.reshape(*scores.shape[:2], -1).mean(1)
    return float((scores.reshape(len(scores), -1).argmax(1) == labels).mean())


def check_labels(program: Program, data: Data) -> None:
    """Refuse labels that no output of the program stands for.

    Raises:
        BadInput: with the smallest and the largest label.
    """
    sizes = {region.output: prod(region.shape) for region in program.integer.hosts.values()}
    sizes |= {name: edge.size for name, edge in program.integer.edges.items()}
    if data.labels is None or "output" not in sizes:
        return
    classes = sizes["output"]
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= classes:
        what, fix = "the labels do not match the outputs", "number the classes from 0, as the network does"
        raise BadInput(Problem(what, data.where, f"{low} to {high}", f"0 to {classes - 1}", fix))


def run_program(
    program: Program,
    data: Data,
    *,
    real: bool = False,
    keep_spikes: bool = False,
    stream: bool = False,
    threads: int | None = None,
    reference: bool = False,
    timing: bool | None = None,
    placement: Placed = "in-order",
    timeline: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Simulate a program.

    Args:
        program: compiled.
        data: inputs ``[N, T, *shape]``.
        real: run the folded graph in float64 instead of the integers (nothing is counted then but spikes).
        keep_spikes: whether the result holds every spike.
        stream: keep the state from one sample to the next, as if they followed one another in time.
        threads: how many samples run at once; None: one for each processor.
        reference: run the NumPy reference even where there is the compiled engine.
        timing: whether to time it, on a target with a timing model; None: if it is not too large.
        placement: of the cores of nc1.
        timeline: keep the events of the first sample in ``clock``.
        progress: called with the number of samples done since the last call.

    Raises:
        DoesNotFit: for what the mesh of a target with a timing model cannot hold.
        UsageError: with ``stream`` and ``real`` together, which are not simulated; with ``timing`` or ``timeline`` for
            what cannot be timed.
        BadInput: if labels do not match the outputs.
    """
    check_labels(program, data)
    if real and stream:
        raise UsageError(Problem("the float64 graph starts anew for every sample", "--stream", fix="leave out --real"))
    outputs: dict[str, list[Array]] = {}
    spikes: dict[str, list[Array]] = {}
    totals: dict[str, int] = {node.name: 0 for node in program.integer.of(Neuron)}
    result = Result(program, len(data), {}, data.labels, Counts(), totals)
    executor = None if real else Executor(program, reference=reference, stream=stream)
    if not (real or stream):
        with naming_lines(program.lines):
            result.clock, result.untimed = _clock(program, timing, placement, timeline)
    result.engine = "float64" if executor is None else executor.name
    chunk = _CHUNK if executor is None else executor.chunk or _CHUNK
    for start in range(0, len(data), chunk):
        inputs = data.part(start, start + chunk).inputs
        if executor is None:
            done = _in_reals(program, inputs, progress)
        else:
            done = executor.run(
                inputs, spikes=keep_spikes or result.clock is not None, threads=threads, progress=progress
            )
            if result.clock is not None:
                result.clock.take(program.integers(inputs)[0], done.spikes)
        result.counts = result.counts.joined(done.counts)
        result.overflows += done.overflows
        result.clipped += done.clipped
        for name, values in done.outputs.items():
            outputs.setdefault(name, []).append(values)
        for name, count in done.fired.items():
            totals[name] += count
        if keep_spikes:
            for name, fired in done.spikes.items():
                spikes.setdefault(name, []).append(fired)
    result.outputs = {name: np.concatenate(parts) for name, parts in outputs.items()}
    result.spikes = {name: np.concatenate(parts) for name, parts in spikes.items()}
    return result


def _in_reals(program: Program, inputs: Mapping[str, Array], progress: Callable[[int], None] | None) -> Execution:
    done = run_graph(program.real, inputs, program.timesteps)
    if progress:
        progress(len(next(iter(inputs.values()))))
    fired = {name: int((spikes != 0).sum()) for name, spikes in done.spikes.items()}
    return Execution(done.outputs, done.spikes, fired)


def _clock(
    program: Program, timing: bool | None, placement: Placed, timeline: bool
) -> tuple[Clock | LoihiClock | None, str]:
    """What times a program; or why nothing does."""
    if program.target not in TIMED:
        return None, ""
    asked = timing or timeline
    why = timing_missing()
    if timing is False:
        why = "it was not asked for"
    elif program.integer.hosts:
        why = "parts of this network are computed by the host"
    elif not asked and (synapses := stored_synapses(program.integer)) > _TIMED_SYNAPSES:
        why = f"{synapses:,} synapses are listed one by one for it: --timing does so"
    if why and asked:
        raise UsageError(Problem(f"it cannot be timed: {why}", program.target, fix="leave out --timing and --timeline"))
    if why:
        return None, why
    if program.target == "nc1":
        return Clock(program, placement, timeline), ""
    try:
        return LoihiClock(program, timeline), ""
    except DoesNotFit as error:
        if asked:
            raise
        return None, str(error.problems[0])


def summary(result: Result, price_as: str | None = None) -> dict[str, Any]:
    """The object that ``simulate --json`` prints: counts summed over all samples, and their price on a target."""
    target = load_target(price_as or result.program.target)
    counted = bool(result.counts.layers)
    totals = {name: int(result.counts.total(name).sum()) for name in _COUNTS} if counted else dict.fromkeys(_COUNTS)
    totals["spikes"] = sum(result.spike_counts.values())
    host = _on_host(result)
    body: dict[str, Any] = {
        "target": target.name,
        "samples": result.samples,
        "timesteps": result.program.timesteps,
        "engine": result.engine,
        "accuracy": result.accuracy,
        **_shown(totals),
        "firing_rate": result.firing_rate,
        "overflows": result.overflows,
        "clipped_inputs": result.clipped,
        **(_cost(_on_chip(totals, host), target) if counted else _no_cost()),
        **_fit(result.program, target),
        "host": _shown(host) if host else None,
        "host_regions": host_regions(result.program),
        "timing": result.clock.summary() if result.clock is not None and target.name == result.program.target else None,
        "untimed": result.untimed,
        "layers": _layers(result, target),
    }
    for name in ("cycles", "latency_ns"):
        body[name] = (body["timing"] or {}).get(name)
    numbers = ("sops", "sops_nonzero", "macs", "spikes", "energy_pj", "cycles", "latency_ns")
    body["per_sample"] = {
        **{name: None if body[name] is None else body[name] / result.samples for name in numbers},
        "neuron_updates": {
            name: None if count is None else count / result.samples for name, count in body["neuron_updates"].items()
        },
    }
    return body


def host_regions(program: Program) -> list[dict[str, Any]]:
    """What the host computes of one inference, and what crosses to it and back: bits for spikes, numbers otherwise."""
    graph, steps = program.integer, program.timesteps
    return [
        {
            "name": region.name,
            "kind": region.kind,
            "reads": [read.source for read in region.reads],
            "output": region.output or None,
            "per_step": region.per_step,
            "macs": region.macs,
            "numbers_in": region.numbers_read(steps),
            "numbers_out": region.numbers(steps),
            "from_chip": sum(prod(r.shape) * (steps if r.timed else 1) for r in region.reads if r.kind == "chip"),
            "to_chip": region.numbers(steps) if region.name in graph else 0,
        }
        for region in graph.hosts.values()
    ]


def _on_host(result: Result) -> dict[str, int]:
    """What the layers do that the host computes; nothing if there are none."""
    layers = [result.counts.layers[name] for name in host_layers(result.program) if name in result.counts.layers]
    return {name: sum(int(getattr(layer, name).sum()) for layer in layers) for name in _COUNTS} if layers else {}


def _on_chip(totals: Mapping[str, Any], host: Mapping[str, int]) -> dict[str, Any]:
    """What the chip is to be paid for. The host's multiplications stay, as unpriced ones."""
    return {name: count - (0 if name == "macs" else host.get(name, 0)) for name, count in totals.items()}


def _shown(totals: Mapping[str, int | None]) -> dict[str, Any]:
    return {
        **{name: totals[name] for name in ("sops", "sops_nonzero", "macs", "spikes")},
        "neuron_updates": {"active": totals["active"], "inactive": totals["inactive"]},
    }


def _bill(totals: Mapping[str, Any], target: Target) -> Bill:
    named = {
        "sop": totals["sops"],
        "mac": totals["macs"],
        "neuron_active": totals["active"],
        "neuron_inactive": totals["inactive"],
        "spike": totals["spikes"],
    }
    return price(named, target)


def _cost(totals: Mapping[str, Any], target: Target) -> dict[str, Any]:
    bill = _bill(totals, target)
    per_sop = bill.energy_pj / totals["sops"] if bill.energy_pj is not None and totals["sops"] else None
    return {
        "energy_pj": bill.energy_pj,
        "energy_pj_bounds": None if bill.bounds_pj is None else list(bill.bounds_pj),
        "energy_is_lower_bound": bill.is_lower_bound,
        "energy_pj_by_term": bill.by_term_pj,
        "pj_per_sop": per_sop,
        "unpriced": bill.unpriced,
        "latency_ns": None,
        "cycles": None,
    }


def _no_cost() -> dict[str, Any]:
    names = ("energy_pj", "energy_pj_bounds", "energy_is_lower_bound", "pj_per_sop", "latency_ns", "cycles")
    return {**dict.fromkeys(names), "energy_pj_by_term": {}, "unpriced": {}}


def _fit(program: Program, target: Target) -> dict[str, Any]:
    if target.is_unlimited:
        return {"fits": True, "chips_needed": 1}
    bits = program.settings.get("bits") if program.target == target.name else None
    needed = chips_needed(program.integer, target, weight_bits=bits, host=host_layers(program))
    return {"fits": None if needed is None else not fit_problems(program, target, 1), "chips_needed": needed}


def _layers(result: Result, target: Target) -> list[dict[str, Any]]:
    graph = result.program.integer
    host = host_layers(result.program)
    layers = []
    for node in graph:
        fires = node.name in result.spike_counts
        if not fires and node.name not in result.counts.layers and not isinstance(node.op, Integrator):
            continue
        counts = result.counts.layers.get(node.name)
        totals: dict[str, Any] = (
            dict.fromkeys(_COUNTS) if counts is None else {n: int(getattr(counts, n).sum()) for n in _COUNTS}
        )
        totals["spikes"] = result.spike_counts.get(node.name, 0)
        layers.append(
            {
                "name": node.name,
                "kind": type(node.op).__name__,
                "neurons": graph.edges[node.name].size if isinstance(node.op, Neuron | Integrator) else 0,
                **_shown(totals),
                "firing_rate": totals["spikes"] / result.places(node.name) if fires else None,
                "energy_pj": None if counts is None or node.name in host else _bill(totals, target).energy_pj,
            }
        )
    return layers


def ann_macs(program: Program) -> int:
    """The multiply-accumulates of one pass of the same network as a conventional one: every weight's synapses, once."""
    sums = {node.name for node in program.integer.of(SumPool, Add)}
    return sum(int(fanout.stored.sum()) for fanout in fanouts(program.integer) if fanout.layer not in sums)
