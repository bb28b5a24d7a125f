"""What hardware did, as `validate` is given it: read, aligned with what the program fires, and told of in a stage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np

from neurocompile.data import Data
from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.files import begins_with, read_arrays, text_of
from neurocompile.ir.ops import Array, Neuron
from neurocompile.program import Program
from neurocompile.recordings import (
    UNITS_S,
    Align,
    Alignment,
    Counted,
    Damage,
    Distance,
    Found,
    Hints,
    Recorded,
    Rows,
    Said,
    TimeUnit,
    Timing,
    align,
    arrays_found,
    counted,
    damage_of,
    decisions,
    distance_of,
    neurons_of,
    read_recordings,
    rows_of,
    said,
)
from neurocompile.reports.validation import Stage
from neurocompile.simulator.execution import IntegerExecutor
from neurocompile.typed import Typed
from neurocompile.verbs.given import as_arrays

__all__ = ["Brought", "Recording", "RecordingOptions", "bring", "recording_of"]

_CHUNK = 64
_MOST = 1 << 31
"""Places (neurons times steps times samples) of the layers that were recorded."""


@dataclass(frozen=True, kw_only=True)
class RecordingOptions(Typed):
    """What hardware did, and what its files do not say.

    Attributes:
        recorded: files (``FILE``, or ``LAYER=FILE``), as many as there are; or arrays by name, as in an npz file
            (docs/recordings.md): ``[N, T, ...]`` by layer; or what was brought into steps already.
        recorded_layer: the layer of files that name none; None: the last one that spikes.
        time_unit: of times where a file does not say: "step", "s", "ms", "us", "ns".
        step_length: of a step, as "1ms"; None: it is sought.
        sample_length: from the beginning of a sample to that of the next, as "20ms"; None: as long as its steps.
        markers: a file with the time at which each sample begins, or these times ``[N]``; in the events' unit.
        align: what may be sought: "all", "time", "neurons", or "none": the recording is taken as it is; "auto": none
            for arrays by layer, which are in network time and in the program's order, all for anything else.
        distance: of spike trains, told for each layer: "victor-purpura" or "van-rossum"; None: none.
    """

    recorded: Mapping[str, Array] | Recorded | Path | tuple[Path | str, ...] | None = ()
    recorded_layer: str | None = None
    time_unit: TimeUnit | None = None
    step_length: str | None = None
    sample_length: str | None = None
    markers: Path | Array | None = None
    align: Align = "auto"
    distance: Distance | None = None

    @property
    def has_recording(self) -> bool:
        """Whether there is one."""
        return self.recorded is not None and self.recorded != ()


@dataclass(frozen=True)
class Recording:
    """A recording as it was read, and how it is to be taken."""

    found: Found
    timing: Timing = field(default_factory=Timing)
    way: Align = "auto"
    distance: Distance | None = None


@dataclass(frozen=True)
class Brought:
    """A recording in the program's steps and neurons.

    Attributes:
        recorded: what hardware did.
        alignment: how it was brought there; None where no steps were recorded.
        damage: by layer.
        counts: by layer, where the spikes of whole samples were counted.
        outputs: what the network said, against the program; None if that was not recorded.
    """

    recorded: Recorded
    alignment: Alignment | None = None
    damage: Mapping[str, Damage] = field(default_factory=dict)
    counts: Mapping[str, Counted] = field(default_factory=dict)
    outputs: Said | None = None

    def stage(self, target: str) -> Stage:
        """Of a recording without spikes by steps: counts and decisions are compared."""
        compared = sum(each.compared for each in self.counts.values())
        mismatches = sum(each.mismatches for each in self.counts.values())
        samples = len(next(iter(self.recorded.counts.values()), ()))
        if self.outputs is not None:
            compared += self.outputs.samples
            mismatches += self.outputs.differing
            samples = self.outputs.samples
        asked = [f"{self.outputs.asked}"] if self.outputs is not None else []
        asked += ["no count differs"] if self.counts else []
        return Stage(
            "recorded", target, "the recording", compared=compared, mismatches=mismatches, samples=samples,
            passed=True, asked="; ".join(asked), samples_run=samples, positions=compared,
        )  # fmt: skip

    def told(self, stage: Stage) -> Stage:
        """The stage with all that was found; it passes if spikes, counts and outputs do."""
        passed = stage.passed and not any(each.mismatches for each in self.counts.values())
        if self.outputs is not None:
            passed = passed and self.outputs.compatible
        return replace(
            stage, passed=passed, alignment=self.alignment, damage=dict(self.damage), counts=dict(self.counts),
            outputs=self.outputs,
        )  # fmt: skip


# -- reading -----------------------------------------------------------------------------------------------------------


def recording_of(options: RecordingOptions, program: Program) -> Recording | None:
    """Read what was recorded; None if nothing was.

    Raises:
        BadInput: for files that cannot be read, or that are of no kind that is known.
        UsageError: for lengths of time that are none.
        ToolFailed: if a package is missing that a file needs.
    """
    given = options.recorded
    if given is None or not options.has_recording:
        return None
    layers = [node.name for node in program.integer.of(Neuron)]
    single = options.recorded_layer or next(reversed(layers), "output")
    timing = Timing(
        _seconds(options.step_length, "--step-length"),
        _seconds(options.sample_length, "--sample-length"),
        _markers(options.markers),
        options.align in ("auto", "all", "time"),
    )
    hints = Hints(options.time_unit or "", timing.step_s, program.timesteps)
    if isinstance(given, Recorded):
        found = Found(given.spikes, {}, {}, given.counts, given.outputs)
    elif isinstance(given, Mapping):
        found = arrays_found(as_arrays(given, "recorded"), "recorded", hints)
    else:
        files = [given] if isinstance(given, Path) else given
        found = read_recordings([_named(file, layers) for file in files], hints, single)
    if timing.markers is None:
        timing = replace(timing, markers=found.markers)
    return Recording(found, timing, options.align, options.distance)


def _named(file: Path | str, layers: list[str]) -> tuple[str, Path]:
    """``LAYER=FILE`` as both; a file whose name happens to have a = stays one."""
    layer, equals, path = str(file).partition("=")
    return (layer, Path(path)) if equals and layer in layers else ("", Path(file))


def _seconds(length: str | None, option: str) -> float | None:
    if length is None:
        return None
    found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*(s|ms|us|ns)\s*", length, re.ASCII)
    try:
        seconds = float(found[1]) * UNITS_S[found[2]] if found else 0.0
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        fix = "give a number and s, ms, us or ns: 1ms"
        raise UsageError(Problem("this is no length of time", option, length[:40], "above 0", fix))
    return seconds


def _markers(given: Path | Array | None) -> Array | None:
    """Times in a text, one a line, or the only array of an npz or npy file."""
    if given is None:
        return None
    if not isinstance(given, Path):
        array = as_arrays({"markers": given}, "markers")["markers"]
    elif begins_with(given, b"PK") or begins_with(given, b"\x93NUMPY"):
        array = next(iter(read_arrays(given).values()), np.zeros(0))
    else:
        lines = [line for line in text_of(given, 1 << 26).splitlines() if line.strip()]
        try:
            array = np.array([int(line) if line.strip().isdecimal() else float(line) for line in lines])
        except (ValueError, OverflowError) as error:
            fix = "write one time a line"
            raise BadInput(Problem(f"markers are no times: {error}", str(given), fix=fix)) from error
    if array.ndim != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        where = str(given) if isinstance(given, Path) else "markers"
        actual, fix = f"{array.dtype} {list(array.shape)}", "give one time for each sample"
        raise BadInput(Problem("markers are no times", where, actual, "numbers [N]", fix))
    return array


# -- bringing it into place --------------------------------------------------------------------------------------------


def bring(given: Recording | Mapping[str, Array], program: Program, data: Data) -> Brought:
    """Align a recording with what the program fires for these data, and measure what is wrong with it.

    Raises:
        BadInput: if it does not belong to the program, or to the data.
        UsageError: if nothing says in what unit its times are, and that is needed.
    """
    recording = given if isinstance(given, Recording) else Recording(Found(spikes=given))
    found = _checked(program, data, recording.found)
    expected, outputs = _expected(program, data, found.layers)
    rows = {name: _of_dense(spikes) for name, spikes in found.spikes.items()}
    rows |= {name: _of_grid(name, grid, expected[name]) for name, grid in found.gridded.items()}
    for name, events in found.events.items():
        flat = expected[name].reshape(*expected[name].shape[:2], -1)
        rows[name] = rows_of(events, neurons_of(events, expected[name].shape[2:]), flat, recording.timing)
    by_layer = not (found.events or found.gridded)
    way = ("none" if by_layer else "all") if recording.way == "auto" else recording.way
    aligned = align(rows, {name: expected[name] for name in rows}, way) if rows else None
    spikes, damage = {}, {}
    for name, counts in (aligned.spikes if aligned else {}).items():
        damage[name] = damage_of(counts, expected[name])
        if recording.distance is not None:
            distance, trains = distance_of(counts, expected[name], recording.distance)
            damage[name] = replace(damage[name], distance=distance, distance_trains=trains)
        most = max(1, int(np.abs(expected[name]).max(initial=0)))
        spikes[name] = counts.clip(-most, most)
    compared = {name: counted(each, expected[name].sum(1, dtype=np.int64)) for name, each in found.counts.items()}
    return Brought(
        Recorded(spikes, found.counts, found.outputs),
        aligned.alignment if aligned else None,
        damage,
        compared,
        None if found.outputs is None else _said(found.outputs, outputs, data),
    )


def _checked(program: Program, data: Data, found: Found) -> Found:
    """That layers, shapes and numbers belong to the program; nodes of NIR that do not spike are left out.

    Raises:
        BadInput: with everything that does not.
    """
    shapes = {node.name: program.integer.edges[node.name].shape for node in program.integer.of(Neuron)}
    known = {name: grid for name, grid in found.gridded.items() if name in shapes}
    found = replace(found, gridded=known or found.gridded)
    steps = (len(data), program.timesteps)
    problems = []
    for name in sorted(found.layers - shapes.keys()):
        fix = "name recorded layers as `simulate --spikes` does"
        problems.append(Problem("the program has no such layer", name, limit=", ".join(sorted(shapes)), fix=fix))
    for name, spikes in found.spikes.items():
        if name not in shapes:
            continue
        if spikes.dtype.kind not in "fiub" or not np.isin(spikes, (-1, 0, 1)).all():
            fix = "record 1 for a spike and 0 for none"
            problems.append(Problem("what was recorded are no spikes", name, str(spikes.dtype), "-1, 0 or 1", fix))
        elif spikes.shape != (*steps, *shapes[name]):
            fix, limit = "record [samples, steps, ...] in network time", str((*steps, *shapes[name]))
            problems.append(Problem("recorded spikes have the wrong shape", name, str(spikes.shape), limit, fix))
    for name, grid in found.gridded.items():
        if name in shapes and (grid.shape[0] not in (1, len(data)) or grid.shape[2] != prod(shapes[name])):
            fix, limit = "record all samples of the data", f"{len(data)} samples of {prod(shapes[name])} neurons"
            problems.append(Problem("the recording has another shape", name, str(grid.shape), limit, fix))
    for name, counts in found.counts.items():
        if name in shapes and counts.shape != (len(data), *shapes[name]):
            fix, limit = "record [samples, ...]", str((len(data), *shapes[name]))
            problems.append(Problem("recorded counts have the wrong shape", name, str(counts.shape), limit, fix))
    if not found.layers and found.outputs is None:
        limit, fix = ", ".join(sorted(shapes)), "record at least one layer, or the outputs"
        problems.append(Problem("the recording is empty", "--recorded", limit=limit, fix=fix))
    places = prod(steps) * sum(prod(shapes.get(name, ())) for name in found.layers)
    if places > _MOST and (found.events or found.gridded):
        fix = "give fewer samples (--data), and the recording of these"
        what = "the layers that were recorded are too large"
        problems.append(Problem(what, "--recorded", f"{places:,} neurons times steps", f"{_MOST:,}", fix))
    if problems:
        raise BadInput(problems)
    return found


def _expected(program: Program, data: Data, layers: set[str]) -> tuple[dict[str, Array], dict[str, Array]]:
    """What the program fires in these layers, ``[N, T, *shape]``, and its outputs."""
    executor = IntegerExecutor(program)
    spikes: dict[str, list[Array]] = {name: [] for name in sorted(layers)}
    outputs: dict[str, list[Array]] = {}
    for start in range(0, len(data), _CHUNK):
        trace = executor.run(data.part(start, start + _CHUNK).inputs)
        for name in spikes:
            spikes[name].append(trace.spikes[name].astype(np.int8))
        for name, values in trace.outputs.items():
            outputs.setdefault(name, []).append(values)
    return tuple({name: np.concatenate(each) for name, each in parts.items()} for parts in (spikes, outputs))  # type: ignore[return-value]


def _of_dense(spikes: Array) -> Rows:
    samples, steps = spikes.shape[:2]
    flat = spikes.reshape(samples * steps, -1)
    row, neuron = np.nonzero(flat)
    return Rows(row, neuron, flat[row, neuron].astype(np.int64), steps)


def _of_grid(name: str, grid: Array, expected: Array) -> Rows:
    """Steps of NIR's: with a row for each step of a sample, or one long row of steps of all samples."""
    counts = np.rint(grid).astype(np.int64)
    if (counts != grid).any():
        fix = "record spikes, not potentials"
        raise BadInput(Problem("what was recorded are no spikes", name, str(grid.dtype), "whole numbers", fix))
    samples, steps = expected.shape[:2]
    sample, row, neuron = np.nonzero(counts)
    period = 3 * max(steps, 8) if len(counts) == samples > 1 or counts.shape[1] == steps else steps
    apart = period != steps
    inside = row < period if apart else np.ones(len(row), bool)
    rows = (sample * period + row)[inside]
    count = counts[sample, row, neuron]
    return Rows(rows, neuron[inside], count[inside], period, apart, None, int(count[~inside].sum()))


def _said(recorded: Array, outputs: Mapping[str, Array], data: Data) -> Said:
    """Decisions against the program's."""
    if "output" not in outputs:
        raise BadInput(Problem("the network has several outputs, and none called output", "output", fix="leave it out"))
    own = outputs["output"]
    own = own.reshape(*own.shape[:2], -1).mean(1) if own.ndim > 2 else own.reshape(len(own), -1)
    taken, tied = decisions(recorded, len(data), own.shape[1], "output")
    return said(taken, own.argmax(1), data.labels, tied)
