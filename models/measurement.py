"""What a network of the zoo takes and costs, from PyTorch to the chips, measured in this process."""

from __future__ import annotations

import resource
import time

import torch

from neurocompile.compiler import Options, compile_graph
from neurocompile.data import Data, arrange_inputs
from neurocompile.errors import NeurocompileError
from neurocompile.frontends import Model, live_model
from neurocompile.frontends.pytorch import separate
from neurocompile.program import Program
from neurocompile.reports.zoo import Measured
from neurocompile.simulator.execution import IntegerExecutor
from neurocompile.targets import load_target
from neurocompile.verbs.networks import Network
from neurocompile.verbs.pricing import priced
from neurocompile.verbs.program import sizes_of
from neurocompile.verbs.running import run_program
from neurocompile.verbs.validate import validate_program

__all__ = ["CHIPS", "lowered", "measure"]

CHIPS = ("loihi", "anp-i", "async28")
"""The chips that every network is priced for."""


def measure(network: Network, seed: int = 0, samples: int = 2) -> Measured:
    """What it takes and costs, measured in this process.

    Args:
        network: one of the zoo.
        seed: of weights and inputs.
        samples: how many inputs are run.
    """
    torch.set_num_threads(1)
    module, inputs = network.synthetic(seed, samples)
    before_mb, start, worked = _peak_mb(), time.perf_counter(), time.process_time()
    model = lowered(network, module, inputs)
    program = compile_graph(model.graph, "generic", network.timesteps, Options(), example=model.example)
    program.files()
    export_s, export_cpu_s = time.perf_counter() - start, time.process_time() - worked
    memory_mb = _peak_mb()
    data = arrange_inputs(model.example, program.input_shapes, program.timesteps, "the samples")
    lowering, quantization = validate_program(program, data, model).stages[:2]
    run = run_program(program, data)
    costs = {chip: priced(run, chip) for chip in CHIPS}
    summed, sizes = costs[CHIPS[0]], sizes_of(program)
    sops, macs, hosts = summed.per_sample.sops or 0.0, summed.per_sample.macs or 0.0, summed.host_regions
    host_macs = sum(region.macs for region in hosts)
    integers_compared, integers_differing = _engine_against_reference(program, data)
    cores, chips, reason = _on_loihi(model, network.timesteps)
    return Measured(
        neurons=sizes.neurons or 0,
        synapses=sizes.synapses or 0,
        weights=sizes.weights or 0,
        sops=sops,
        macs=macs,
        firing_rate=summed.firing_rate,
        host_regions=len(hosts),
        host_macs=host_macs,
        crossing_numbers=sum(region.from_chip + region.to_chip for region in hosts),
        on_chip_fraction=(sops + macs) / (sops + macs + host_macs),
        energy_pj={chip: cost.per_sample.energy_pj for chip, cost in costs.items()},
        energy_is_lower_bound={chip: cost.bill.is_lower_bound for chip, cost in costs.items()},
        spikes_compared=lowering.compared,
        spikes_differing=lowering.mismatches,
        ties=lowering.ties,
        output_error=lowering.output_error,
        spikes_differing_int8=quantization.mismatches,
        export_s=export_s,
        export_cpu_s=export_cpu_s,
        memory_mb=memory_mb,
        memory_before_mb=before_mb,
        integers_compared=integers_compared,
        integers_differing=integers_differing,
        loihi_cores=cores,
        loihi_chips=chips,
        loihi_reason=reason,
    )


def lowered(network: Network, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Model:
    """What :meth:`.zoo.Network.synthetic` gave, as a model."""
    example = [separate(x, network.layout, network.timesteps) for x in inputs]
    lead = 1 if network.layout == "N" else 2
    shapes = {str(k): tuple(x.shape[lead:]) for k, x in enumerate(inputs)}
    given = dict(zip(shapes, example, strict=True))
    return live_model(
        module, given, input_shape=shapes, timesteps=network.timesteps, layout=network.layout, carries="real"
    )


def _engine_against_reference(program: Program, data: Data) -> tuple[int, int]:
    """Every spike and membrane of one sample, from both simulators: how many were compared, how many differ."""
    one = data.part(0, 1).inputs
    fast, slow = (IntegerExecutor(program, reference=r).run(one, membranes=True) for r in (False, True))
    names = list(slow.spikes)
    compared = sum(slow.spikes[name].size + slow.membranes[name].size for name in names)
    differing = sum(
        int((fast.spikes[name] != slow.spikes[name]).sum()) + int((fast.membranes[name] != slow.membranes[name]).sum())
        for name in names
    )
    return compared, differing


def _on_loihi(model: Model, timesteps: int) -> tuple[int | None, int | None, str]:
    """The cores and chips that it takes; or why it takes none."""
    try:
        program = compile_graph(model.graph, "loihi", timesteps, Options(), example=model.example, check=False)
        placed = load_target("loihi").place(program)
        assert placed is not None  # its cores are published
        return len(placed.cores), placed.chips, ""
    except NeurocompileError as error:
        problem = error.problems[0]
        return None, None, f"{problem.where}: {problem.what}"


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
