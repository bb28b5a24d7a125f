"""What a program did with some data, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from neurocompile.ir.counts import Counts
from neurocompile.ir.ops import Array
from neurocompile.reports.base import Report
from neurocompile.reports.neurobench import NeuroBench
from neurocompile.reports.plain import HIDDEN, INLINED
from neurocompile.reports.program import HostRegionReport
from neurocompile.simulator.energy import Bill
from neurocompile.simulator.timing.report import TimingReport

__all__ = ["LayerReport", "PerSample", "SimulateReport", "Totals", "Updates"]


@dataclass(frozen=True)
class Updates:
    """Neuron updates with something to do, and without; None where nothing was counted."""

    active: int | None = None
    inactive: int | None = None

    @property
    def all(self) -> int:
        """Both."""
        return (self.active or 0) + (self.inactive or 0)


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Counts, summed over samples; None where nothing was counted (a run in float64)."""

    sops: int | None = None
    sops_nonzero: int | None = None
    macs: int | None = None
    spikes: int
    neuron_updates: Updates = Updates()
    bias_writes: int | None = None


@dataclass(frozen=True)
class PerSample:
    """The same for one sample, on average."""

    sops: float | None
    sops_nonzero: float | None
    macs: float | None
    spikes: float
    energy_pj: float | None
    cycles: float | None
    latency_ns: float | None
    neuron_updates: dict[str, float | None]


@dataclass(frozen=True)
class LayerReport:
    """One layer: a neuron or an integrator with its synapses, or a sum of events.

    ``firing_rate`` is spikes a neuron and step, None for what does not fire; ``energy_pj`` None where it is unpriced,
    or the host's.
    """

    name: str
    kind: str
    neurons: int
    totals: Totals = field(metadata=INLINED)
    firing_rate: float | None
    energy_pj: float | None


@dataclass(frozen=True)
class SimulateReport(Report):
    """What a program did with some data; counts are sums over all samples.

    Two of them are equal if all but their arrays is.

    Attributes:
        target: whose prices these are.
        engine: what computed it.
        accuracy: the share of samples whose largest first output is the label; None without labels.
        totals: of all layers.
        firing_rate: spikes a neuron and step, over all neuron layers.
        overflows: register values that met the end of their range.
        clipped: input values outside the range of the program's inputs.
        bill: the energy of what the chip did.
        latency_ns: of all samples, where a timing model says it.
        cycles: likewise.
        fits: on one chip; None where its limits are not known.
        chips_needed: at least.
        host: what of ``totals`` the host did, if it did any.
        host_regions: what it computed beside that.
        timing: on a target with a timing model, unless it is priced as another.
        untimed: why it was not timed, there.
        neurobench: the same by the names of NeuroBench's metrics.
        arithmetic: "integers" or "float64".
        outputs: ``outputs[name][N, ...]`` in real units.
        spikes: ``spikes[layer][N, T, ...]``, if they were asked for.
        labels: ``[N]``, if there are any.
        counts: sample by sample; empty for a run in float64.
        spike_counts: by layer.
        timeline: of the first sample in the Chrome trace-event format, if it was asked for and not written in another.
    """

    target: str
    samples: int
    timesteps: int
    engine: str
    accuracy: float | None
    totals: Totals = field(metadata=INLINED)
    firing_rate: float
    overflows: int
    clipped: int = field(metadata={"json": "clipped_inputs"})
    bill: Bill = field(metadata=INLINED)
    latency_ns: float | None
    cycles: int | None
    fits: bool | None
    chips_needed: int | None
    host: Totals | None
    host_regions: tuple[HostRegionReport, ...]
    timing: TimingReport | None
    untimed: str
    layers: tuple[LayerReport, ...]
    per_sample: PerSample
    neurobench: NeuroBench
    arithmetic: Literal["integers", "float64"]
    outputs: dict[str, Array] = field(compare=False, metadata=HIDDEN)
    spikes: dict[str, Array] = field(compare=False, metadata=HIDDEN)
    labels: Array | None = field(compare=False, metadata=HIDDEN)
    counts: Counts = field(compare=False, metadata=HIDDEN)
    spike_counts: dict[str, int] = field(metadata=HIDDEN)
    timeline: dict[str, object] | None = field(default=None, compare=False, metadata=HIDDEN)
