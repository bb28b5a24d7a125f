"""The work of a sweep, in pieces that any process can do: a compilation, a run, the measure of one layer's width.

Their keys stand for the network, the chip, the data and the version, not for names: what two points have in common is
done once, and a chip that computes as another does is not compiled or run for again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile import __version__
from neurocompile.compiler import Options, compile_graph
from neurocompile.data import Data
from neurocompile.errors import DoesNotFit, Problem, UnsupportedModel, UsageError
from neurocompile.ir.counts import Counts
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array
from neurocompile.program import Program, program_from
from neurocompile.simulator.timing.report import TimingReport
from neurocompile.targets import Target, load_target
from neurocompile.targets.base import Family
from neurocompile.verbs.exploring.plainly import made_of, plainly
from neurocompile.verbs.pricing import fit_on_one
from neurocompile.verbs.running import run_program
from neurocompile.work import Shared, Task, key_of

__all__ = ["Compiled", "Fitted", "Network", "Ran", "compiling", "keyed", "running", "sensing"]


@dataclass(frozen=True, eq=False)
class Network:
    """A model as tasks take it: what a frontend made of it, and samples that choose ranges.

    Attributes:
        graph: not compiled yet.
        timesteps: T.
        calibration: samples by input, if there are any.
        key: stands for all of these.
    """

    graph: Graph
    timesteps: int
    calibration: Mapping[str, Array] | None
    key: str

    @staticmethod
    def of(graph: Graph, timesteps: int, calibration: Mapping[str, Array] | None) -> Network:
        """With its key."""
        return Network(graph, timesteps, calibration, keyed(_of_graph(graph), timesteps, calibration))


@dataclass(frozen=True)
class Fitted:
    """A program on one chip: the cores and chips that it takes, whether one chip holds it, and what is in the way."""

    cores: int | None
    chips: int | None
    on_one: tuple[bool | None, int | None]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Compiled:
    """What came of a compilation.

    Attributes:
        program: None where there can be none.
        key: stands for its integers, and what they are computed with.
        fits: by target.
        problems: why there is no program.
    """

    program: Program | None
    key: str
    fits: Mapping[str, Fitted]
    problems: tuple[Problem, ...]

    @staticmethod
    def of(plain: Mapping[str, Any]) -> Compiled:
        """As :func:`compiled` tells it."""
        files = {name: content.tobytes() for name, content in plain["files"].items()}
        fits, problems = (made_of(hint, plain[name]) for name, hint in (("fits", _FITS), ("problems", _PROBLEMS)))
        return Compiled(program_from(files) if files else None, plain["key"], fits, problems)


@dataclass(frozen=True)
class Ran:
    """What a program did, without the program (:class:`neurocompile.verbs.running.Run`)."""

    engine: str
    spike_counts: dict[str, int]
    counts: Counts
    overflows: int
    clipped: int
    outputs: dict[str, Array]
    given: dict[str, Array]
    timing: TimingReport | None
    untimed: str


_FITS, _PROBLEMS = dict[str, Fitted], tuple[Problem, ...]


# -- keys --------------------------------------------------------------------------------------------------------------


def keyed(*parts: Any) -> str:
    """The key of what depends on these, in this version; dataclasses stand for their fields."""
    return key_of(__version__, *map(_plain, parts))


def _plain(part: Any) -> Any:
    if is_dataclass(part) and not isinstance(part, type):
        return {"": type(part).__name__, **{f.name: _plain(getattr(part, f.name)) for f in fields(part)}}
    if isinstance(part, Mapping):
        return {str(name): _plain(value) for name, value in part.items()}
    if isinstance(part, frozenset | set):
        return sorted(map(_plain, part))
    if isinstance(part, list | tuple):
        return [_plain(each) for each in part]
    if isinstance(part, np.ndarray):
        return np.ascontiguousarray(part).reshape(1, -1) if part.size else [list(part.shape)]
    return part.item() if isinstance(part, np.generic) else part


def _of_graph(graph: Graph) -> list[Any]:
    hosts = [(name, asdict(region)) for name, region in graph.hosts.items()]
    return [*((node.name, list(node.inputs), node.op) for node in graph), hosts]


def alike(target: Target) -> str:
    """What two targets have in common for which the same program is compiled; limits say what fits, not what it is."""
    limits = None if type(target.code).illegal is Family.illegal else target.limits
    return keyed(target.family, target.arithmetic, target.parameters, limits)


# -- compiling ---------------------------------------------------------------------------------------------------------


def compiling(network: Network, targets: Sequence[Target], options: Options, what: str) -> Task:
    """The task of a compilation for targets that are all alike; its result makes a :class:`Compiled`."""
    key = keyed("compiled", network.key, [replace(target, description="") for target in targets], options)
    arguments = {"network": Shared(network), "targets": tuple(targets), "options": options}
    return Task(f"{__name__}:compiled", arguments, key, what)


def compiled(network: Network, targets: Sequence[Target], options: Options) -> dict[str, Any]:
    """Compile for the first of some targets that are alike, and see on which of them it fits.

    Returns:
        a :class:`Compiled` as plain values.
    """
    try:
        made = compile_graph(
            network.graph, targets[0], network.timesteps, options, calibration=network.calibration, check=False
        )
    except (DoesNotFit, UsageError, UnsupportedModel) as error:
        return {"files": {}, "key": "", "fits": {}, "problems": plainly(error.problems)}
    fits = {target.name: _fitted(program_for(made, target), target, options.chips) for target in targets}
    files = {name: np.frombuffer(content, np.uint8) for name, content in made.files().items() if name != "graph.txt"}
    key = keyed("integers", _of_graph(made.integer), made.arithmetic, made.timesteps)
    return {"files": files, "key": key, "fits": plainly(fits), "problems": []}


def program_for(program: Program, target: Target) -> Program:
    """A program for a target that is like its own."""
    return replace(program, target=target.name, chip=target.data)


def _fitted(program: Program, target: Target, chips: int) -> Fitted:
    fit = target.fit(program, chips)
    cores = None if fit.placed is None else len(fit.placed.cores)
    return Fitted(cores, fit.chips, fit_on_one(program, target), tuple(fit.problems))


# -- running -----------------------------------------------------------------------------------------------------------


def running(
    program: Program, key: str, data: Data, data_key: str, *, target: Target, placement: str | None,
    timing: bool | None, what: str,
) -> Task:  # fmt: skip
    """The task of a run; its result makes a :class:`Ran`.

    Where a target has no clock, or is not to be timed, the key names none: what another's program of the same integers
    did stands for it.
    """
    timed = bool(target.clock) and timing is not False
    events = load_target(target.timed_as) if timed and target.timed_as else None
    clock = [replace(target, description=""), events, placement, timing] if timed else []
    arguments = {
        "program": Shared(program_for(program, target)), "inputs": Shared(data.inputs), "labels": data.labels,
        "where": data.where,
        "placement": placement if timed else None, "timing": timing if timed else False,
    }  # fmt: skip
    return Task(f"{__name__}:ran", arguments, keyed("ran", key, data_key, clock), what)


def ran(
    program: Program, inputs: dict[str, Array], labels: Array | None, where: str, placement: str | None,
    timing: bool | None,
) -> dict[str, Any]:  # fmt: skip
    """Run a program.

    Returns:
        a :class:`Ran` as plain values.
    """
    run = run_program(program, Data(inputs, labels, where), placement=placement, timing=timing)
    timed = None if run.clock is None else run.clock.report()
    return plainly(Ran(
        run.engine, run.spike_counts, run.counts, run.overflows, run.clipped, run.outputs, run.given, timed,
        run.untimed,
    ))  # fmt: skip


# -- what a width costs ------------------------------------------------------------------------------------------------


def sensing(network: Network, target: Target, options: Options, data: Data, data_key: str, what: str) -> Task:
    """The task of a program's first output on some data ``[N, values]``, compiled and run at once; None where there
    is no such program."""
    key = keyed("sensed", network.key, replace(target, description=""), options, data_key)
    arguments = {"network": Shared(network), "target": target, "options": options, "inputs": Shared(data.inputs)}
    return Task(f"{__name__}:sensed", arguments, key, what)


def sensed(network: Network, target: Target, options: Options, inputs: dict[str, Array]) -> Array | None:
    """Compile, run, and look at the output."""
    found = compiled_alone(network, target, options)
    if found is None:
        return None
    outputs = run_program(found, Data(inputs), timing=False).outputs["output"]
    return outputs.reshape(len(outputs), -1)


def compiled_alone(network: Network, target: Target, options: Options) -> Program | None:
    """The program, if there can be one; where it fits is not looked at."""
    try:
        return compile_graph(
            network.graph, target, network.timesteps, options, calibration=network.calibration, check=False
        )
    except (DoesNotFit, UsageError):
        return None


def name_of(model: object) -> str:
    """What a model is called in a report."""
    return model.name if isinstance(model, Path) else type(model).__name__
