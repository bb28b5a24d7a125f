"""What a validation found; the fields are the keys of ``validate --json``."""

from __future__ import annotations

from dataclasses import dataclass, field

from neurocompile.ir.compare import Divergence
from neurocompile.reports.base import Report
from neurocompile.reports.plain import HIDDEN

__all__ = ["Stage", "Validation"]


@dataclass(frozen=True)
class Stage:
    """One comparison; ``passed`` is None where it could not run, for the ``reason`` given.

    Attributes:
        name: of the stage.
        target: that the program was compiled for.
        against: what it was compared with.
        compared: spikes, fired or not.
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


@dataclass(frozen=True)
class Validation(Report):
    """All stages, with the accuracy of the reference and of the program (None without labels).

    ``passed``: something was compared, and nothing failed.
    """

    stages: list[Stage]
    accuracy_reference: float | None
    accuracy_program: float | None
    passed: bool = field(init=False)
    samples: int = field(default=0, metadata=HIDDEN)
    timesteps: int = field(default=0, metadata=HIDDEN)

    def __post_init__(self) -> None:
        ran = [stage.passed for stage in self.stages if stage.passed is not None]
        object.__setattr__(self, "passed", bool(ran) and all(ran))

    @property
    def exit_code(self) -> int:
        """5 if something is not as alike as it has to be."""
        return 0 if self.passed else 5
