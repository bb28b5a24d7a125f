"""Widths by layer: what each layer's width alone does to the output, and the cheapest bits given up first.

All weights have the widest width at first. What narrower weights in one layer, and no other, change of the output is
measured on samples that nothing is reported on: the squared difference to the widest program's output, as a part of
its square. For a memory to keep to (that of a uniform width) bits are then given up one step after another, always
where a byte saved adds least to the sum of these errors, until it is kept to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neurocompile.data import Data
from neurocompile.ir.ops import Array
from neurocompile.recordings.outputs import SIGNIFICANT
from neurocompile.reports.explore import Mixed, Point
from neurocompile.verbs.exploring.front import mcnemar
from neurocompile.verbs.exploring.space import Build, Design, Names
from neurocompile.verbs.exploring.sweep import Sweep, weights_of
from neurocompile.verbs.exploring.tasks import Samples, sensing

__all__ = ["Found", "beside", "given_up", "search"]


@dataclass(frozen=True, eq=False)
class Found:
    """Widths that were chosen, the build that has them, and the uniform one that it stands beside."""

    build: Build
    uniform: Build
    sensitivity: Mapping[str, Mapping[int, float]]
    error: tuple[float, float]
    chosen_on: int


def search(sweep: Sweep, builds: Sequence[Build], data: Data) -> list[Found]:
    """Widths by layer for every uniform width between the narrowest and the widest.

    Args:
        sweep: with the builds compiled.
        builds: those of uniform widths.
        data: to choose on.
    """
    families: dict[tuple[int, str, bool], list[Build]] = {}
    for build in builds:
        if isinstance(build.bits, int) and sweep.made[build].program is not None:
            families.setdefault((id(build.targets[0]), build.scale, build.per_channel), []).append(build)
    return [found for family in families.values() for found in _search(sweep, family, data)]


def _search(sweep: Sweep, family: Sequence[Build], data: Data) -> list[Found]:
    """The same for builds that differ in their width alone."""
    by_width = {int(build.bits): build for build in family if isinstance(build.bits, int)}
    widths = sorted(by_width, reverse=True)
    widest, budgets = by_width[widths[0]], widths[1:-1]
    program = sweep.made[widest].program
    if not budgets or program is None:
        return []
    counts = {name: count for name, count in weights_of(program).items() if count}
    everywhere = dict.fromkeys(counts, widths[0])
    tried = [(name, width) for name in counts for width in widths[1:]]
    alone = [{**everywhere, name: width} for name, width in tried]
    uniform_ones = [dict.fromkeys(counts, width) for width in budgets]
    asked = [everywhere, *alone, *uniform_ones]
    outputs = _outputs(sweep, widest, asked, data)
    best = outputs[0]
    if best is None:
        return []
    sensitivity: dict[str, dict[int, float]] = {name: {} for name in counts}
    for (name, width), output in zip(tried, outputs[1:]):
        if output is not None:
            sensitivity[name][width] = _error(output, best)
    chosen = {
        width: given_up(counts, widths, sensitivity, width * sum(counts.values())) for width in budgets
    }  # fmt: skip
    measured = _outputs(sweep, widest, [bits for bits in chosen.values() if bits], data)
    found = []
    for (width, bits), uniform in zip(chosen.items(), outputs[1 + len(tried) :], strict=True):
        output = measured.pop(0) if bits else None
        if bits is None or output is None or len(set(bits.values())) == 1:
            continue
        build = Build(widest.targets, bits, widest.scale, widest.per_channel)
        errors = _error(output, best), float("nan") if uniform is None else _error(uniform, best)
        found.append(Found(build, by_width[width], sensitivity, errors, len(data)))
    return found


def _outputs(sweep: Sweep, build: Build, asked: Sequence[Mapping[str, int]], data: Data) -> list[Array | None]:
    """What programs with these widths say, each."""
    samples, target = Samples(data), build.targets[0]
    tasks = [
        sensing(sweep.network, target, sweep.options(build, dict(bits)), samples, f"{target.name}, widths by layer")
        for bits in asked
    ]
    sweep.stages["measures"] = sweep.stages.get("measures", 0) + len({task.key for task in tasks})
    return sweep.done("measuring layers", tasks)


def _error(output: Array, best: Array) -> float:
    """The squared difference, as a part of the square of what is best."""
    return float(np.square(output - best).sum() / max(float(np.square(best).sum()), 1e-300))


def given_up(
    counts: Mapping[str, int], widths: Sequence[int], sensitivity: Mapping[str, Mapping[int, float]], most: int
) -> dict[str, int] | None:
    """Widths by layer in at most so many bits of memory; None where no steps lead there.

    Args:
        counts: of the weights of each layer.
        widths: from the widest on.
        sensitivity: what a layer in a width adds to the error; a width without cannot be had.
        most: bits of all weights together.
    """
    bits = dict.fromkeys(counts, widths[0])
    while sum(counts[name] * width for name, width in bits.items()) > most:
        steps = [
            (
                (sensitivity[name][narrower] - sensitivity[name].get(width, 0.0))
                / (counts[name] * (width - narrower)),
                -counts[name] * (width - narrower), name, narrower,
            )
            for name, width in bits.items()
            for narrower in widths
            if narrower < width and narrower in sensitivity[name]
        ]  # fmt: skip
        if not steps:
            return None
        *_, name, narrower = min(steps)
        bits[name] = narrower
    while more := _given_back(counts, widths, sensitivity, most, bits):
        bits |= more
    return bits


def _given_back(
    counts: Mapping[str, int], widths: Sequence[int], sensitivity: Mapping[str, Mapping[int, float]], most: int,
    bits: Mapping[str, int],
) -> dict[str, int]:  # fmt: skip
    """The last step saves more than it has to: the wider layer that what is left has room for, and that mends most."""
    room = most - sum(counts[name] * width for name, width in bits.items())
    mended = [
        (sensitivity[name].get(wider, 0.0) - sensitivity[name][width], name, wider)
        for name, width in bits.items()
        for wider in widths
        if wider > width and (wider in sensitivity[name] or wider == widths[0])
        if counts[name] * (wider - width) <= room
    ]
    best = min(mended, default=None)
    return {best[1]: best[2]} if best is not None and best[0] < 0 else {}


def designs_of(found: Sequence[Found], uniform: Sequence[Design], names: Names) -> dict[str, tuple[Found, Design]]:
    """A design beside each of those with the uniform width, by its name, with what it was chosen from."""
    made: dict[str, tuple[Found, Design]] = {}
    for each in found:
        for design in uniform:
            if design.build is each.uniform:
                width = f"mixed-{each.uniform.bits}"
                name = names.of(design.target.name, width, each.build.scale, each.build.per, design.placement)
                made[name] = each, Design(name, each.build, design.target, design.placement)
    return made


def beside(found: Found, mixed: Point, uniform: Point) -> Mixed:
    """Both points, and whether they differ by more than chance."""
    p = mcnemar(mixed, uniform)
    assert not isinstance(found.build.bits, int)
    return Mixed(
        mixed.name, uniform.name, found.build.bits, found.chosen_on, found.sensitivity, found.error,
        (mixed.weight_bytes, uniform.weight_bytes), (mixed.accuracy, uniform.accuracy),
        int((mixed.right & ~uniform.right).sum()), int((uniform.right & ~mixed.right).sum()), p, p < SIGNIFICANT,
    )  # fmt: skip
