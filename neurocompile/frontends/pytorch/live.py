"""The live module, run and recorded in one layout, and what is asked of it before its recording counts."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from neurocompile.errors import BadInput, NeurocompileError, NotTheSame, Problem, UnsupportedModel
from neurocompile.frontends.pytorch.axes import Layout
from neurocompile.frontends.pytorch.layouts import arrange
from neurocompile.frontends.pytorch.places import forward_of, kinds_of, problem_at, raised_at
from neurocompile.frontends.pytorch.record import FIX_CHANCE, Recording, in_time, record
from neurocompile.frontends.pytorch.state import forget
from neurocompile.frontends.pytorch.trace import Call, same_bits
from neurocompile.frontends.pytorch.whole import is_whole
from neurocompile.ir.ops import Array
from neurocompile.printable import first_line

__all__ = ["FIX_FAULT", "Live", "flat", "tensors_of"]

_FIX_BATCH = "treat every sample alike, as a chip sees one at a time; for statistics use nn.BatchNorm in eval mode"
_ROUNDING = 1e-5  # of sums in float32
_FIX_DRAWN = (
    "draw random numbers with torch, from its own generator: they become an input of the program; or seed in forward"
)
_WHATEVER_SEED = "it gives something else each time that it is run, whatever torch.manual_seed is given"
FIX_FAULT = "please report it with the model: this is a fault of neurocompile; nothing was written"


def _chance() -> tuple[object, ...]:
    """The states of the global generators of random numbers that are not torch's."""
    numpy = np.random.get_state(legacy=False)["state"]
    return random.getstate(), numpy["pos"], numpy["key"].tobytes()


# -- the live module ---------------------------------------------------------------------------------------------------


class Live:
    """A module that is live in one layout, its recordings, and the proof."""

    def __init__(
        self, module: nn.Module, again: Any, shapes: Mapping[str, tuple[int, ...]], timesteps: int, layout: Layout,
        whole: tuple[str, ...], example: Mapping[str, Array] | None,
    ) -> None:  # fmt: skip
        self.module = module
        self.again = again
        given = dict(example or {})
        if set(given) == set(shapes):
            given = {name: given[name] for name in shapes}
        self.shapes = self._named(shapes)
        self.timesteps = timesteps
        self.layout = layout
        named = dict(zip(shapes, self.shapes))
        self.whole = frozenset(named[name] for name in whole)
        self.example = dict(zip(self.shapes, given.values()))
        self.notes: list[str] = []
        self.draws = False
        """Whether it draws random numbers that are not torch's."""

    @contextmanager
    def _watching(self, chance: int = 0) -> Iterator[None]:
        """Every run finds Python's and NumPy's random numbers alike, after a seed, and leaves them as they were.

        What forward draws of them is a constant of the recording, and told.
        """
        python, numpy = random.getstate(), np.random.get_state()
        try:
            random.seed(chance)
            np.random.seed(chance)
            before = _chance()
            yield
            drew = _chance() != before
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
        note = (
            f"{forward_of(self.module)}: forward draws random numbers with Python's random or with NumPy; they stay as "
            "they were when it was recorded: draw them with torch, and they become an input of the program"
        )
        if drew and note not in self.notes:
            self.notes.append(note)
            self.draws = True

    def _named(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        arguments = list(inspect.signature(self.module.forward).parameters)
        given = list(shapes)
        if given == [""] or not set(given) <= set(arguments):
            star = [
                n for n, p in inspect.signature(self.module.forward).parameters.items() if p.kind == p.VAR_POSITIONAL
            ]
            names = [n for n in arguments if n not in star]
            if len(given) > len(names) and not star:
                what = f"the example has {len(given)} tensors, and forward takes {len(names)}"
                raise BadInput(Problem(what, forward_of(self.module), fix="give one tensor for each argument"))
            if len(names) < len(given):
                names = names + [f"x{k}" if k else "x" for k in range(len(given) - len(names))]
            return dict(zip(names, shapes.values()))
        return dict(shapes)

    # -- inputs --------------------------------------------------------------------------------------------------------

    def inputs(self, batch: int, kind: str) -> dict[str, Array]:
        """``[N, T, ...]`` for each argument: of the example, fresh random numbers, zeros, large numbers."""
        made = {}
        for number, (name, shape) in enumerate(self.shapes.items()):
            steady = self.layout == "N"
            example = self.example.get(name)
            full = (batch, self.timesteps, *shape)
            if name in self.whole:
                made[name] = self._whole_numbers(example, full, kind, steady)
                continue
            if kind == "example" and example is not None:
                x = (
                    np.resize(np.asarray(example, np.float64), (batch, *example.shape[1:]))
                    if len(example) < batch
                    else np.array(example[:batch])
                )
                made[name] = self._over_time(np.asarray(x, np.float64), shape)
                continue
            seed = {"example": 1, "fresh": 2, "zeros": 3, "large": 4}[kind]
            numbers = np.random.default_rng([seed, number])
            drawn = numbers.random((batch, 1 if steady else self.timesteps, *shape))
            if example is not None and np.isin(example, (0, 1)).all():
                drawn = (drawn < 0.5).astype(np.float64)
            elif example is not None and np.array_equal(example, np.rint(example)):  # they may be indices
                drawn = numbers.choice(np.unique(example), drawn.shape).astype(np.float64)
            elif example is not None and kind == "fresh":
                low, high = float(np.min(example)), float(np.max(example))
                drawn = low + (high - low) * 1.2 * drawn
            whole = example is not None and np.array_equal(example, np.rint(example))
            if kind == "zeros":
                drawn = np.zeros_like(drawn)
            if kind == "large":  # the same at every step, as zeros are
                drawn = drawn[:, :1] if whole else (drawn[:, :1] - 0.3) * 40.0
            made[name] = np.broadcast_to(drawn, full).copy()
        return made

    def mixed(self, batch: int, kind: str) -> dict[str, Array]:
        """Samples of the example, fresh ones, or of zeros and large ones in turn."""
        even, odd = ("zeros", "large") if kind == "extreme" else (kind, kind)
        first, second = self.inputs(batch, even), self.inputs(batch, odd)
        for name, x in first.items():
            x[1::2] = second[name][1::2]
        return first

    def _over_time(self, x: Array, shape: tuple[int, ...]) -> Array:
        return x if x.ndim > len(shape) + 1 else np.repeat(x[:, None], self.timesteps, axis=1)

    def _whole_numbers(self, example: Array | None, full: tuple[int, ...], kind: str, steady: bool) -> Array:
        if example is None or kind == "zeros":
            return np.zeros(full)
        values = np.unique(example)
        numbers = np.random.default_rng(5)
        if kind == "example":
            x = np.resize(np.asarray(example, np.float64), (full[0], *example.shape[1:]))
            return self._over_time(x, full[2:])
        drawn = numbers.choice(values, (full[0], 1 if steady else full[1], *full[2:])).astype(np.float64)
        return np.broadcast_to(drawn, full).copy()

    def arranged(self, inputs: Mapping[str, Array]) -> dict[str, list[torch.Tensor]]:
        """Inputs as forward takes them."""
        found = {name: arrange(x, self.layout) for name, x in inputs.items()}
        return {name: [t.long() for t in x] if name in self.whole else x for name, x in found.items()}

    # -- recording -----------------------------------------------------------------------------------------------------

    def record(
        self, inputs: Mapping[str, Array], watch: frozenset[int] = frozenset(), seed: int = 0, fresh: bool = True,
        strict: bool = True, chance: int = 0,
    ) -> Recording:  # fmt: skip
        """What the live module does with inputs ``[N, T, ...]``, from the state that it had (``fresh``) or has now.

        ``seed`` is for torch's random numbers, ``chance`` for those of Python and NumPy.
        """
        batch = len(next(iter(inputs.values())))
        if fresh:
            self.again()
        with torch.random.fork_rng(devices=[]), self._watching(chance):
            torch.manual_seed(seed)
            try:
                steps = 0 if self.layout == "loop" else self.timesteps
                return record(self.module, self.arranged(inputs), batch, is_whole, watch, strict, steps)
            except NeurocompileError:
                raise
            except Exception as error:
                shapes = ", ".join(str(list(x[0].shape)) for x in self.arranged(inputs).values())
                what = f"torch cannot run it: {first_line(error)}"
                fix = "check forward; the example or --input-shape (without batch and time); --timesteps and --layout"
                place = raised_at(error, self.module) or forward_of(self.module)
                raise BadInput(Problem(what, place, f"input {shapes}", "", fix)) from error

    def called(self, inputs: Mapping[str, Array], fresh: bool, promoted: bool) -> Sequence[Any]:
        """What the live module returns at each call, from the state that it had (``fresh``) or once it is reset.

        ``promoted``: with its casts to float32 as ones to float64.
        """
        if not fresh:
            forget(self.module)
        if promoted:
            return self.record(inputs, fresh=fresh, strict=False).returned  # type: ignore[no-any-return]
        if fresh:
            self.again()
        given = self.arranged(inputs)
        with torch.random.fork_rng(devices=[]), self._watching():
            torch.manual_seed(0)
            return [self.module(*parts) for parts in zip(*given.values(), strict=True)]

    def is_binary(self, name: str) -> bool:
        """Whether an input is 0 and 1 in the example."""
        example = self.example.get(name)
        return example is not None and name not in self.whole and bool(np.isin(example, (0, 1)).all())

    # -- what is asked of it ------------------------------------------------------------------------------------------

    def check(self, first: Recording) -> None:
        """It forgets, repeats itself, keeps samples apart, and does the same when nobody looks.

        Raises:
            UnsupportedModel: where it does not.
            NotTheSame: if it gives something else while it is recorded.
        """
        self._check_returns(first)
        self._check_chance(first)
        self._check_forgets(first)
        self._check_unrecorded(first)
        self._check_repeats(first)
        self._check_draws(first)

    def _check_returns(self, first: Recording) -> None:
        if not flat(first.returned):
            fix = "let it return what is to be read: the spikes or currents of its last layer"
            raise UnsupportedModel(Problem("forward returns no tensor", forward_of(self.module), fix=fix))

    def _check_chance(self, first: Recording) -> None:
        """What it does not draw with torch is the same whatever state the generators are in."""
        if not self.draws:
            return
        given, numbers = self.inputs(3, "example"), frozenset(range(len(first.trace.shapes)))
        one, other = (self.record(given, numbers, chance=chance) for chance in (0, 1))
        if not _alike(one.returned, other.returned) or not _alike(one.watched, other.watched):
            what = "forward draws random numbers with Python's random or with NumPy, and computes with them"
            raise UnsupportedModel(self._problem(what, _first_other(first, one, other), _FIX_DRAWN))

    def _check_unrecorded(self, first: Recording) -> None:
        """It does the same when nobody records it; a hard-coded cast is made in float64 while somebody does."""
        if first.casts:
            self.note_casts(first)
            return
        self.again()
        given = {
            name: [x.clone() for x in tensors] for name, tensors in self.arranged(self.inputs(3, "example")).items()
        }
        what, place = "it gives something else while it is recorded than it gives alone", ""

        def alone() -> list[Any]:
            steps = 0 if self.layout == "loop" else self.timesteps
            with torch.random.fork_rng(devices=[]), self._watching():
                torch.manual_seed(0)
                return flat([in_time(self.module(*step), steps) for step in zip(*given.values())])

        try:
            found = alone()
        except Exception as error:
            found, place = [], raised_at(error, self.module)
        if _alike(first.returned, found):
            return
        if found:
            self.again()
            if not _alike(found, alone()):
                raise UnsupportedModel(Problem(_WHATEVER_SEED, forward_of(self.module), fix=_FIX_DRAWN))
        raise NotTheSame(Problem(what, place or forward_of(self.module), fix=FIX_FAULT))

    def note_casts(self, first: Recording) -> None:
        """Say how far the module in float32, as it is written, is from what is compiled, beyond rounding."""
        given = {
            name: [_single(x) for x in tensors] for name, tensors in self.arranged(self.inputs(3, "example")).items()
        }
        steps = 0 if self.layout == "loop" else self.timesteps
        try:
            torch.set_default_dtype(torch.float32)
            self.again()
            for module in self.module.modules():
                for name, buffer in module._buffers.items():
                    module._buffers[name] = None if buffer is None else _single(buffer)
            for parameter in self.module.parameters():
                parameter.data = _single(parameter.data)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                alone = flat([in_time(self.module(*step), steps) for step in zip(*given.values())])
        except Exception:
            return  # it does not run in float32: there is nothing to compare
        finally:
            torch.set_default_dtype(torch.float64)
            self.again()
        recorded = flat(first.returned)
        if len(alone) != len(recorded) or any(a.shape != b.shape for a, b in zip(alone, recorded)):
            return
        size = max((float(x.abs().max()) for x in recorded if x.numel()), default=0.0)
        worst = max(
            (float((a.double() - b.double()).abs().max()) for a, b in zip(alone, recorded) if a.numel()), default=0
        )
        if worst > _ROUNDING * size:
            self.notes.append(
                f"{', '.join(first.casts)}: what forward casts to float32 is computed in float64; in float32 its "
                f"output is another by up to {worst / max(size, worst):.2g} of the largest, on the example"
            )

    def _check_repeats(self, first: Recording) -> None:
        """The same inputs give the same again, from fresh state, and samples do not hear each other."""
        second = self.record(self._one_changed())
        if not all(same_bits(a, b) for name, drawn in first.drawn.items() for a, b in zip(drawn, second.drawn[name])):
            what = "what it draws depends on its input, with the same seed"
            raise UnsupportedModel(Problem(what, forward_of(self.module), fix=FIX_CHANCE))
        axis = {"TN": 1, "fold": None}.get(self.layout, 0)
        for a, b in zip(flat(first.returned), flat(second.returned), strict=False):
            if a.shape != b.shape:
                what = "how large its output is depends on the values of its input"
                raise UnsupportedModel(Problem(what, forward_of(self.module), fix="decide on shapes and settings only"))
            if not _others_equal(a, b, axis, self.timesteps):
                self._check_again(first)
                what = "what it gives for a sample depends on the other samples of the batch"
                raise UnsupportedModel(self._problem(what, self._where_mixed(first), _FIX_BATCH))

    def _check_again(self, first: Recording) -> None:
        """The same samples give the same again, to the last number on the way: nothing is drawn that no seed tells."""
        given, numbers = self.inputs(3, "example"), frozenset(range(len(first.trace.shapes)))
        one, other = self.record(given, numbers), self.record(given, numbers)
        changed = _first_other(first, one, other)
        if changed is not None or not _alike(one.returned, other.returned):
            raise UnsupportedModel(self._problem(_WHATEVER_SEED, changed, _FIX_DRAWN))

    def _check_draws(self, first: Recording) -> None:
        """Random numbers are drawn once for a sample, or once a step."""
        problems = []
        for name, numbers in first.trace.random.items():
            if len(numbers) not in (1, self.timesteps):
                what = f"it draws random numbers {len(numbers)} times"
                problems.append(Problem(what, first.trace.drawn_at[name], "", f"1 or {self.timesteps}",
                                        "draw them once for all steps, or once a step"))  # fmt: skip
        if problems:
            raise UnsupportedModel(problems)

    def _check_forgets(self, first: Recording) -> None:
        """A second call, after the states of neurons were cleared, gives the same as the first."""
        given = self.inputs(3, "example")
        forget(self.module)
        second = self.record(given, fresh=False)
        if first.trace.random:
            return
        if _alike(first.returned, second.returned):
            return
        numbers = frozenset(range(len(first.trace.shapes)))
        one = self.record(given, numbers)
        forget(self.module)
        changed = _first_other(first, one, self.record(given, numbers, fresh=False))
        what = "it does not start anew: the same input gives something else at a second call"
        fix = (
            "clear its state at the start of forward, or in a method reset() or reset_mem(); "
            "draw random numbers with torch"
        )
        raise UnsupportedModel(self._problem(what, changed, fix))

    def _problem(self, what: str, call: Call | None, fix: str) -> Problem:
        """What is wrong with a call, or with all of forward."""
        if call is None or not (call.module or call.line):
            return Problem(what, forward_of(self.module), fix=fix)
        return problem_at(what, call.module, call.line, fix, kinds_of(self.module))

    def _one_changed(self) -> dict[str, Array]:
        """Three samples of the example, of which the first is another."""
        changed, other = self.inputs(3, "example"), self.inputs(3, "fresh")
        for name, x in changed.items():
            x[0] = other[name][0]
        return changed

    def _where_mixed(self, first: Recording) -> Call | None:
        """The call that first mixes samples."""
        numbers = frozenset(
            call.out for call in first.trace.calls if 3 in call.shape and call.out not in first.trace.constants
        )
        a = self.record(self.inputs(3, "example"), numbers).watched
        b = self.record(self._one_changed(), numbers).watched
        for call in first.trace.calls:
            x, y = a.get(call.out), b.get(call.out)
            if x is None or y is None:
                continue
            axes = [k for k, n in enumerate(x.shape) if n == 3]
            if axes and not any(torch.equal(x.narrow(k, 1, 2), y.narrow(k, 1, 2)) for k in axes):
                return call
        return None


def _single(x: torch.Tensor) -> torch.Tensor:
    return x.float() if x.is_floating_point() else x.clone()


def flat(returned: Any) -> list[torch.Tensor]:
    """The tensors that forward returned."""
    return [x for one in returned for x in tensors_of(one)]


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in lists and dictionaries, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)


def _others_equal(a: torch.Tensor, b: torch.Tensor, axis: int | None, timesteps: int) -> bool:
    """Whether all samples but the first are the same: along whichever axis holds the batch."""
    axes = [k for k, n in enumerate(a.shape) if n in (3, 3 * timesteps)]
    if not axes:
        return True
    for k in axes:
        x, y = a.movedim(k, 0), b.movedim(k, 0)
        if len(x) != 3:
            x, y = (v.reshape(timesteps, 3, *v.shape[1:]).movedim(1, 0) for v in (x, y))
        if same_bits(x[1:], y[1:]):
            return True
    return False


def _first_other(first: Recording, some: Recording, others: Recording) -> Call | None:
    """The first call that gave something else in the second of two runs, all of whose tensors were watched."""
    for call in sorted(first.trace.calls, key=lambda call: call.out):
        x, y = some.watched.get(call.out), others.watched.get(call.out)
        if x is not None and (y is None or not same_bits(x, y)):
            return call
    return None


def _alike(some: Any, others: Any) -> bool:
    """Whether two runs gave the same, to the bit."""
    one, other = flat([some]), flat([others])
    return len(one) == len(other) and all(map(same_bits, one, other))
