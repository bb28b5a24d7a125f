"""Designs become points: each stage that several share is done once, by whatever engine does tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from neurocompile.compiler import Encode, Options
from neurocompile.data import Data
from neurocompile.errors import Problem
from neurocompile.ir.counts import Counts
from neurocompile.ir.form import form_of
from neurocompile.ir.ops import Scale
from neurocompile.labels import check_labels, right_of
from neurocompile.mapping.host import host_layers
from neurocompile.program import Program
from neurocompile.recordings.outputs import wilson
from neurocompile.reports.explore import Illegal, Placing, Point
from neurocompile.simulator.timing.clock import Clock
from neurocompile.simulator.timing.report import TimingReport
from neurocompile.verbs.exploring.plainly import made_of
from neurocompile.verbs.exploring.space import USUAL, Build, Design
from neurocompile.verbs.exploring.tasks import (
    Compiled,
    Network,
    Ran,
    Samples,
    compiling,
    joined_runs,
    program_for,
    running,
    timing_of,
)
from neurocompile.verbs.pricing import priced
from neurocompile.verbs.progress import Progress
from neurocompile.verbs.running import Run, clock_for
from neurocompile.work import Engine, Task

__all__ = ["Sweep", "weight_bytes"]


@dataclass(frozen=True)
class _Told:
    """A clock that has stopped: what it reported elsewhere."""

    timing: TimingReport

    def report(self) -> TimingReport:
        """That."""
        return self.timing


@dataclass
class Sweep:
    """The work of an exploration.

    Attributes:
        network: to compile.
        engine: what does the tasks.
        progress: who is told.
        input_bits: as for ``export``; likewise ``chips``, ``encode``.
        timing: as for ``simulate``.
        made: what was compiled, by build.
        stages: how many tasks of each kind there were.
        known: what runs that are gone on with did so far, by task.
    """

    network: Network
    engine: Engine
    progress: Progress
    input_bits: int
    chips: int
    encode: Encode | None
    timing: bool | None
    made: dict[Build, Compiled] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=lambda: {"compilations": 0, "runs": 0, "samples": 0})
    known: dict[str, Any] = field(default_factory=dict)

    def options(self, build: Build, bits: Any = None) -> Options:
        """What the compiler is told."""
        return Options(
            bits or build.bits, build.per_channel, build.scale, self.input_bits, self.chips, self.encode
        )  # fmt: skip

    def done(self, what: str, tasks: Sequence[Task]) -> list[Any]:
        """The results of some tasks, in their order; equal keys are done once."""
        unique = {task.key: task for task in tasks}
        with self.progress(what, len(unique)) as step:
            results = dict(zip(unique, self.engine.run(list(unique.values()), step), strict=True))
        return [results[task.key] for task in tasks]

    def compile(self, builds: Sequence[Build]) -> None:
        """Compile what is not compiled yet."""
        new = [build for build in dict.fromkeys(builds) if build not in self.made]
        tasks = [compiling(self.network, build.targets, self.options(build), _called(build)) for build in new]
        self.stages["compilations"] += len({task.key for task in tasks})
        self.made |= zip(new, map(Compiled.of, self.done("compiling", tasks)), strict=True)

    def legal(self, designs: Sequence[Design]) -> tuple[list[Design], list[Illegal]]:
        """Those that compile and fit; what is wrong with the others, once for all placements."""
        self.compile([design.build for design in designs])
        legal, missing = [], dict[tuple[Build, str], list[Design]]()
        for design in designs:
            if self._problems(design):
                missing.setdefault((design.build, design.target.name), []).append(design)
            else:
                legal.append(design)
        illegal = [
            Illegal(name, build.bits, Placing(build.scale, build.per, None), len(of), self._problems(of[0]))
            for (build, name), of in missing.items()
        ]
        return legal, illegal

    def _problems(self, design: Design) -> tuple[Problem, ...]:
        made = self.made[design.build]
        return made.fits[design.target.name].problems if made.fits else made.problems

    def points(
        self, designs: Sequence[Design], samples: Samples, upto: int | None = None
    ) -> tuple[list[Point], list[Illegal]]:  # fmt: skip
        """What designs that compile and fit do with samples ``upto`` one (None: all), and those whose cores nothing
        times so."""
        shards, data = list[list[Task]](), samples.data.part(0, len(samples.data) if upto is None else upto)
        for design in designs:
            made = self.made[design.build]
            assert made.program is not None
            check_labels(made.program, samples.data)
            shards.append(
                running(
                    made.program, made.key, samples, len(data), target=design.target, timing=self.timing,
                    placement=None if design.placement == USUAL else design.placement, what=design.name,
                )
            )  # fmt: skip
        new = {task.key: task for tasks in shards for task in tasks if task.key not in self.known}
        self.stages["runs"] += len({tasks[0].key for tasks in shards} & new.keys())
        self.stages["samples"] += sum(stop - start for start, stop in (t.arguments["border"] for t in new.values()))
        results = self.known | dict(zip(new, self.done("simulating", list(new.values())), strict=True))
        if samples.stops:
            self.known = results
        points, illegal = [], []
        for design, ran in zip(designs, self._ran(shards, results), strict=True):
            if ran.timing is None and design.placement != USUAL:
                fix = f"add {USUAL} to --placement" + ("" if self.timing is None else ", or leave out --no-timing")
                problem = Problem(f"it was not timed: {ran.untimed}", "--placement", design.placement, fix=fix)
                illegal.append(Illegal(design.target.name, design.build.bits, design.mapping, 1, (problem,)))
            else:
                points.append(self._point(design, ran, data))
        return points, illegal

    def _ran(self, shards: Sequence[Sequence[Task]], results: Mapping[str, Any]) -> list[Ran]:
        """What each design did, its shards joined."""
        parts = [[_made(results[task.key]) for task in tasks] for tasks in shards]
        cut = [number for number, some in enumerate(parts) if some[0].taken is not None]
        sums = [
            timing_of(shards[number], [part.taken for part in parts[number]], shards[number][0].what) for number in cut
        ]
        timings = dict(zip(cut, self.done("adding up times", sums) if sums else [], strict=True))
        found = [joined_runs(some) for some in parts]
        for number, timing in timings.items():
            found[number] = replace(found[number], timing=made_of(TimingReport, timing), taken=None)
        return found

    def _point(self, design: Design, ran: Ran, data: Data) -> Point:
        made = self.made[design.build]
        assert made.program is not None
        program, fitted = program_for(made.program, design.target), made.fits[design.target.name]
        untimed = ran.untimed if self.timing is not False else clock_for(program, False, None, False)[1]
        clock = None if ran.timing is None else cast(Clock, _Told(ran.timing))
        run = Run(
            program, len(data), data.labels, "integers", ran.engine, ran.spike_counts, clock=clock, untimed=untimed,
            counts=ran.counts, overflows=ran.overflows, clipped=ran.clipped, outputs=ran.outputs, given=ran.given,
        )  # fmt: skip
        report = priced(run, fit=fitted.on_one)
        right = right_of(ran.outputs, data.labels)
        assert right is not None  # there are labels, and an output that they are of
        share = wilson(int(right.sum()), len(right))
        return Point(
            design.name, design.build.bits, design.mapping, (share.low, share.high),
            fitted.cores if ran.timing is None else ran.timing.cores, fitted.chips, weight_bytes(program),
            replace(report, outputs={}, labels=None, counts=Counts()), right,
        )  # fmt: skip


def _made(plain: Any) -> Ran:
    found: Ran = made_of(Ran, plain)
    return found


def _called(build: Build) -> str:
    """A build in the user's words."""
    width = f"at {build.bits} bits" if isinstance(build.bits, int) else "with widths by layer"
    return f"{', '.join(target.name for target in build.targets)} {width}, scale {build.scale}, per {build.per}"


def weights_of(program: Program) -> Mapping[str, int]:
    """How many weights each layer of the chip stores, each once; a scale from one neuron to one is none."""
    on_host, found = host_layers(program), {}
    for name, layer in form_of(program.integer).layers.items():
        if name not in on_host:
            stored = (getattr(each.op, "stored", None) for each in layer.synapses)
            ops = [(each.op, which) for each, which in zip(layer.synapses, stored) if not isinstance(each.op, Scale)]
            found[name] = sum(int(op.weight.size if which is None else which.sum()) for op, which in ops)
    return found


def weight_bytes(program: Program) -> int:
    """The memory of the chip's weights, in the bits that they have."""
    return -(-sum(count * program.bits_of(name) for name, count in weights_of(program).items()) // 8)
