"""``neurocompile explore``: which width, which chip, which mapping."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from neurocompile.compiler import Encode
from neurocompile.data import Data
from neurocompile.errors import BadInput, DoesNotFit, Problem, UsageError
from neurocompile.extras import require
from neurocompile.files import check_output, write_file
from neurocompile.ir.ops import Array
from neurocompile.quantization import Bits, Scales
from neurocompile.reports.explore import ExploreReport, Illegal, Mixed, Wanted
from neurocompile.typed import Count, Positive, Range
from neurocompile.verbs.compile import CompileRequest, calibration_of
from neurocompile.verbs.exploring.front import chosen, front_of
from neurocompile.verbs.exploring.halving import halved
from neurocompile.verbs.exploring.mixed import beside, designs_of, search
from neurocompile.verbs.exploring.picked import check_size, every
from neurocompile.verbs.exploring.space import USUAL, Names, Space, chips, space_of
from neurocompile.verbs.exploring.sweep import Sweep
from neurocompile.verbs.exploring.tasks import Network, Samples, name_of
from neurocompile.verbs.given import Inputs, SourceOptions, check_carried, data_of, model_of
from neurocompile.verbs.progress import Progress, silent
from neurocompile.verbs.shards import WorkOptions, working
from neurocompile.work import Engine, Here

if TYPE_CHECKING:
    from neurocompile.frontends import Model
    from neurocompile.verbs.given import Source

__all__ = ["ExploreRequest", "explore"]


@dataclass(frozen=True, kw_only=True)
class ExploreRequest(SourceOptions, WorkOptions):
    """Which designs there are, what they are run on, and what is wanted of the one to take.

    Who shares the work: :class:`neurocompile.verbs.shards.WorkOptions`.

    Attributes:
        model: a file that :func:`neurocompile.save` or torch.save wrote; or a live module in eval mode.
        data: inputs ``[N, ...]`` or ``[N, T, ...]``, and labels, y, in an npz file.
        labels: ``[N]``, if they are not in the file.
        bits: of a weight, of all layers or by layer: every one of these.
        targets: chips, by name or as FILE.toml; none: all that something can be compiled for.
        scale: how weight scales are chosen, every one of these.
        per_channel: a scale for each channel, one for each layer, or both.
        placement: of the cores: "usual", or as ``simulate`` takes it.
        input_bits: of a real-valued input.
        calibrate: samples that choose ranges; None: the model's own.
        chips: how many chips a point may take.
        encode: how real-valued inputs reach a Loihi; None: graded, where the chip has such spikes.
        timing: whether points are timed; None: if they are not too large, where the target has a clock.
        mixed: also search widths by layer: on every second sample, and all points are of the others then.
        halving: drop points early that others beat on few samples.
        max_energy_uj: of an inference, that the point to take may cost.
        min_accuracy: that it must have, a share.
        max_latency_ms: of an inference, that it may take.
        out: the page to write; None: none.
        csv: a file for the table of all points.
        picture: a file for the drawing: .svg, .png or .pdf.
        overwrite: replace files that exist.
    """

    model: Source
    data: Inputs
    labels: Array | None = None
    bits: tuple[Bits, ...] = (3, 4, 6, 8)
    targets: tuple[str, ...] = ()
    scale: tuple[Scales, ...] = ("auto",)
    per_channel: tuple[bool, ...] = (True,)
    placement: tuple[str, ...] = (USUAL,)
    input_bits: int = 8
    calibrate: Inputs | None = None
    chips: Count = 1
    encode: Encode | None = None
    timing: bool | None = None
    mixed: bool = False
    halving: bool = False
    max_energy_uj: Positive | None = None
    min_accuracy: Annotated[float, Range(0.0, high=1.0)] | None = None
    max_latency_ms: Positive | None = None
    out: Path | None = None
    csv: Path | None = None
    picture: Path | None = None
    overwrite: bool = False


def explore(
    request: ExploreRequest, progress: Progress | None = None, engine: Engine | None = None
) -> ExploreReport:  # fmt: skip
    """Compile and run every design that there can be, and say which of them to take.

    Raises:
        UsageError: for targets that do not exist, files that do, or nothing to choose from.
        BadInput: for a model or data that cannot be read, data without labels, or too large to be held in memory with
            ``mixed`` or ``halving``.
        UnsupportedModel: for a model that nothing can be made of.
        DoesNotFit: if no design is legal, with everything that is in the way.
    """
    _check(request)
    targets = chips(request.targets)
    model = model_of(request.model, request, request.calibrate)
    data = _labelled(request, model)
    samples = calibration_of(_compiling(request), model)
    seen = model.example if samples is None else samples.inputs
    space = space_of(targets, _once(request.bits), _once(request.scale), _once(request.per_channel),
                     _once(request.placement))  # fmt: skip
    network = Network.of(model.graph, model.timesteps, dict(seen) or None)
    with nullcontext(engine) if engine is not None else working(request, len(space.designs)) as found:
        sweep = Sweep(
            network, found or Here(), progress or silent, request.input_bits, request.chips, request.encode,
            request.timing,
        )  # fmt: skip
        report = _explored(request, sweep, space, data)
    return _written(request, replace(report, model=name_of(request.model), timesteps=model.timesteps))


def _explored(request: ExploreRequest, sweep: Sweep, space: Space, data: Data) -> ExploreReport:
    designs, illegal = sweep.legal(space.designs)
    illegal = [*space.illegal, *illegal]
    found, names = (
        {},
        Names(*(len(_once(each)) > 1 for each in (request.scale, request.per_channel, request.placement))),
    )
    if request.mixed:
        searched = search(sweep, list(dict.fromkeys(design.build for design in designs)), every(data, 2))
        data = every(data, 2, 1)
        found = designs_of(searched, designs, names)
        more, unfit = sweep.legal([design for _, design in found.values()])
        designs, illegal = [*designs, *more], [*illegal, *unfit]
    halving = None
    if request.halving:
        points, wrong, halving = halved(sweep, designs, data)
    else:
        points, wrong = sweep.points(designs, Samples(data))
    illegal += wrong
    if not points:
        raise _nothing(illegal)
    by_name = {point.name: point for point in points}
    beside_uniform = list[Mixed]()
    for name, (each, design) in found.items():
        uniform = names.of(design.target.name, f"{each.uniform.bits}-bit", each.build.scale, each.build.per,
                           design.placement)  # fmt: skip
        if name in by_name and uniform in by_name:
            beside_uniform.append(beside(each, by_name[name], by_name[uniform]))
    wanted = Wanted(request.max_energy_uj, request.min_accuracy, request.max_latency_ms)
    return ExploreReport(
        model="", samples=len(data), timesteps=0, points=tuple(points),
        front=tuple(point.name for point in front_of(points)), illegal=tuple(illegal), choice=chosen(points, wanted),
        mixed=tuple(beside_uniform), halving=halving, stages=dict(sweep.stages),
    )  # fmt: skip


def _once(given: tuple[object, ...]) -> tuple:  # type: ignore[type-arg]
    """Each of these once, in their order; widths by layer are no keys."""
    return tuple(each for number, each in enumerate(given) if each not in given[:number])


def _check(request: ExploreRequest) -> None:
    """Before anything is loaded: there is something to choose from, and what is to be written can be."""
    problems = [
        Problem("there is nothing to choose from", f"--{name}", "none", fix=f"give --{name} at least one")
        for name, given in (("bits", request.bits), ("scale", request.scale), ("per", request.per_channel),
                            ("placement", request.placement))
        if not given
    ]  # fmt: skip
    if problems:
        raise UsageError(problems)
    if request.mixed and len({each for each in request.bits if isinstance(each, int)}) < 3:
        what, fix = "widths by layer stand beside uniform ones between the narrowest and the widest", "give more --bits"
        raise UsageError(Problem(what, "--mixed", ", ".join(map(str, request.bits)), "3 widths or more", fix))
    inputs = [each for each in (request.model, request.data, request.calibrate) if isinstance(each, Path)]
    for option, path in (("-o", request.out), ("--csv", request.csv), ("--picture", request.picture)):
        if path is not None:
            check_output(path, option, inputs, request.overwrite)
            inputs.append(path)
    if request.picture is not None and request.picture.suffix not in (".svg", ".png", ".pdf"):
        fix = "call it .svg, .png or .pdf"
        raise UsageError(Problem("no picture is called so", "--picture", str(request.picture), fix=fix))
    if request.out is not None or request.picture is not None:
        require("report")


def _labelled(request: ExploreRequest, model: Model) -> Data:
    """The data, which must have labels: accuracy is what points are compared by."""
    data = data_of(request.data, model.graph.given_inputs, model.timesteps, request.labels, model.graph.lines)
    check_carried(model.graph, data)
    if data.labels is None:
        what, fix = "there are no labels, and points are compared by accuracy", "add y [N] to the file, or give y"
        raise BadInput(Problem(what, data.where, "no y", "a whole number a sample", fix))
    for option in ("mixed", "halving"):
        if getattr(request, option):
            check_size(data, f"--{option}")
    if request.mixed and len(data) < 2:
        what, fix = "one sample cannot be divided into those to choose on and those to report on", "give more"
        raise BadInput(Problem(what, data.where, "1 sample", "2 or more", fix))
    return data


def _compiling(request: ExploreRequest) -> CompileRequest:
    return CompileRequest(model=request.model, calibrate=request.calibrate)


def _nothing(illegal: list[Illegal]) -> DoesNotFit | UsageError:
    """No design is left: everything that is in the way, of each target once."""
    problems = list(dict.fromkeys(
        replace(problem, where=f"{each.target}: {problem.where}" if problem.where else each.target)
        for each in illegal for problem in each.problems
    ))  # fmt: skip
    asked = all(problem.where.partition(": ")[2].startswith("--") for problem in problems)
    return (UsageError if asked else DoesNotFit)(problems)


def _written(request: ExploreRequest, report: ExploreReport) -> ExploreReport:
    """The files that were asked for."""
    report = replace(report, page=request.out, csv=request.csv, picture=request.picture)
    if request.csv is not None:
        from neurocompile.reports.html.fronts import as_csv

        write_file(request.csv, as_csv(report), request.overwrite)
    if request.picture is not None:
        from neurocompile.reports.html.fronts import picture

        write_file(request.picture, picture(report, request.picture.suffix[1:]), request.overwrite)
    if request.out is not None:
        from neurocompile.reports.html.explored import explored

        write_file(request.out, explored(report), request.overwrite)
    return report
