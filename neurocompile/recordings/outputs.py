"""What a network said, where nothing else of it was recorded: decisions, their accuracy, and counts of spikes."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.ir.ops import Array
from neurocompile.recordings.sure import sign_test

__all__ = ["SIGNIFICANT", "Counted", "Interval", "Said", "counted", "decisions", "said", "wilson"]

SIGNIFICANT = 0.05
"""Of McNemar's test: a recording that is as good as the program is taken for worse once in twenty times."""
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """A share, and where it lies with 95 % confidence (Wilson's interval)."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Said:
    """Decisions of the recorded network against the program's.

    Attributes:
        samples: that both decided.
        differing: of these, how many differently.
        tied: decisions of the recording between equal outputs, where the first was taken.
        agreement: the share that is the same.
        accuracy: of the recording; None without labels.
        accuracy_program: on the same samples, likewise.
        only_program_right: samples; only with labels.
        only_recording_right: likewise.
        p_mcnemar: how likely two equally good networks differ at least as much in the samples that only one of them has
            right (McNemar's exact test); None without labels.
        compatible: whether the recording is as good as the program, as far as these samples tell: p of at least 5 %, or
            without labels no decision that differs.
    """

    samples: int
    differing: int
    tied: int
    agreement: Interval
    accuracy: Interval | None
    accuracy_program: float | None
    only_program_right: int
    only_recording_right: int
    p_mcnemar: float | None
    compatible: bool

    @property
    def asked(self) -> str:
        """What has to hold for it to pass."""
        if self.accuracy is None:
            return "no labels: no decision differs"
        return f"the recording is not worse by more than chance: McNemar's p is at least {SIGNIFICANT:.0%}"


@dataclass(frozen=True)
class Counted:
    """Spikes of whole samples in one layer: neurons whose count differs.

    Attributes:
        compared: neurons times samples.
        mismatches: of these.
        expected_spikes: of the program.
        recorded_spikes: of the recording.
        largest_difference: of one neuron in one sample.
    """

    compared: int
    mismatches: int
    expected_spikes: int
    recorded_spikes: int
    largest_difference: int


def wilson(right: int, of: int) -> Interval:
    """Where a share lies of which ``right`` were seen in ``of`` tries."""
    if not of:
        return Interval(0.0, 0.0, 1.0)
    share, z2 = right / of, _Z95 * _Z95
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z95 * sqrt(share * (1 - share) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def decisions(outputs: Array, samples: int, classes: int, where: str) -> tuple[Array, int]:
    """The class of each sample, ``[N]``, and how many of them are ties.

    Args:
        outputs: classes ``[N]``, or values or counts ``[N, classes]`` (``[N, T, classes]``: averaged over time).
        samples: N.
        classes: of the program.
        where: they were recorded, for messages.

    Raises:
        BadInput: for another shape, or classes that there are none of.
    """
    fix = "record the class of each sample [N], or what each output reads [N, classes]"
    if outputs.dtype.kind not in "fiub" or (outputs.dtype.kind == "f" and not np.isfinite(outputs).all()):
        raise BadInput(Problem("recorded outputs are no numbers", where, str(outputs.dtype), "finite numbers", fix))
    values = outputs.reshape(*outputs.shape[:2], -1).mean(1) if outputs.ndim > 2 else outputs
    fits = values.shape == (samples,) or values.shape == (samples, classes)
    if not fits:
        limit = f"[{samples}] or [{samples}, {classes}]"
        raise BadInput(Problem("recorded outputs have the wrong shape", where, str(list(outputs.shape)), limit, fix))
    if values.ndim == 2:
        best = values.max(1, keepdims=True)
        return values.argmax(1), int(((values == best).sum(1) > 1).sum())
    taken = values.astype(np.int64)
    if (taken != values).any() or taken.min(initial=0) < 0 or taken.max(initial=0) >= classes:
        actual = f"{values.min()} to {values.max()}"
        raise BadInput(Problem("recorded classes are none of the network's", where, actual, f"0 to {classes - 1}", fix))
    return taken, 0


def said(recorded: Array, program: Array, labels: Array | None, tied: int = 0) -> Said:
    """Hold decisions ``[N]`` against the program's ``[N]``, and both against the labels, if there are any."""
    samples, differing = len(recorded), int((recorded != program).sum())
    agreement = wilson(samples - differing, samples)
    if labels is None:
        return Said(samples, differing, tied, agreement, None, None, 0, 0, None, differing == 0)
    right, before = recorded == labels, program == labels
    less, more = int((before & ~right).sum()), int((right & ~before).sum())
    p = sign_test(more, less)
    accuracy = wilson(int(right.sum()), samples)
    return Said(samples, differing, tied, agreement, accuracy, float(before.mean()), less, more, p, p >= SIGNIFICANT)


def counted(recorded: Array, expected: Array) -> Counted:
    """Counts ``[N, *shape]`` against the program's."""
    off = np.abs(recorded.astype(np.int64) - expected)
    return Counted(
        off.size, int((off > 0).sum()), int(expected.sum()), int(recorded.sum(dtype=np.int64)), int(off.max(initial=0))
    )
