"""Programs on Loihi by the timing model: what is timed is what the engine counted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer
from spikingjelly.activation_based.neuron import IFNode, LIFNode

import neurocompile
from neurocompile.data import Data, arrange_inputs
from neurocompile.errors import DoesNotFit, UsageError
from neurocompile.frontends.pytorch import TorchModel
from neurocompile.program import Program
from neurocompile.reports import plain
from neurocompile.simulator.timing.events import EventClock, on_cores
from neurocompile.targets import load_events, load_target
from neurocompile.verbs.pricing import priced
from neurocompile.verbs.running import run_program

CHECKPOINTS = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints"


@pytest.fixture(scope="module")
def digits() -> tuple[Program, Data]:
    program = neurocompile.compile(CHECKPOINTS / "digits.pt", "loihi")
    data = program.example_data()
    assert data is not None
    return program, data.part(0, 12)


def test_messages_meet_as_many_synapses_as_the_engine_counted(digits: tuple[Program, Data]) -> None:
    program, data = digits
    result = run_program(program, data)
    assert isinstance(result.clock, EventClock)
    timing = plain(result.clock.report())
    assert timing["synaptic_events"] == int(result.counts.total("sops").sum())
    mapped = on_cores(program)
    sent = 0
    spikes = run_program(program, data, keep_spikes=True).spikes
    for name, population in mapped.netlist.populations.items():
        if population.layer in spikes:
            axons = np.diff(mapped.chip.axon_first)[mapped.chip.number]
            first = mapped.first[name]
            each = spikes[population.layer].reshape(-1, population.size).sum(0, dtype=np.int64)
            sent += int((each * axons[first : first + population.size]).sum())
    assert timing["messages"] == sent > 1000


def test_energy_is_what_happened_times_the_constants(digits: tuple[Program, Data]) -> None:
    program, data = digits
    clock = run_program(program, data).clock
    assert isinstance(clock, EventClock)
    timing, events = plain(clock.report()), load_events("loihi-sanafe")
    parts = timing["energy_pj_by_part"]
    assert parts["synapse"] == pytest.approx(timing["synaptic_events"] * events.energy["synapse_dense"].nominal)
    low, high = timing["energy_pj_bounds"]
    assert timing["energy_pj"] == pytest.approx(sum(parts.values()))
    assert low < timing["energy_pj"] <= high
    assert events.static is not None
    assert timing["static_pj"] == pytest.approx(events.static.nominal * timing["latency_ns"])  # mW ns = pJ
    # Neurons of the chip at every step of the chip; those that stand for the host's spikes cost none.
    steps = len(data) * timing["steps"]
    neurons = sum(p.size for p in clock.mapped.netlist.populations.values() if p.op is not None)
    each = events.energy["neuron_access"].nominal + events.energy["neuron_update"].nominal
    assert parts["soma"] >= steps * neurons * each


def test_a_sample_takes_as_long_alone_as_behind_others(digits: tuple[Program, Data]) -> None:
    program, data = digits
    together = run_program(program, data).clock
    alone = [run_program(program, data.part(k, k + 1)).clock for k in range(3)]
    assert isinstance(together, EventClock)
    latencies = np.concatenate(together._latencies)
    for k, clock in enumerate(alone):
        assert isinstance(clock, EventClock)
        assert plain(clock.report())["latency_ns"] == pytest.approx(latencies[k] / 1000)


def test_every_neuron_is_on_the_core_that_the_mapping_gave_it(digits: tuple[Program, Data]) -> None:
    program, _ = digits
    mapped = on_cores(program)
    mapping = load_target("loihi").place(program)
    assert mapping is not None
    sizes = np.diff(mapped.chip.neuron_first)
    assert sizes[:-1].tolist() == [core.neurons for core in mapping.cores]
    assert mapped.chip.cores == len(mapping.cores) + 1
    assert len(np.unique(mapped.chip.place)) == mapped.chip.cores


def test_a_report_has_latency_on_loihi_and_none_elsewhere(digits: tuple[Program, Data]) -> None:
    program, data = digits
    report = priced(run_program(program, data))
    assert report.latency_ns is not None
    assert report.latency_ns > 0
    assert report.per_sample.latency_ns == pytest.approx(report.latency_ns / len(data))
    assert report.cycles is None
    assert priced(run_program(program, data), "anp-i").latency_ns is None
    left_out = priced(run_program(program, data, timing=False))
    assert (left_out.timing, left_out.untimed) == (None, "it was not asked for")


def test_a_timeline_of_what_cannot_be_timed_is_refused(
    digits: tuple[Program, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, data = digits
    monkeypatch.setattr("neurocompile.simulator.timing.events.timing_missing", lambda: "nothing is compiled")
    with pytest.raises(UsageError, match="it cannot be timed: nothing is compiled"):
        run_program(program, data, timeline=True)
    assert run_program(program, data).untimed == "nothing is compiled"


def _with_a_pool(target: str, *parts: torch.nn.Module) -> tuple[Program, Data]:
    x = torch.rand(4, 6, 1, 8, 8)
    model = TorchModel.from_module(torch.nn.Sequential(*parts).eval(), {"input": (1, 8, 8)}, 4, "TN")
    model.example = {"input": np.asarray(x.transpose(0, 1))}
    program = neurocompile.compile(model, target)
    return program, arrange_inputs(model.example, program.input_shapes, 4, "the samples")


def test_a_max_pool_of_spikes_is_timed_as_neurons() -> None:
    torch.manual_seed(0)
    conv, pool = partial(layer.Conv2d, kernel_size=3, padding=1, step_mode="m"), layer.MaxPool2d(2, step_mode="m")
    fires = partial(LIFNode, step_mode="m", v_threshold=0.3)
    program, data = _with_a_pool("loihi", conv(1, 4), fires(), pool, conv(4, 4), fires())
    result = run_program(program, data, timing=True)
    assert isinstance(result.clock, EventClock)
    assert plain(result.clock.report())["synaptic_events"] == int(result.counts.total("sops").sum()) > 0


def test_a_max_pool_that_stays_one_is_not_timed_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurocompile.passes.OrNeurons.run", lambda _, graph: (graph, []))
    torch.manual_seed(0)
    conv, pool = partial(layer.Conv2d, kernel_size=3, padding=1, step_mode="m"), layer.MaxPool2d(2, step_mode="m")
    fires = partial(LIFNode, step_mode="m", v_threshold=0.3)
    program, data = _with_a_pool("loihi", conv(1, 4), fires(), pool, conv(4, 4), fires())
    result = run_program(program, data)
    assert result.clock is None
    assert "max-pool" in result.untimed
    with pytest.raises(DoesNotFit, match="max-pool"):
        run_program(program, data, timing=True)


def test_what_soft_resets_write_is_beside_the_sops() -> None:
    torch.manual_seed(0)
    conv, fires = partial(layer.Conv2d, kernel_size=3, padding=1, step_mode="m"), partial(IFNode, step_mode="m")
    soft = partial(fires, v_threshold=0.3, v_reset=None)
    model = torch.nn.Sequential(conv(1, 4), fires(), conv(4, 3), soft(), conv(3, 4), soft())
    program, data = _with_a_pool("loihi", *model)
    run = run_program(program, data, timing=True, keep_spikes=True)
    assert isinstance(run.clock, EventClock)
    timing, mapped, spikes = plain(run.clock.report()), run.clock.mapped, run.spikes
    assert mapped.resets == {"3": 1, "5": 1}
    back = sum(int(spikes[name].sum()) for name in mapped.resets)
    assert timing["reset_writes"] == back > 100
    assert timing["synaptic_events"] == int(run.counts.total("sops").sum())
    synapses = timing["synaptic_events"] + timing["halo_writes"] + back
    each = load_events("loihi-sanafe").energy
    assert timing["energy_pj_by_part"]["synapse"] == pytest.approx(synapses * each["synapse_dense"].nominal)
    # Both compartments are updated, at every step of the chip; what the host sends costs no update.
    populations = mapped.netlist.populations
    neurons = sum(each.size for each in populations.values() if each.op is not None)
    both = neurons + sum(populations[name].size for name in mapped.resets)
    soma = len(data) * timing["steps"] * both * (each["neuron_access"].nominal + each["neuron_update"].nominal)
    fired = sum(int(fires.sum()) for fires in spikes.values()) * each["neuron_spike"].nominal
    assert timing["energy_pj_by_part"]["soma"] == pytest.approx(soma + fired)
    # A message back for each spike, beside one for each block of a reader.
    chip = mapped.chip
    for name in mapped.resets:
        own = chip.number[mapped.first[name] : mapped.first[name] + populations[name].size]
        for neuron in own.tolist():
            axons = slice(chip.axon_first[neuron], chip.axon_first[neuron + 1])
            here = chip.axon_core[axons] == chip.core_of[neuron]
            assert (chip.axon_synapses[axons].sum(1)[here] == 1).any()
            assert chip.core_of[neuron] == chip.core_of[neuron - 1]  # its first compartment, right before it
