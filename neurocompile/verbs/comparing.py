"""The stages that every validation has, in one piece or shard by shard: the same findings, to the last bit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from neurocompile.data import Data
from neurocompile.frontends.base import Model
from neurocompile.ir.compare import Comparison, Divergence, tolerance_of
from neurocompile.ir.ops import Neuron
from neurocompile.printable import first_line
from neurocompile.program import Program
from neurocompile.reports.validation import Stage
from neurocompile.simulator.execution import IntegerExecutor, RealExecutor
from neurocompile.validation import Exact, Faithful, Outcome, Pair, evidence_of, judged, run_pairs
from neurocompile.validation.causes import RealsExamined
from neurocompile.validation.rules import Findings
from neurocompile.verbs.progress import Step
from neurocompile.verbs.shards import Border, borders, held, part_of, part_sum, program_sum, source_of
from neurocompile.work import Engine, Kept, Shared, Task, key_of

__all__ = ["compare_shard", "compare_sharded", "model_whole_because", "shards_to_compare", "usual_stages"]

# Seconds that a synapse takes in a step, all that is compared together, measured on the digits (docs/cluster.md).
_COMPARED = 5e-9


def usual_stages(
    program: Program, reference: Model | None, integers: IntegerExecutor, real: RealExecutor,
    tolerances: Mapping[str, float],
) -> list[Pair | Stage]:  # fmt: skip
    """The lowering and the quantization.

    Args:
        program: compiled.
        reference: the model that the program was made from; None: the lowering is not checked.
        integers: runs the program's integers.
        real: runs its folded graph.
        tolerances: by stage, where they are not the usual ones.
    """
    order, target = tuple(node.name for node in program.real.of(Neuron)), program.target
    lowering: Pair | Stage = Stage("lowering", target, "pytorch, float64", reason="no reference model was given")
    if reference is not None:
        rule = Exact(order, tolerances.get("lowering", tolerance_of(program.real)), "lowering" in tolerances)
        lowering = Pair("lowering", real, reference, rule, examine=RealsExamined(program, reference.graph))
    return [lowering, Pair("quantization", integers, real, Faithful(order, tolerances.get("quantization")))]


def shards_to_compare(program: Program, samples: int) -> list[Border]:
    """Where samples are cut that are compared."""
    return borders(program, samples, _COMPARED)


def model_whole_because(reference: Model | None) -> str:
    """Why a model cannot be run elsewhere; "": it can."""
    try:
        pickle.dumps(reference, protocol=5)
    except Exception as error:
        return f"the reference cannot be sent to other processes ({first_line(error)})"
    return ""


def compare_sharded(
    planned: Sequence[Pair | Stage],
    program: Program,
    reference: Model | None,
    data: Data,
    engine: Engine,
    progress: Step,
    known: str = "",
    tolerances: Mapping[str, float] | None = None,
) -> list[Stage]:
    """The stages of :func:`usual_stages`, shard by shard.

    Args:
        planned: these.
        program: compiled.
        reference: the model, if there is one.
        data: samples.
        engine: does the shards.
        progress: called with the number of samples done since the last call.
        known: the checksum of the reference; "": of how it is sent, which differs each time it is made.
        tolerances: as for the stages.

    Raises:
        NeurocompileError: what a shard raises, or the engine.
    """
    cut, name = shards_to_compare(program, len(data)), program_sum(program)
    model = None if reference is None else Shared(reference)
    allowed = {name: number for name, number in (tolerances or {}).items() if name == "lowering"}  # what a shard asks
    common = {"program": Shared(program), "name": name, "reference": model, "tolerances": allowed}
    about = [name, None if model is None else known or model.digest, _torch(), allowed]
    sums = [part_sum(data.part(*border)) if isinstance(engine, Kept) else "" for border in cut]
    tasks = [
        Task(
            "neurocompile.verbs.comparing:compare_shard",
            {**common, "border": border, **source_of(data, border, known)},
            key_of(about, border[0], known) if known else "",
            f"samples {border[0]} to {border[1] - 1}",
        )
        for border, known in zip(cut, sums)
    ]
    pairs = [each for each in planned if isinstance(each, Pair)]
    outcomes = [Outcome() for _ in pairs]
    for (start, stop), found in zip(cut, engine.run(tasks)):
        for outcome, more in zip(outcomes, found):
            outcome.add(_outcome(more))
        progress(stop - start)
    ran = iter(
        [
            judged(pair, program.target, outcome, data, lambda pair=pair: evidence_of(pair, data))  # type: ignore[misc]
            for pair, outcome in zip(pairs, outcomes)
        ]
    )
    return [next(ran) if isinstance(each, Pair) else each for each in planned]


def compare_shard(
    program: Program, name: str, border: Border, reference: Model | None, tolerances: Mapping[str, float],
    folder: Path | None = None, **source: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    """What each pair finds in the samples of a shard, in plain values: a task.

    Args:
        program: compiled.
        name: its checksum: what is made of it is made once.
        border: of the shard.
        reference: the model, if there is one.
        tolerances: by stage, where they are not the usual ones.
        folder: of the data, if they are in files.
        source: of the samples (:func:`neurocompile.verbs.shards.source_of`).
    """
    data = part_of({"folder": folder, **source}, border, program.timesteps)
    executors = held("executors", name, lambda: (IntegerExecutor(program, threads=1), RealExecutor(program)))
    pairs = [each for each in usual_stages(program, reference, *executors, tolerances) if isinstance(each, Pair)]
    return [
        {
            "found": asdict(outcome.found),
            "outputs": [
                [{name: x for name, x in part.items() if name == "output"} for part in parts]
                for parts in outcome.outputs
            ],
        }
        for outcome in run_pairs(pairs, data, border[0])
    ]


def _outcome(found: Mapping[str, Any]) -> Outcome:
    spikes = dict(found["found"]["spikes"])
    findings = {**found["found"], "spikes": Comparison(**{**spikes, "first": _divergence(spikes["first"])})}
    findings["first_membrane"] = _divergence(findings["first_membrane"])
    what, against = found["outputs"]
    return Outcome(Findings(**findings), (what, against))


def _divergence(found: Mapping[str, Any] | None) -> Divergence | None:
    return None if found is None else Divergence(**{**found, "neuron": tuple(found["neuron"])})


def _torch() -> str:
    """The version of what runs models."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""
