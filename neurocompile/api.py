"""The same verbs as the command line's, for Python: arguments in, a report out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from neurocompile.ir.ops import Array, Read
from neurocompile.program import Program, load_program
from neurocompile.typed import as_path

if TYPE_CHECKING:
    from torch import nn

    from neurocompile.compiler import Encode
    from neurocompile.frontends import Model
    from neurocompile.frontends.base import (
        Carries,
        Layout,
        NirDecay,
        NirFire,
        NirGain,
        NirReset,
        NirSpikes,
        NirStart,
    )
    from neurocompile.quantization import Scales
    from neurocompile.recordings import Align, Distance, Recorded, TimeUnit
    from neurocompile.reports.check import CheckReport
    from neurocompile.reports.demo import DemoReport, DigitsReport
    from neurocompile.reports.export import ExportReport
    from neurocompile.reports.inspect import InspectReport
    from neurocompile.reports.page import PageReport
    from neurocompile.reports.simulate import SimulateReport
    from neurocompile.reports.targets import TargetsReport
    from neurocompile.reports.validation import Validation
    from neurocompile.reports.zoo import ZooReport

__all__ = ["check", "compile", "demo", "export", "inspect", "load", "report", "simulate", "targets", "validate", "zoo"]

Path_ = str | os.PathLike[str]
Inputs = Array | Mapping[str, Array] | Path_
Given = TypeVar("Given")


def compile(
    model: nn.Module | Model | Path_,
    target: str = "generic",
    *,
    input_shape: tuple[int, ...] | None = None,
    timesteps: int | None = None,
    layout: Layout | None = None,
    readout: Read | None = None,
    carries: Carries | None = None,
    arch: str | None = None,
    trust: bool = False,
    dialect: str | None = None,
    dt: float | None = None,
    reset: NirReset | None = None,
    fire: NirFire | None = None,
    spikes: NirSpikes | None = None,
    decay: NirDecay | None = None,
    gain: NirGain | None = None,
    start: NirStart | None = None,
    recording: Mapping[str, Array] | Path_ | None = None,
    bits: int | None = None,
    per_channel: bool = True,
    scale: Scales = "auto",
    input_bits: int = 8,
    calibrate: Inputs | None = None,
    chips: int = 1,
    encode: Encode | None = None,
) -> Program:
    """Compile a model for a target.

    Args:
        model: a live module in eval mode (it stays as it is), or a file that :func:`neurocompile.save` or torch.save
            wrote.
        target: a name from ``neurocompile targets``.
        input_shape: without batch and time; a file of :func:`neurocompile.save` knows it.
        timesteps: T; a file of :func:`neurocompile.save` knows it.
        layout: how forward takes time and batch (:func:`neurocompile.save`); None: found out.
        readout: how an output that still has time is read; None: its mean.
        carries: "spikes" if the inputs are 0 or 1; None: what the file says, or as they are in ``calibrate``.
        arch: ``package.module:factory``, which makes the module that a state_dict belongs to.
        trust: unpickle anything, which runs whatever code the file holds.
        dialect: of the program that wrote a .nir file, which does not say how it is to be read ("snntorch", "norse",
            ..., "text"; docs/nir.md); None: what the file lets be seen.
        dt: of a step, in a .nir file's unit of time.
        reset: of its neurons: "hard", "hard-late", "soft", "soft-late" or "none".
        fire: above the threshold ("gt"), or from it on ("ge").
        spikes: "one" a step, or "many".
        decay: "euler" or "exp".
        gain: of their inputs: as the "file" says, "one", or "norm".
        start: of their membranes: "zero", "leak" or "reset".
        recording: what the network of a .nir file fired where it was made, with what went in, by name (or an npz or
            NIRGraphData file): it chooses the dialect.
        bits: of a weight; None: the target's.
        per_channel: one weight scale for each output channel, or one for each layer.
        scale: how scales are chosen: "max", "percentile", "membrane", or "auto" ("membrane" below 6 bits where there
            are samples, else "max").
        input_bits: of a real-valued input.
        calibrate: samples that choose the ranges of inputs and, with "membrane", of weights.
        chips: how many chips the network may take.
        encode: how real-valued inputs reach a Loihi: as "graded" spikes, or turned into spikes on the "host"; None:
            graded, where the chip has such spikes.

    Raises:
        UnsupportedModel, DoesNotFit, BadInput, UsageError: see :mod:`neurocompile.errors`.
    """
    from neurocompile.verbs.compile import CompileRequest
    from neurocompile.verbs.compile import compile as run

    request = CompileRequest(
        model=_given(model), target=target, input_shape=input_shape, timesteps=timesteps, layout=layout,
        readout=readout, carries=carries, arch=arch, trust=trust,
        dialect=dialect, dt=dt, reset=reset, fire=fire, spikes=spikes, decay=decay, gain=gain, start=start,
        recording=_given(recording),
        bits=bits, per_channel=per_channel, scale=scale, input_bits=input_bits, calibrate=_given(calibrate),
        chips=chips, encode=encode,
    )  # fmt: skip
    return run(request)


def load(folder: Path_) -> Program:
    """Read a Program that :meth:`Program.save` or ``neurocompile export`` wrote."""
    return load_program(as_path(folder))


def export(
    model: nn.Module | Model | Path_,
    out: Path_ | None = None,
    target: str = "generic",
    *,
    input_shape: tuple[int, ...] | None = None,
    timesteps: int | None = None,
    layout: Layout | None = None,
    readout: Read | None = None,
    carries: Carries | None = None,
    arch: str | None = None,
    trust: bool = False,
    dialect: str | None = None,
    dt: float | None = None,
    reset: NirReset | None = None,
    fire: NirFire | None = None,
    spikes: NirSpikes | None = None,
    decay: NirDecay | None = None,
    gain: NirGain | None = None,
    start: NirStart | None = None,
    recording: Mapping[str, Array] | Path_ | None = None,
    bits: int | None = None,
    per_channel: bool = True,
    scale: Scales = "auto",
    input_bits: int = 8,
    calibrate: Inputs | None = None,
    chips: int = 1,
    encode: Encode | None = None,
    emit: Sequence[str] | None = None,
    integers: bool = False,
    approximate: bool = False,
    onnx_arithmetic: Literal["int", "float32"] = "int",
    onnx_reals: bool = False,
    stock_only: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    validate: bool = True,
    print_ir_after: str | None = None,
) -> ExportReport:
    """Compile a model for a target (:func:`compile`) and write the program, with the files of backends.

    What is not told here is as for :func:`compile`; ``calibrate`` is also what the program is compared with PyTorch on
    (None: the model's own samples).

    Args:
        out: the folder to write; None: one with the name of the model's file, here.
        emit: backends to write files for; None: the target's.
        integers: for a .nir file: the program's integers, in the target's units, instead of the folded reals.
        approximate: for a .nir file: what NIR cannot say is written as near as can be, with a warning.
        onnx_arithmetic: for .onnx files: products as integers, or in float32 where that is proved exact.
        onnx_reals: for .onnx files: the folded reals as well, in float32.
        stock_only: refuse layers that Lava's own processes (and Loihi) cannot do.
        overwrite: replace the folder if it is a program.
        dry_run: compile and report, but write nothing; what does not fit is in the report's ``errors``.
        validate: whether to compare the program with PyTorch, where there are samples.
        print_ir_after: a pass after which the graph is printed on stderr; "all": after each.

    Raises:
        UnsupportedModel, DoesNotFit, BadInput, UsageError, ToolFailed: see :mod:`neurocompile.errors`.
    """
    from neurocompile.verbs.export import ExportRequest
    from neurocompile.verbs.export import export as run

    request = ExportRequest(
        model=_given(model), out=_given(out), target=target, input_shape=input_shape, timesteps=timesteps,
        layout=layout, readout=readout, carries=carries, arch=arch, trust=trust,
        dialect=dialect, dt=dt, reset=reset, fire=fire, spikes=spikes, decay=decay, gain=gain, start=start,
        recording=_given(recording),
        bits=bits, per_channel=per_channel, scale=scale, input_bits=input_bits, calibrate=_given(calibrate),
        chips=chips, encode=encode,
        emit=None if emit is None else _several(emit), integers=integers,
        approximate=approximate, onnx_arithmetic=onnx_arithmetic, onnx_reals=onnx_reals,
        stock_only=stock_only, overwrite=overwrite, dry_run=dry_run,
        validate=validate, print_ir_after=print_ir_after,
    )  # fmt: skip
    return run(request)


def simulate(
    program: Program | Path_,
    x: Inputs,
    y: Array | None = None,
    *,
    spikes: Path_ | bool | None = True,
    real: bool = False,
    price_as: str | None = None,
    timing: bool | None = None,
    placement: str | None = None,
    timeline: Path_ | bool | None = None,
    threads: int | None = None,
    reference: bool = False,
    stream: bool = False,
    overwrite: bool = False,
) -> SimulateReport:
    """Run a program on data: spikes, accuracy, SOPs, energy, and when it happens.

    Args:
        program: compiled, or its folder.
        x: samples: an array, arrays by input name, or an npz file (which may have labels y, too).
        y: labels, if any.
        spikes: whether the report holds what every layer fired; a file: write it there, too.
        real: run the folded graph in float64 instead of the integers.
        price_as: a target whose prices are taken; None: the program's own.
        timing: whether to time it, on a target with a timing model; None: up to 5 million synapses.
        placement: of the cores: "in-order", "snake", "hilbert", on nc1 also "refined" and "balanced"; None: the usual.
        timeline: whether the report holds when what of the first sample happened, for ui.perfetto.dev; a file: write
            it there, too. One that is called .pftrace or .perfetto-trace is in Perfetto's own format, written piece by
            piece, and the report does not hold it.
        threads: how many samples run at once; None: one for each processor.
        reference: run the NumPy reference instead of the compiled engine.
        stream: keep the state from one sample to the next.
        overwrite: replace the files of ``spikes`` and ``timeline``.

    Raises:
        DoesNotFit, UsageError, BadInput, ToolFailed: see :func:`neurocompile.verbs.simulate.simulate`.
    """
    from neurocompile.verbs.simulate import SimulateRequest
    from neurocompile.verbs.simulate import simulate as run

    request = SimulateRequest(
        program=_given(program), data=_given(x), labels=y, spikes=_given(spikes), real=real, price_as=price_as,
        timing=timing, placement=placement, timeline=_given(timeline), threads=threads, reference=reference,
        stream=stream, overwrite=overwrite,
    )  # fmt: skip
    return run(request)


def check(
    model: nn.Module | Model | Path_,
    target: str = "generic",
    *,
    chips: int = 1,
    input_shape: tuple[int, ...] | None = None,
    timesteps: int | None = None,
    layout: Layout | None = None,
    readout: Read | None = None,
    carries: Carries | None = None,
    arch: str | None = None,
    trust: bool = False,
    dialect: str | None = None,
    dt: float | None = None,
    reset: NirReset | None = None,
    fire: NirFire | None = None,
    spikes: NirSpikes | None = None,
    decay: NirDecay | None = None,
    gain: NirGain | None = None,
    start: NirStart | None = None,
    recording: Mapping[str, Array] | Path_ | None = None,
) -> CheckReport:
    """Hold every node of a model against a target, without compiling it: all that is in the way, at once.

    Args:
        model: a file, or a live module; what it may not say about itself, as for :func:`compile`.
        target: what it is to be compiled for.
        chips: how many chips it may take.

    Raises:
        BadInput, UsageError: see :mod:`neurocompile.errors`; what is wrong with the network is in the report.
    """
    from neurocompile.verbs.check import CheckRequest
    from neurocompile.verbs.check import check as run

    request = CheckRequest(
        model=_given(model), target=target, chips=chips, input_shape=input_shape, timesteps=timesteps, layout=layout,
        readout=readout, carries=carries, arch=arch, trust=trust,
        dialect=dialect, dt=dt, reset=reset, fire=fire, spikes=spikes, decay=decay, gain=gain, start=start,
        recording=_given(recording),
    )  # fmt: skip
    return run(request)


def inspect(
    what: nn.Module | Model | Program | Path_,
    target: str = "generic",
    *,
    chips: int = 1,
    input_shape: tuple[int, ...] | None = None,
    timesteps: int | None = None,
    layout: Layout | None = None,
    readout: Read | None = None,
    carries: Carries | None = None,
    arch: str | None = None,
    trust: bool = False,
    dialect: str | None = None,
    dt: float | None = None,
    reset: NirReset | None = None,
    fire: NirFire | None = None,
    spikes: NirSpikes | None = None,
    decay: NirDecay | None = None,
    gain: NirGain | None = None,
    start: NirStart | None = None,
    recording: Mapping[str, Array] | Path_ | None = None,
) -> InspectReport:
    """The graph of a model or a program, its sizes, what folds into what, and what does not fit.

    Args:
        what: a model (what it may not say about itself, as for :func:`compile`), a program, or its folder.
        target: for a model: what it is to be compiled for.
        chips: how many chips it may take.

    Raises:
        UnsupportedModel, BadInput, UsageError: see :mod:`neurocompile.errors`.
    """
    from neurocompile.verbs.inspect import InspectRequest
    from neurocompile.verbs.inspect import inspect as run

    request = InspectRequest(
        what=_given(what), target=target, chips=chips, input_shape=input_shape, timesteps=timesteps, layout=layout,
        readout=readout, carries=carries, arch=arch, trust=trust,
        dialect=dialect, dt=dt, reset=reset, fire=fire, spikes=spikes, decay=decay, gain=gain, start=start,
        recording=_given(recording),
    )  # fmt: skip
    return run(request)


def targets(
    name: str | None = None,
    *,
    toml: bool = False,
    import_sanafe: Path_ | None = None,
    out: Path_ | None = None,
    overwrite: bool = False,
) -> TargetsReport:
    """The chips, with everything that is known of them and where it comes from.

    Args:
        name: of one, or the TOML file of one's own; None: all of them.
        toml: whether to give its file, too, to start one's own from.
        import_sanafe: instead of a name: an architecture in SANA-FE's YAML, of which a file is made (docs/targets.md).
        out: where that file is written; None: its text is in the report.
        overwrite: replace it.

    Raises:
        UsageError: if there is none of that name, or for an output that exists.
        BadInput: for a file with everything that is wrong in it.
    """
    from neurocompile.verbs.targets import TargetsRequest
    from neurocompile.verbs.targets import targets as run

    name = os.fspath(name) if isinstance(name, Path) else name
    request = TargetsRequest(
        name=name, toml=toml, import_sanafe=_given(import_sanafe), out=_given(out), overwrite=overwrite
    )  # fmt: skip
    return run(request)


def zoo(
    name: str | None = None,
    out: Path_ | None = None,
    *,
    size: Literal["paper", "small"] | None = None,
    seed: int = 0,
    samples: int = 8,
    measure: bool = False,
    overwrite: bool = False,
) -> ZooReport:
    """The papers' networks; with a name that one, written as a model file (``out``) or measured.

    Args:
        name: of one network.
        out: a model file to write.
        size: list only these.
        seed: of weights and of the example.
        samples: how many examples the file brings.
        measure: what the network takes and costs (seconds to minutes).
        overwrite: replace the model file.

    Raises:
        UsageError: for a network that there is none of, a file that exists, or what takes a name and has none.
    """
    from neurocompile.verbs.zoo import ZooRequest
    from neurocompile.verbs.zoo import zoo as run

    request = ZooRequest(
        name=name, out=_given(out), size=size, seed=seed, samples=samples, measure=measure, overwrite=overwrite
    )  # fmt: skip
    return run(request)


def demo(
    targets: Sequence[str] = (), *, report: Path_ | None = None, write_data: Path_ | None = None,
    write_model: Path_ | None = None, bits: int | None = None, overwrite: bool = False,
) -> DemoReport | DigitsReport:  # fmt: skip
    """Compile, simulate, price and check a bundled MPBN network on real handwritten digits.

    Args:
        targets: chips to price; none: every priced one.
        report: a page to write all of it to; None: none is written.
        write_data: only write the held-out digits there, as x and y.
        write_model: only write the bundled network there, as a model file.
        bits: of a weight.
        overwrite: replace these files.

    Raises:
        UsageError: for a chip that does not exist, or a file that does.
    """
    from neurocompile.verbs.demo import DemoRequest
    from neurocompile.verbs.demo import demo as run

    request = DemoRequest(
        targets=_several(targets), report=_given(report), write_data=_given(write_data),
        write_model=_given(write_model), bits=bits, overwrite=overwrite,
    )  # fmt: skip
    return run(request)


def validate(
    program: Program | Path_,
    x: Inputs | None = None,
    y: Array | None = None,
    *,
    reference: nn.Module | Model | Path_ | None = None,
    recorded: Mapping[str, Array] | Recorded | Path_ | Sequence[Path_] | None = (),
    recorded_layer: str | None = None,
    time_unit: TimeUnit | None = None,
    step_length: str | None = None,
    sample_length: str | None = None,
    markers: Array | Path_ | None = None,
    align: Align = "auto",
    distance: Distance | None = None,
    hardware: bool = False,
    time_limit_s: float = 600.0,
    backend_samples: int | None = None,
    lava_python: Path_ | None = None,
    require: Sequence[str] = (),
    input_shape: tuple[int, ...] | None = None,
    timesteps: int | None = None,
    layout: Layout | None = None,
    readout: Read | None = None,
    carries: Carries | None = None,
    arch: str | None = None,
    trust: bool = False,
    dialect: str | None = None,
    dt: float | None = None,
    reset: NirReset | None = None,
    fire: NirFire | None = None,
    spikes: NirSpikes | None = None,
    decay: NirDecay | None = None,
    gain: NirGain | None = None,
    start: NirStart | None = None,
) -> Validation:
    """Compare a program with the model that it was made from, with Lava or RTL, and with recorded spikes.

    Args:
        program: compiled for any target, or its folder (then the bundle in it is run).
        x: samples (:func:`simulate`); None: those that the program brought along.
        y: labels, if any.
        reference: the model, or its file; None: the lowering is not checked.
        recorded: what hardware fired: a file or several (``"LAYER=FILE"`` says which layer), arrays by name as an npz
            file has them, ``[N, T, ...]`` by layer, or a :class:`neurocompile.recordings.Recorded`.
        recorded_layer: of files that name none; None: the last one that spikes.
        time_unit: of times where a file does not say: "step", "s", "ms", "us", "ns".
        step_length: of a recorded step, as "1ms"; None: found out.
        sample_length: from one recorded sample to the next, as "20ms"; None: as long as its steps.
        markers: when each recorded sample begins, ``[N]``, in the events' unit, or a file of these.
        align: what of a recording may be brought into place: "all", "time", "neurons", "none".
        distance: of the spike trains that is told besides: "victor-purpura", "van-rossum".
        hardware: run on Loihi itself, where the machine has one.
        time_limit_s: that one run of Lava or the RTL may take before it is killed.
        backend_samples: how many samples these run, at most; None: 128 or 4; 0: none.
        lava_python: Python 3.10 with Lava, or its environment; None: ``.venv-lava``, if there is one.
        require: stages that must have run and passed, or the result has not ``passed``: "lowering", "quantization",
            "recorded", "lava", "rtl".
        input_shape: of a reference whose file does not say, without batch and time.
        timesteps: T, likewise.
        layout: how the reference takes time and batch; None: found out.
        readout: how its output is read; None: its mean.
        carries: "spikes" if its inputs are 0 or 1; None: what the file says, or as they are in ``x``.
        arch: ``package.module:factory``, which makes the module that a state_dict belongs to.
        trust: unpickle anything, run any bundle: whatever code they hold.

    Raises:
        UsageError, BadInput, ToolFailed: see :func:`neurocompile.verbs.validate.validate`.
    """
    from neurocompile.verbs.validate import ValidateRequest
    from neurocompile.verbs.validate import validate as run

    request = ValidateRequest(
        program=_given(program), data=_given(x), labels=y, reference=_given(reference), recorded=_recorded(recorded),
        recorded_layer=recorded_layer, time_unit=time_unit, step_length=step_length, sample_length=sample_length,
        markers=_given(markers), align=align, distance=distance,
        hardware=hardware, time_limit_s=time_limit_s, backend_samples=backend_samples,
        lava_python=_given(lava_python), require=_several(require),
        input_shape=input_shape, timesteps=timesteps, layout=layout, readout=readout, carries=carries, arch=arch,
        trust=trust,
        dialect=dialect, dt=dt, reset=reset, fire=fire, spikes=spikes, decay=decay, gain=gain, start=start,
    )  # fmt: skip
    return run(request)


def report(
    program: Program | Path_,
    x: Inputs | None = None,
    y: Array | None = None,
    *,
    out: Path_ | None = None,
    csv: Path_ | None = None,
    targets: Sequence[str] = (),
    title: str | None = None,
    overwrite: bool = False,
    reference: nn.Module | Model | Path_ | None = None,
    recorded: Mapping[str, Array] | Recorded | Path_ | Sequence[Path_] | None = (),
    recorded_layer: str | None = None,
    time_unit: TimeUnit | None = None,
    step_length: str | None = None,
    sample_length: str | None = None,
    markers: Array | Path_ | None = None,
    align: Align = "auto",
    distance: Distance | None = None,
    hardware: bool = False,
    time_limit_s: float = 600.0,
    backend_samples: int | None = None,
    lava_python: Path_ | None = None,
    require: Sequence[str] = (),
    input_shape: tuple[int, ...] | None = None,
    timesteps: int | None = None,
    layout: Layout | None = None,
    readout: Read | None = None,
    carries: Carries | None = None,
    arch: str | None = None,
    trust: bool = False,
    dialect: str | None = None,
    dt: float | None = None,
    reset: NirReset | None = None,
    fire: NirFire | None = None,
    spikes: NirSpikes | None = None,
    decay: NirDecay | None = None,
    gain: NirGain | None = None,
    start: NirStart | None = None,
) -> PageReport:
    """All that is known of a program, as one page: what is proved, what it did, what that costs, on which cores.

    Args:
        program: compiled for any target, or its folder.
        x: samples (:func:`simulate`); None: those that the program brought along.
        y: labels, if any.
        out: the page to write, one HTML file; None: none is written.
        csv: a folder for the same numbers; None: they are only in the page.
        targets: chips whose prices stand beside the program's own; none: every priced one.
        title: of the page; None: the name of the program's folder.
        overwrite: replace what exists.

    The others say what is compared with what, as in :func:`validate`.

    Raises:
        UsageError, BadInput, ToolFailed: see :func:`neurocompile.verbs.report.report`.
    """
    from neurocompile.verbs.report import ReportRequest
    from neurocompile.verbs.report import report as run

    request = ReportRequest(
        out=_given(out), csv=_given(csv), targets=_several(targets), title=title, overwrite=overwrite,
        program=_given(program), data=_given(x), labels=y, reference=_given(reference), recorded=_recorded(recorded),
        recorded_layer=recorded_layer, time_unit=time_unit, step_length=step_length, sample_length=sample_length,
        markers=_given(markers), align=align, distance=distance,
        hardware=hardware, time_limit_s=time_limit_s, backend_samples=backend_samples,
        lava_python=_given(lava_python), require=_several(require),
        input_shape=input_shape, timesteps=timesteps, layout=layout, readout=readout, carries=carries, arch=arch,
        trust=trust,
        dialect=dialect, dt=dt, reset=reset, fire=fire, spikes=spikes, decay=decay, gain=gain, start=start,
    )  # fmt: skip
    return run(request)


def _given(value: Given | Path_) -> Given | Path:
    """The value, or the path that it is."""
    return as_path(value) if isinstance(value, str | os.PathLike) else value


def _recorded(value: Mapping[str, Array] | Recorded | Path_ | Sequence[Path_] | None) -> Any:
    """Several files, or what else was given."""
    return tuple(map(as_path, value)) if isinstance(value, list | tuple) else _given(value)


def _several(value: Sequence[str] | str) -> tuple[str, ...]:
    """What was given for several texts, or for one."""
    return (value,) if isinstance(value, str) else value  # type: ignore[return-value]  # a request looks at it
