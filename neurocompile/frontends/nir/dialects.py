"""What a .nir file leaves open, and how those who write such files have it.

dt, the reset, the comparison and where a membrane starts stand in no file: the same one is six networks in snnTorch
alone. A dialect is what one of these programs does with the numbers that it writes, found by running it: docs/nir.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.frontends.base import Reading
from neurocompile.frontends.nir.network import Network
from neurocompile.frontends.nir.nodes import Cell
from neurocompile.printable import printable

__all__ = ["DIALECTS", "Dialect", "reading_of", "told", "weighed"]


@dataclass(frozen=True)
class Dialect:
    """One way to read a file.

    Attributes:
        name: as users say it.
        dt: of a step, in the file's unit of time; None: the user has to say it.
        decay: of a membrane or a current: "euler" (1 - dt / tau) or "exp" (exp(-dt / tau)).
        reset: "hard" (to v_reset), "hard-late" (one step later, and the current of that step is lost), "soft" (by the
            threshold), "soft-late" (by the threshold, in the next step and after the leak), or "none".
        fire: above the threshold ("gt"), or from it on ("ge").
        spikes: "one" a step, or as "many" as the membrane holds thresholds.
        gain: of what a leaking membrane hears: "file" (r dt / tau), "one", or "norm" (1 - decay).
        current: of what a current hears: "file" (w_in dt / tau_syn), "one", or "decay" (the current's own).
        integrate: of what a membrane without leak hears: "file" (r dt) or "one".
        start: of membranes: "zero", at v_leak ("leak"; at v_reset without leak), or at v_reset ("reset").
        twice: a membrane that stays above its threshold after the reset is taken down once more in the comparison of
            the next step (snnTorch without reset_delay).
        after: the comparison sees the membrane of the step before (Spyx); a soft reset is then taken off before the
            leak, or behind it ("leaked").
    """

    name: str
    dt: float | None
    decay: str = "euler"
    reset: str = "hard"
    fire: str = "gt"
    spikes: str = "one"
    gain: str = "file"
    current: str = "file"
    integrate: str = "file"
    start: str = "zero"
    twice: bool = False
    after: str = ""


_SNNTORCH = Dialect("snntorch", 1e-4, reset="soft", twice=True)
_SINABS = Dialect("sinabs", 1.0, "exp", "soft", "ge", "many", gain="norm", integrate="one")

DIALECTS = {
    each.name: each
    for each in (
        Dialect("text", None),
        _SNNTORCH,
        replace(_SNNTORCH, name="snntorch-late", reset="soft-late", twice=False),
        replace(_SNNTORCH, name="snntorch-zero", reset="hard", twice=False),
        replace(_SNNTORCH, name="snntorch-zero-late", reset="hard-late", twice=False),
        replace(_SNNTORCH, name="snntorch-none", reset="none", twice=False),
        Dialect("norse", 1e-3, current="one", integrate="one", start="leak"),
        Dialect("norse-1.1", 1e-6, current="one", integrate="one", start="leak"),
        Dialect("spikingjelly", 1e-4, fire="ge", start="reset"),
        _SINABS,
        replace(_SINABS, name="sinabs-nonorm", gain="one"),
        Dialect(
            "rockpool", 1e-3, "exp", "soft", "ge", "many", gain="one", current="decay", integrate="one",
        ),
        Dialect("spyx", 1.0, reset="soft", gain="one", current="one", integrate="one", after="leaked"),
    )
}  # fmt: skip
"""By name; "text" is what NIR's own text says: forward Euler, above the threshold, at once to v_reset."""

OPTIONS = ("dt", "decay", "reset", "fire", "spikes", "gain", "start")


def told(reading: Reading, metadata: object = None) -> Dialect | None:
    """The dialect that a user chose, with the parts that were told apart; None if nothing was.

    Args:
        reading: what the user said.
        metadata: of the file, which may name one.

    Raises:
        UsageError: for a dialect that there is not, or where dt is not known.
        BadInput: for metadata that are none of this.
    """
    parts = {name: getattr(reading, name) for name in OPTIONS if getattr(reading, name) is not None}
    name = reading.dialect
    if name is None and isinstance(metadata, dict) and isinstance(metadata.get("dialect"), str):
        name = metadata["dialect"]
        kept = {key: metadata[key] for key in OPTIONS if key in metadata}
        plain = {key: value.item() if getattr(value, "size", 0) == 1 else value for key, value in kept.items()}
        try:
            parts = {**Reading(**plain).said, **parts}
        except UsageError as error:
            raise BadInput(
                [replace(problem, where=f"metadata: {problem.where}") for problem in error.problems]
            ) from None
    if name is None and not parts:
        return None
    if name is not None and name not in DIALECTS:
        asked = reading.dialect is not None
        where, refused = ("--dialect", UsageError) if asked else ("metadata: dialect", BadInput)
        raise refused(
            Problem("there is no such dialect", where, printable(name), ", ".join(DIALECTS), "see docs/nir.md")
        )
    base = DIALECTS[name or "text"]
    if "reset" in parts and parts["reset"] != base.reset:
        base = replace(base, twice=False)
    if "gain" in parts and parts["gain"] in ("file", "one"):
        base = replace(base, current=parts["gain"], integrate=parts["gain"])
    return dated(replace(base, **parts))


def dated(dialect: Dialect) -> Dialect:
    """A dialect whose dt is known.

    Raises:
        UsageError: if it is not.
    """
    if dialect.dt is None:
        fix = "give --dt in the file's unit of time (a snnTorch file: 1e-4), or --dialect"
        raise UsageError(Problem("the file does not say how long a step is", "--dt", fix=fix))
    return dialect


# -- evidence ----------------------------------------------------------------------------------------------------------


def weighed(network: Network) -> list[tuple[Dialect, str]]:
    """The dialects that could have written a file, each with what speaks for it, the likeliest first."""
    cells = [node for node in network.nodes.values() if isinstance(node, Cell)]
    if not cells:
        return [(replace(DIALECTS["text"], dt=1.0), "it has no neuron")]
    leaking = [cell for cell in cells if cell.tau is not None]
    return list(_of_leaks(leaking, bool(network.back_edges())) if leaking else _of_sums(cells))


def _of_sums(cells: Sequence[Cell]) -> Iterator[tuple[Dialect, str]]:
    """Of neurons without leak."""
    if all(_near(cell.r, 1e4) for cell in cells):
        yield DIALECTS["spikingjelly"], "r = 1 / 1e-4, and no leak"
    elif all(_near(cell.r, 1.0) for cell in cells):
        yield DIALECTS["sinabs"], "r = 1, and no leak"
        yield DIALECTS["norse"], "r = 1, and no leak"


def _of_leaks(cells: Sequence[Cell], recurrent: bool) -> Iterator[tuple[Dialect, str]]:
    taus = [np.asarray(cell.tau) for cell in cells]
    pairs = [(cell.r, tau) for cell, tau in zip(cells, taus)]
    if all(_near(r, tau / 1e-4) for r, tau in pairs):
        why = "r = tau / 1e-4 in every neuron"
        late = recurrent or any(cell.tau_syn is not None for cell in cells)
        names = ("snntorch-late", "snntorch", "snntorch-zero", *(("snntorch-zero-late",) if late else ()))
        yield from ((DIALECTS[name], why) for name in (*names, "snntorch-none"))
        if all(_near(cell.v_leak, 0.0 if cell.v_reset is None else cell.v_reset) for cell in cells):
            yield DIALECTS["spikingjelly"], f"{why}, and v_leak = v_reset"
        return
    for dt in (1e-3, 1e-4):
        if all(_near(r, tau * np.exp(-dt / tau) / dt) for r, tau in pairs):
            yield replace(DIALECTS["rockpool"], dt=dt), f"r = tau exp(-dt / tau) / dt for dt = {dt:g}"
            return
    steps, ones = all((tau >= 1).all() for tau in taus), all(_near(r, 1.0) for r, _ in pairs)
    if steps and all(_near(r, 1 - 1 / tau) for r, tau in pairs):
        yield DIALECTS["spyx"], "tau is in steps, and r = 1 - 1 / tau"
    elif steps and ones:
        yield DIALECTS["sinabs"], "tau is in steps, and r = 1"
        yield DIALECTS["sinabs-nonorm"], "tau is in steps, and r = 1"
    elif ones and all((tau <= 1e-4).all() for tau in taus):
        yield DIALECTS["norse-1.1"], "r = 1, and tau is below 1e-4: it was multiplied by dt"
    elif ones and not steps:
        yield DIALECTS["norse"], "r = 1, and tau is in seconds"
        yield DIALECTS["spikingjelly"], "r = 1, and tau is in seconds"


def _near(value: object, wanted: object) -> bool:
    return bool(np.allclose(np.asarray(value, float), np.asarray(wanted, float), rtol=1e-6, atol=1e-12))


def reading_of(dialect: Dialect) -> dict[str, object]:
    """What a user would have to say for it to be read so: the name, and the parts that are its own."""
    base = DIALECTS[dialect.name]
    parts = {name: getattr(dialect, name) for name in OPTIONS if getattr(dialect, name) != getattr(base, name)}
    return {"dialect": dialect.name, **parts}


def differing(one: Dialect, other: Dialect) -> dict[str, tuple[object, object]]:
    """In which parts two dialects read a file otherwise."""
    pairs = {part.name: (getattr(one, part.name), getattr(other, part.name)) for part in fields(Dialect)}
    return {name: pair for name, pair in pairs.items() if name != "name" and pair[0] != pair[1]}
