"""The work of a sweep, in pieces that any process can do: a compilation, a run, the measure of one layer's width.

Their keys stand for the network, the chip, the data and the version, not for names: what two points have in common is
done once, and a chip that computes as another does is not compiled or run for again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from neurocompile import __version__
from neurocompile.compiler import Options, compile_graph
from neurocompile.data import Data
from neurocompile.errors import DoesNotFit, Problem, UnsupportedModel, UsageError
from neurocompile.ir.counts import Counts
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array
from neurocompile.program import Program, program_from
from neurocompile.simulator.timing.clock import CLOCKS, Cuttable
from neurocompile.simulator.timing.report import TimingReport
from neurocompile.targets import Target, load_target
from neurocompile.targets.base import Family
from neurocompile.verbs.exploring.plainly import made_of, plainly
from neurocompile.verbs.pricing import fit_on_one
from neurocompile.verbs.running import clock_for, run_program
from neurocompile.verbs.sharded import in_integers
from neurocompile.verbs.shards import Border, part_of, part_sum, source_of
from neurocompile.work import Shared, Task, key_of

__all__ = [
    "Compiled", "Fitted", "Network", "Ran", "Samples", "compiling", "in_one_piece", "joined_runs", "keyed", "name_of",
    "program_for", "running", "sensing", "timing_of",
]  # fmt: skip


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

    @cached_property
    def shared(self) -> Shared:
        """Itself, sent once."""
        return Shared(Network(self.graph, self.timesteps, self.calibration, self.key))

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
    taken: Any = None


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
    assert target.arithmetic is not None
    limits = None if type(target.code).illegal is Family.illegal else target.limits
    return keyed(target.family, replace(target.arithmetic, published=True), target.parameters, limits)


# -- compiling ---------------------------------------------------------------------------------------------------------


def compiling(network: Network, targets: Sequence[Target], options: Options, what: str) -> Task:
    """The task of a compilation for targets that are all alike; its result makes a :class:`Compiled`."""
    key = keyed("compiled", network.key, [replace(target, description="") for target in targets], options)
    arguments = {"network": network.shared, "targets": tuple(targets), "options": options}
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
    key = keyed("integers", _of_graph(made.integer), replace(made.arithmetic, published=True), made.timesteps)
    return {"files": files, "key": key, "fits": plainly(fits), "problems": []}


def program_for(program: Program, target: Target) -> Program:
    """A program for a target that is like its own."""
    assert target.arithmetic is not None
    arithmetic = replace(program.arithmetic, published=target.arithmetic.published)
    return replace(program, target=target.name, arithmetic=arithmetic, chip=target.data)


def _fitted(program: Program, target: Target, chips: int) -> Fitted:
    fit = target.fit(program, chips)
    cores = None if fit.placed is None else len(fit.placed.cores)
    return Fitted(cores, fit.chips, fit_on_one(program, target), tuple(fit.problems))


# -- running -----------------------------------------------------------------------------------------------------------


class Samples:
    """Data as tasks take them, part by part; what many take is sent once.

    Args:
        data: all of them.
        stops: where a shard ends in any case: runs of the samples before it are gone on with, not begun anew.
    """

    def __init__(self, data: Data, stops: Sequence[int] = ()) -> None:
        self.data, self.stops = data, tuple(stops)
        self._parts: dict[Border, tuple[dict[str, Any], str]] = {}

    def part(self, border: Border) -> tuple[dict[str, Any], str]:
        """The samples from one to another, and what stands for them in a key."""
        if border not in self._parts:
            known = part_sum(self.data.part(*border))
            source = source_of(self.data, border, known)
            source |= {"arrays": Shared(source["arrays"])} if "arrays" in source else {}
            self._parts[border] = source, known
        return self._parts[border]


def running(
    program: Program, key: str, samples: Samples, upto: int, *, target: Target, placement: str | None,
    timing: bool | None, what: str,
) -> list[Task]:  # fmt: skip
    """The tasks of a run of the samples ``upto`` one, a task for each shard; each result makes a :class:`Ran`.

    Where a target has no clock, or is not to be timed, the key names none: what another's program of the same integers
    did stands for it. A clock that remembers one sample in the next has all of them in one task.
    """
    timed = _timed(target, timing)
    events = load_target(target.timed_as) if timed and target.timed_as else None
    clock = [replace(target, description=""), events, placement, timing] if timed else []
    borders, alone = [(0, upto)], in_one_piece(target, timing)
    if not alone:
        ends = [*(stop for stop in samples.stops if stop < upto), upto]
        borders = [
            (first + start, first + stop)
            for first, end in zip([0, *ends], ends)
            for start, stop in in_integers(program, end - first, timed)
        ]
    alone |= len(borders) == 1 and not samples.stops
    common = {
        "program": Shared(program_for(program, target)), "placement": placement if timed else None,
        "timing": timing if timed else False, "whole": alone,
    }  # fmt: skip
    tasks = []
    for border in borders:
        source, part_key = samples.part(border)
        name = what if len(borders) == 1 else f"{what}, samples {border[0]} to {border[1] - 1}"
        arguments = {**common, "border": border, **source}
        tasks.append(Task(f"{__name__}:ran", arguments, keyed("ran", key, part_key, clock, common["whole"]), name))
    return tasks


def in_one_piece(target: Target, timing: bool | None) -> bool:
    """Whether a clock remembers one sample in the next."""
    return _timed(target, timing) and not issubclass(cast(type, CLOCKS[target.clock]), Cuttable)


def _timed(target: Target, timing: bool | None) -> bool:
    return bool(target.clock) and timing is not False


def ran(
    program: Program, border: Border, placement: str | None, timing: bool | None, whole: bool,
    folder: Path | None = None, **source: Any,
) -> dict[str, Any]:  # fmt: skip
    """Run a program on some samples; unless these are the ``whole``, what the clock has taken is told, not reported.

    Returns:
        a :class:`Ran` as plain values.
    """
    data = part_of({"folder": folder, **source}, border, program.timesteps)
    run = run_program(program, data, placement=placement, timing=timing)
    found = Ran(
        run.engine, run.spike_counts, run.counts, run.overflows, run.clipped, run.outputs, run.given,
        run.clock.report() if run.clock is not None and whole else None, run.untimed,
    )  # fmt: skip
    return {**plainly(found), "taken": run.clock.taken() if isinstance(run.clock, Cuttable) and not whole else None}


def timing_of(tasks: Sequence[Task], taken: Sequence[Any], what: str) -> Task:
    """The task of what a clock says of several shards; its result makes a TimingReport."""
    common = {name: tasks[0].arguments[name] for name in ("program", "placement")}
    key = keyed("timed", [task.key for task in tasks])
    return Task(f"{__name__}:timed", {**common, "taken": list(taken)}, key, what)


def timed(program: Program, placement: str | None, taken: Sequence[Any]) -> dict[str, Any]:
    """Let a clock add up what others have timed."""
    clock, _ = clock_for(program, True, placement, False)
    assert isinstance(clock, Cuttable)
    for each in taken:
        clock.add(each)
    return cast(dict[str, Any], plainly(clock.report()))


def joined_runs(parts: Sequence[Ran]) -> Ran:
    """What shards did, one after the other."""
    first, counts = parts[0], Counts.joined([part.counts for part in parts])
    return replace(
        first,
        counts=counts,
        spike_counts={name: sum(part.spike_counts[name] for part in parts) for name in first.spike_counts},
        overflows=sum(part.overflows for part in parts),
        clipped=sum(part.clipped for part in parts),
        outputs={name: np.concatenate([part.outputs[name] for part in parts]) for name in first.outputs},
        given={name: np.sum([part.given[name] for part in parts], axis=0) for name in first.given},
    )  # fmt: skip


# -- what a width costs ------------------------------------------------------------------------------------------------


def sensing(network: Network, target: Target, options: Options, samples: Samples, what: str) -> Task:
    """The task of a program's first output on some data ``[N, values]``, compiled and run at once; None where there
    is no such program."""
    border = (0, len(samples.data))
    source, part_key = samples.part(border)
    key = keyed("sensed", network.key, alike(target), options, part_key)
    arguments = {"network": network.shared, "target": target, "options": options, "border": border, **source}
    return Task(f"{__name__}:sensed", arguments, key, what)


def sensed(
    network: Network, target: Target, options: Options, border: Border, folder: Path | None = None, **source: Any
) -> Array | None:
    """Compile, run, and look at the output."""
    found = compiled_alone(network, target, options)
    if found is None:
        return None
    data = part_of({"folder": folder, **source}, border, network.timesteps)
    outputs = run_program(found, data, timing=False).outputs["output"]
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
