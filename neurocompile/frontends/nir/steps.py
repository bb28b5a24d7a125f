"""What a cell does in one step, in numbers: its primitive, read by a dialect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurocompile.errors import Problem, UnsupportedModel
from neurocompile.frontends.nir.dialects import Dialect
from neurocompile.frontends.nir.nodes import Cell
from neurocompile.ir.ops import Array

__all__ = ["Step", "step_of", "steps_of_delay"]


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a cell, from ``i`` = 0 and ``v`` = ``start``::

        i = current_decay * i + current_gain * x
        v = decay * v + gain * i + bias

    Attributes:
        filters: whether it has a current; without, i is x.
        threshold: None for what never fires.
        after: as in :class:`Dialect`.
        v_reset: where a hard reset goes.
    """

    filters: bool
    current_decay: Array
    current_gain: Array
    decay: Array
    gain: Array
    bias: Array
    start: Array
    threshold: Array | None
    v_reset: Array
    strict: bool
    reset: str
    many: bool
    twice: bool
    after: str


def step_of(cell: Cell, dialect: Dialect, where: str) -> Step:
    """A cell's step.

    Raises:
        UnsupportedModel: where a membrane would not decay but turn over (dt > tau under Euler), or reset late without
            a memory to do it in.
    """
    assert dialect.dt is not None
    zero, one = np.asarray(0.0), np.asarray(1.0)
    decay, gain, bias = one, _unit(cell.r * dialect.dt if dialect.integrate == "file" else one), zero
    v_leak = zero if cell.v_leak is None else cell.v_leak
    v_reset = zero if cell.v_reset is None else cell.v_reset
    if cell.tau is not None:
        decay = _decay(cell.tau, dialect, where, "tau")
        leak = 1 - decay
        bias = leak * v_leak
        gain = _unit({"file": cell.r * dialect.dt / cell.tau, "one": one, "norm": leak}[dialect.gain])
    current_decay, current_gain = zero, one
    if cell.tau_syn is not None and cell.w_in is not None:
        current_decay = _decay(cell.tau_syn, dialect, where, "tau_syn")
        by = {"file": cell.w_in * dialect.dt / cell.tau_syn, "one": one, "decay": current_decay}
        current_gain = _unit(by[dialect.current])
    resting = {"zero": zero, "leak": v_leak if cell.tau is not None else v_reset, "reset": v_reset}[dialect.start]
    late = dialect.reset in ("soft-late", "hard-late") or (dialect.after and dialect.reset == "soft")
    if late and cell.v_threshold is not None and (decay == 0).any():
        what = "a reset that falls one step late has no membrane to be taken from: its decay is 0"
        raise UnsupportedModel(Problem(what, where, fix="say --reset soft or hard"))
    return Step(
        cell.tau_syn is not None, current_decay, current_gain, decay, gain, bias, resting, cell.v_threshold, v_reset,
        dialect.fire == "gt", dialect.reset, dialect.spikes == "many", dialect.twice,
        "before" if dialect.after and cell.tau_syn is not None else dialect.after,
    )  # fmt: skip


def _decay(tau: Array, dialect: Dialect, where: str, name: str) -> Array:
    assert dialect.dt is not None
    if dialect.decay == "exp":
        return np.asarray(np.exp(-dialect.dt / tau))
    if (tau < dialect.dt).any():
        what = f"{name} is shorter than a step of {dialect.dt:g}: under forward Euler the membrane would turn over"
        fix = "say a shorter --dt; or --decay exp; in a file of Norse 1.1 tau is multiplied by dt: --dialect norse-1.1"
        raise UnsupportedModel(Problem(what, where, f"{tau.min():g}", f"at least {dialect.dt:g}", fix))
    return np.asarray(1 - dialect.dt / tau)


def _unit(gain: Array) -> Array:
    """A gain that is 1 but for the rounding of float32 is 1."""
    return np.where(np.abs(gain - 1) <= 1e-6, 1.0, gain)


def steps_of_delay(delay: Array, dialect: Dialect, where: str) -> Array:
    """How many steps a delay is.

    Raises:
        UnsupportedModel: if it is no whole number of them.
    """
    assert dialect.dt is not None
    steps = delay / dialect.dt
    whole = np.rint(steps)
    if (np.abs(steps - whole) > 1e-6 * np.maximum(1, whole)).any() or (whole > 1 << 16).any():
        worst = float(np.ravel(steps)[np.argmax(np.abs(np.ravel(steps - whole)))])
        fix = "say the --dt of which delays are multiples"
        raise UnsupportedModel(Problem("a delay is no whole number of steps", where, f"{worst:g} steps", fix=fix))
    return whole.astype(np.int64)
