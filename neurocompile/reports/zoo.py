"""The papers' networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from neurocompile.reports.base import Report
from neurocompile.reports.plain import INLINED

__all__ = ["Measured", "NetworkReport", "Written", "ZooReport"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a network takes and costs; counts, operations and energy are those of one inference.

    Attributes:
        synthetic: that it is untrained, and its inputs are made up.
        crossing_numbers: that cross between chip and host.
        on_chip_fraction: the share of all operations (SOPs and MACs) that is not the host's.
        energy_pj: by chip; None where nothing is priced.
        spikes_compared: of PyTorch and of the folded graph, in float64.
        ties: samples that differ, and may.
        output_error: the largest difference of outputs, as a part of the largest.
        spikes_differing_int8: of the folded graph and of the integers.
        integers_compared: spikes and membranes of one sample, from the engine and from the reference.
        export_cpu_s: of the processor, for lowering, folding, quantizing and packing.
        memory_mb: the most that the process took, torch included.
        memory_before_mb: what of that it took before.
        loihi_reason: why it takes no cores of a Loihi.
    """

    synthetic: bool = True
    neurons: int
    synapses: int
    weights: int
    sops: float
    macs: float
    firing_rate: float
    host_regions: int
    host_macs: int
    crossing_numbers: int
    on_chip_fraction: float
    energy_pj: dict[str, float | None]
    energy_is_lower_bound: dict[str, bool | None]
    spikes_compared: int
    spikes_differing: int
    ties: int
    output_error: float
    spikes_differing_int8: int
    export_s: float
    export_cpu_s: float
    memory_mb: int
    memory_before_mb: int
    integers_compared: int
    integers_differing: int
    loihi_cores: int | None
    loihi_chips: int | None
    loihi_reason: str


@dataclass(frozen=True)
class NetworkReport:
    """A network: its paper, its size ("paper" or "small"), the shapes of its inputs, where its sizes are from."""

    name: str
    paper: str
    size: str
    timesteps: int
    layout: str
    inputs: tuple[tuple[int, ...], ...]
    source: str
    measured: Measured | None = field(default=None, metadata=INLINED)


@dataclass(frozen=True)
class Written:
    """A network as a model file, and the share of places and steps at which each of its layers fires."""

    model: Path
    parameters: int
    firing_rates: dict[str, float]
    synthetic: bool = True


@dataclass(frozen=True)
class ZooReport(Report):
    """The networks that were asked for; the one that was written, if one was."""

    networks: tuple[NetworkReport, ...]
    written: Written | None = field(default=None, metadata=INLINED)

    @property
    def exit_code(self) -> int:
        """5 if one was measured that does not do what PyTorch does."""
        measured = [network.measured for network in self.networks if network.measured is not None]
        return 5 if any(each.spikes_differing or each.integers_differing for each in measured) else 0
