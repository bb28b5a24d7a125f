"""What a validation found; the fields are the keys of ``validate --json``."""

from __future__ import annotations

from dataclasses import dataclass, field

from neurocompile.ir.compare import Divergence
from neurocompile.recordings import Alignment, Counted, Damage, Said
from neurocompile.reports.base import Report
from neurocompile.reports.causes import Cause
from neurocompile.reports.plain import HIDDEN, OMITTED

__all__ = ["Stage", "Validation"]


@dataclass(frozen=True)
class Stage:
    """One comparison; ``passed`` is None where it could not run, for the ``reason`` given.

    Attributes:
        name: of the stage.
        target: that the program was compiled for.
        against: what it was compared with.
        compared: positions, as below; the older name.
        mismatches: of these, ties left out.
        ties: samples that first differ where a membrane is its threshold, and are followed no further.
        first_divergence: the earliest spike that differs.
        firing_rates: by layer, of the executor that is held for right.
        agreement: by layer, the share of places where both do the same.
        output_error: the largest, as a part of the largest output.
        samples: of which every state was compared.
        membranes_compared: after the reset, of executors of the same integers.
        membrane_mismatches: of these.
        first_membrane: the first that differs.
        cycles_compared: moments in time that were held against the timing model's.
        cycle_mismatches: of these.
        passed: whether it is as alike as it has to be.
        reason: why, or why it did not run.
        silenced: layers that should have fired, and never did.
        accuracies: of what was compared, and of what it was compared with; None without labels.
        executor: what a person calls the stage, where that is not its name: "lava".
        asked: what has to hold for it to pass.
        samples_run: of the samples that were given, how many.
        positions: that were compared: a neuron at a step of a sample, whether it fires or not.
        spikes_expected: of these, how many fire in the executor that is held for right.
        spikes_found: how many fire in the other one.
        precision: of the spikes found, the share that is expected; None if there are none.
        recall: of the spikes expected, the share that is found; None if there are none.
        f1: the harmonic mean of both.
        layer_precision: by layer.
        layer_recall: by layer.
        causes: the layers in which something went wrong, in the order of cause, if it failed.
        alignment: of a recording: what was done before it was compared.
        damage: of a recording, by layer.
        counts: of a recording that has the spikes of whole samples, by layer.
        outputs: of a recording that has the network's outputs.
    """

    name: str
    target: str
    against: str
    compared: int = 0
    mismatches: int = 0
    ties: int = 0
    first_divergence: Divergence | None = None
    firing_rates: dict[str, float] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    output_error: float = 0.0
    samples: int = 0
    membranes_compared: int = 0
    membrane_mismatches: int = 0
    first_membrane: Divergence | None = None
    cycles_compared: int = 0
    cycle_mismatches: int = 0
    passed: bool | None = None
    reason: str = ""
    silenced: tuple[str, ...] = field(default=(), metadata=HIDDEN)
    accuracies: tuple[float | None, float | None] = field(default=(None, None), metadata=HIDDEN)
    executor: str = ""
    asked: str = ""
    samples_run: int = 0
    positions: int = 0
    spikes_expected: int = 0
    spikes_found: int = 0
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    layer_precision: dict[str, float] = field(default_factory=dict)
    layer_recall: dict[str, float] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()
    alignment: Alignment | None = field(default=None, metadata=OMITTED)
    damage: dict[str, Damage] = field(default_factory=dict, metadata=OMITTED)
    counts: dict[str, Counted] = field(default_factory=dict, metadata=OMITTED)
    outputs: Said | None = field(default=None, metadata=OMITTED)

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.executor or self.name


@dataclass(frozen=True)
class Validation(Report):
    """All stages, with the accuracy of the reference and of the program (None without labels).

    Attributes:
        passed: something was compared, nothing failed, and what is required passed.
        samples: that were given; a stage says on how many of them it ran.
        required: the stages that have to pass, by name or as a person calls them.
        unmet: those of them that did not, with why.
        summary: in a line: what is proved, what failed, and what did not run, with why.
    """

    stages: list[Stage]
    accuracy_reference: float | None
    accuracy_program: float | None
    passed: bool = field(init=False)
    samples: int = 0
    timesteps: int = field(default=0, metadata=HIDDEN)
    required: tuple[str, ...] = ()
    unmet: dict[str, str] = field(init=False)
    summary: str = field(init=False)

    def __post_init__(self) -> None:
        ran = [stage.passed for stage in self.stages if stage.passed is not None]
        unmet = {name: why for name in self.required if (why := self._lacks(name))}
        object.__setattr__(self, "unmet", unmet)
        object.__setattr__(self, "summary", self._summary())
        object.__setattr__(self, "passed", bool(ran) and all(ran) and not unmet)

    def _lacks(self, required: str) -> str:
        """Why a stage that has to pass is not proved; "" if it is."""
        named = [stage for stage in self.stages if required in (stage.name, stage.executor)]
        if not named:
            return "there is no such stage"
        for stage in named:
            if not stage.passed:
                what = "did not run" if stage.passed is None else "did not pass"
                return f"{what}: {stage.reason}" if stage.reason else what
        return ""

    def _summary(self) -> str:
        told: dict[str, list[str]] = {"proved": [], "failed": [], "not run": []}
        for stage in self.stages:
            what = stage.title
            if stage.passed is None:
                told["not run"].append(f"{what} ({stage.reason})")
                continue
            if stage.samples_run < self.samples:
                what += f" ({stage.samples_run:,} of {self.samples:,} samples)"
            told["proved" if stage.passed else "failed"].append(what)
        return "; ".join(f"{word}: {', '.join(stages)}" for word, stages in told.items() if stages)

    @property
    def exit_code(self) -> int:
        """5 if something is not as alike as it has to be, or is required and was not found to be."""
        return 0 if self.passed else 5
