"""What a network of the zoo takes and costs, from PyTorch to the chips, measured in this process."""

from __future__ import annotations

import resource
import time
from typing import Any

import torch

from neurocompile.compiler import Options, compile_graph
from neurocompile.data import Data, arrange_inputs
from neurocompile.errors import NeurocompileError
from neurocompile.execution import Executor
from neurocompile.frontends import Model, live_model
from neurocompile.frontends.pytorch import separate
from neurocompile.mapping import needs_of, plan_cores
from neurocompile.mapping.host import host_layers
from neurocompile.models.zoo import ZOO, synthetic
from neurocompile.program import Program
from neurocompile.simulation import host_regions, run_program, summary
from neurocompile.simulator.counts import stored_synapses
from neurocompile.targets import load_target
from neurocompile.validation import validate_program

__all__ = ["CHIPS", "measure"]

CHIPS = ("loihi", "anp-i", "async28")
"""The chips that every network is priced for."""


def measure(name: str, seed: int = 0, samples: int = 2) -> dict[str, Any]:
    """One row, measured in this process.

    Args:
        name: of :data:`neurocompile.models.zoo.ZOO`.
        seed: of weights and inputs.
        samples: how many inputs are run.
    """
    network = ZOO[name]
    torch.set_num_threads(1)
    module, inputs = synthetic(network, seed, samples)
    example = [separate(x, network.layout, network.timesteps) for x in inputs]
    lead = 1 if network.layout == "N" else 2
    shapes = {str(k): tuple(x.shape[lead:]) for k, x in enumerate(inputs)}
    before_mb, start, worked = _peak_mb(), time.perf_counter(), time.process_time()
    model = live_model(
        module,
        dict(zip(shapes, example, strict=True)),
        input_shape=shapes,
        timesteps=network.timesteps,
        layout=network.layout,
        carries="real",
    )
    program = compile_graph(model.graph, "generic", network.timesteps, Options(), example=model.example)
    program.files()
    export_s, export_cpu_s = time.perf_counter() - start, time.process_time() - worked
    memory_mb = _peak_mb()
    data = arrange_inputs(model.example, program.input_shapes, program.timesteps, "the samples")
    lowering, quantization = validate_program(program, data, model).stages[:2]
    result = run_program(program, data)
    costs = {chip: summary(result, chip) for chip in CHIPS}
    summed = costs[CHIPS[0]]
    each = summed["per_sample"]
    hosts = host_regions(program)
    host_macs = sum(region["macs"] for region in hosts)
    crossing = sum(region["from_chip"] + region["to_chip"] for region in hosts)
    on_chip = each["sops"] + each["macs"]
    return {
        "name": name,
        "paper": network.paper,
        "size": network.size,
        "source": network.source,
        "timesteps": network.timesteps,
        "synthetic": True,
        "neurons": needs_of(program.integer).neurons,
        "synapses": stored_synapses(program.integer),
        "weights": needs_of(program.integer).weights,
        "sops": each["sops"],
        "macs": each["macs"],
        "firing_rate": summed["firing_rate"],
        "host_regions": len(hosts),
        "host_macs": host_macs,
        "crossing_numbers": crossing,
        "on_chip_fraction": on_chip / (on_chip + host_macs),
        "energy_pj": {chip: costs[chip]["per_sample"]["energy_pj"] for chip in CHIPS},
        "energy_is_lower_bound": {chip: costs[chip]["energy_is_lower_bound"] for chip in CHIPS},
        "spikes_compared": lowering.comparison.compared,
        "spikes_differing": lowering.comparison.mismatches,
        "ties": lowering.comparison.ties,
        "output_error": lowering.output_error,
        "spikes_differing_int8": quantization.comparison.mismatches,
        "export_s": export_s,
        "export_cpu_s": export_cpu_s,
        "memory_mb": memory_mb,
        "memory_before_mb": before_mb,
        **_engine_against_reference(program, data),
        **_on_loihi(model, network.timesteps),
    }


def _engine_against_reference(program: Program, data: Data) -> dict[str, Any]:
    """Every spike and membrane of one sample, from both simulators."""
    one = data.part(0, 1).inputs
    fast, slow = (Executor(program, reference=r).run(one, membranes=True) for r in (False, True))
    names = list(slow.spikes)
    compared = sum(slow.spikes[name].size + slow.membranes[name].size for name in names)
    differing = sum(
        int((fast.spikes[name] != slow.spikes[name]).sum()) + int((fast.membranes[name] != slow.membranes[name]).sum())
        for name in names
    )
    return {"integers_compared": compared, "integers_differing": differing}


def _on_loihi(model: Model, timesteps: int) -> dict[str, Any]:
    """The cores that it takes; or why it takes none."""
    try:
        program = compile_graph(model.graph, "loihi", timesteps, Options(), example=model.example, check=False)
        bits = program.settings["bits"]
        mapping = plan_cores(program.integer, load_target("loihi"), weight_bits=bits, host=host_layers(program))
        return {"loihi_cores": len(mapping.cores), "loihi_chips": mapping.chips, "loihi_reason": ""}
    except NeurocompileError as error:
        problem = error.problems[0]
        return {"loihi_cores": None, "loihi_chips": None, "loihi_reason": f"{problem.where}: {problem.what}"}


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
