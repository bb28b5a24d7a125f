"""How a recording was aligned, what is wrong with it, and what its network said, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurocompile.reports.text.parts import percent

if TYPE_CHECKING:
    from neurocompile.recordings import Alignment, Damage, Said
    from neurocompile.reports.validation import Stage

__all__ = ["recording"]


def recording(stage: Stage) -> Iterator[str]:
    """Lines on a recording; none for what is none."""
    if stage.alignment is not None:
        yield from _alignment(stage.alignment)
    for name, damage in stage.damage.items():
        if told := ", ".join(_damage(damage)):
            yield f"{name}: {told}"
    for name, counted in stage.counts.items():
        yield f"{name}: {counted.mismatches:,} of {counted.compared:,} counts differ"
    if stage.outputs is not None:
        yield from _outputs(stage.outputs)


def _alignment(alignment: Alignment) -> Iterator[str]:
    for words in alignment.applied:
        yield f"aligned: {words}"
    for name, layer in alignment.layers.items():
        for what, choice in (("its steps", layer.time), ("the order of its neurons", layer.neurons)):
            if not choice.decided:
                yield f"{name}: {what}: undecided, {choice.runner_up or 'nothing fires'} does as well"
            elif layer.offset_steps or layer.moved_neurons:
                margin = f"F1 {percent(choice.f1)}, next best {percent(choice.f1_runner_up)}"
                yield f"{name}: {what}: sure ({margin}; chance {choice.chance:.1g})"
        if layer.outside_events:
            yield f"{name}: {layer.outside_events:,} events belong to no step of a sample"
    yield from alignment.notes


def _damage(damage: Damage) -> Iterator[str]:
    shares = (
        ("missing", damage.missing_share),
        ("extra", damage.extra_share),
        ("doubled", damage.doubled_share),
        ("displaced", damage.displaced_share),
    )
    yield from (f"{share:.2%} {word}" for word, share in shares if share)
    if damage.displaced_share:
        yield f"by {damage.displaced_steps:.2g} steps"
    if damage.distance is not None:
        yield f"distance {damage.distance:.3g} a train"


def _outputs(said: Said) -> Iterator[str]:
    agree = said.agreement
    yield f"{said.differing:,} of {said.samples:,} decisions differ ({_between(agree.low, agree.high)} agree)"
    if said.accuracy is not None:
        found = said.accuracy
        own = percent(said.accuracy_program)
        yield f"accuracy {found.share:.2%} ({_between(found.low, found.high)}), program {own}"
        only = f"only the program right {said.only_program_right}, only the recording {said.only_recording_right}"
        verdict = "compatible" if said.compatible else "not compatible"
        yield f"{verdict}: {only}, McNemar p = {said.p_mcnemar:.3g}"


def _between(low: float, high: float) -> str:
    return f"95 %: {low:.2%} to {high:.2%}"
