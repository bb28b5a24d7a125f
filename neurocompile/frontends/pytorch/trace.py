"""What a module did, as a list of operations: made by recording (:mod:`.record`), kept in model files, run by torch."""

# mypy: disable-error-code="arg-type,assignment,attr-defined,no-any-return,type-var"
from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from neurocompile.frontends.pytorch.vocabulary import OPERATIONS
from neurocompile.printable import first_line

__all__ = [
    "Batch",
    "Call",
    "CallFailed",
    "Ref",
    "Trace",
    "generalized",
    "references",
    "replaced",
    "same_bits",
    "settled",
]


@dataclass(frozen=True, slots=True)
class Ref:
    """A value of the trace, by its number."""

    number: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A size that is ``factor`` times the batch."""

    factor: int


@dataclass(frozen=True)
class Call:
    """One operation: ``out = operation(*args)``.

    ``args`` are numbers, names, lists of these, :class:`Ref` and :class:`Batch`. ``module`` is the path of the module
    in whose forward it ran, ``line`` the user's ``file:line``, ``site`` a key for all lines on the way, ``turn`` how
    often that had computed the same operation before, of ``turns`` times in all. ``leaf`` is what an operation "leaf"
    (a module that is one whole) or "host" (a function that no chip computes) stands for.
    """

    operation: str
    args: tuple[Any, ...]
    out: int
    shape: tuple[int, ...]
    module: str = ""
    line: str = ""
    site: str = ""
    leaf: str = ""
    turn: int = 0
    turns: int = 1


class CallFailed(Exception):
    """An operation of a trace that torch cannot run with what it was given."""

    def __init__(self, call: Call, error: Exception) -> None:
        self.call = call
        super().__init__(f"{call.operation}: {first_line(error)}")


def references(args: Any) -> Iterator[int]:
    """The numbers of all values among arguments."""
    if isinstance(args, Ref):
        yield args.number
    elif isinstance(args, list | tuple):
        for item in args:
            yield from references(item)
    elif isinstance(args, dict):
        for item in args.values():
            yield from references(item)


def replaced(args: Any, swap: Callable[[Any], Any]) -> Any:
    """The same nested arguments, with :class:`Ref` and :class:`Batch` swapped for something else."""
    if isinstance(args, Ref | Batch):
        return swap(args)
    if isinstance(args, list):
        return [replaced(item, swap) for item in args]
    if isinstance(args, tuple):
        return tuple(replaced(item, swap) for item in args)
    if isinstance(args, dict):
        return {key: replaced(item, swap) for key, item in args.items()}
    return args


@dataclass
class Trace:
    """A recorded forward.

    ``inputs[name]`` are the values that are given: one, or one a step where forward is called for each step
    (``stepped``). ``constants`` are weights and whatever was computed from weights alone. ``outputs`` is what forward
    returned (of every step, where stepped), with a Ref for each tensor. ``leaves`` are called whole: a function of
    tensors, by the name that calls have for it. ``batch`` is the size that was recorded; ``fixed`` says that the trace
    holds for no other. ``random`` names the inputs that stand for random numbers, ``drawn_at`` the user's lines that
    draw them. ``remembers`` are the paths of modules in which something is left that depends on the input (None: not
    known).
    """

    inputs: dict[str, list[int]]
    calls: list[Call]
    outputs: Any
    constants: dict[int, torch.Tensor] = field(default_factory=dict)
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    leaves: dict[str, Callable[..., Any]] = field(default_factory=dict)
    batch: int = 1
    fixed: bool = False
    random: dict[str, list[int]] = field(default_factory=dict)
    modules: dict[str, Any] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    random_batch: dict[str, int] = field(default_factory=dict)
    drawn_at: dict[str, str] = field(default_factory=dict)
    remembers: frozenset[str] | None = None

    @torch.no_grad()
    def run(
        self, inputs: Mapping[str, Sequence[torch.Tensor]], batch: int, watch: Collection[int] = ()
    ) -> tuple[Any, dict[int, torch.Tensor]]:
        """Run the operations by torch: what forward returns, and the values that are watched.

        Args:
            inputs: a tensor for each value of ``inputs`` and ``random``.
            batch: of these tensors.
            watch: numbers of values to keep.

        Raises:
            CallFailed: if torch cannot run one of them.
        """
        values: dict[int, torch.Tensor] = dict(self.constants)
        for name, numbers in {**self.inputs, **self.random}.items():
            values.update(zip(numbers, inputs[name], strict=True))
        kept = set(watch) | set(references(self.outputs)) | set(self.constants)
        last = {number: at for at, call in enumerate(self.calls) for number in references(call.args)}

        def value(part: Any) -> Any:
            return values[part.number] if isinstance(part, Ref) else part.factor * batch

        for leaf in self.leaves.values():
            reset = getattr(leaf, "reset_state", None)
            if reset is not None:
                reset()
        for at, call in enumerate(self.calls):
            args = replaced(call.args, value)
            run = self.leaves[call.leaf] if call.leaf else OPERATIONS[call.operation].run
            try:
                values[call.out] = run(*args[0], **args[1]) if call.leaf else run(*args)
            except Exception as error:
                raise CallFailed(call, error) from error
            for number in set(references(call.args)):
                if last[number] == at and number not in kept:
                    del values[number]
            if call.out not in last and call.out not in kept:
                del values[call.out]
        watched = {number: values[number] for number in watch}
        return replaced(self.outputs, value), watched

    def without_unread(self, watch: Collection[int] = ()) -> Trace:
        """The same trace without operations whose result nothing reads."""
        needed = set(references(self.outputs)) | set(watch)
        calls = []
        for call in reversed(self.calls):
            if call.out in needed or call.operation == "leaf":
                needed |= set(references(call.args))
                calls.append(call)
        constants = {number: tensor for number, tensor in self.constants.items() if number in needed}
        return replace(self, calls=calls[::-1], constants=constants)


def generalized(first: Trace, second: Trace) -> Trace | None:
    """One trace of two recordings of other batch sizes, which holds for any; None if they differ otherwise.

    A value that was computed from constants alone becomes one where it is the same in both.
    """
    if len(first.calls) != len(second.calls) or first.inputs != second.inputs:
        return None
    small, large = first.batch, second.batch

    def merged(a: Any, b: Any) -> Any:
        if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
            return type(a)([merged(x, y) for x, y in zip(a, b)])
        if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
            return {key: merged(a[key], b[key]) for key in a}
        if type(a) is type(b) and (a == b or a != a):
            return a
        if type(a) is int and type(b) is int and small != large:
            factor, rest = divmod(b - a, large - small)
            if rest == 0 and factor > 0 and a == factor * small:
                return Batch(factor)
        raise ValueError("they differ")

    if first.random != second.random:
        return None
    random_batch = {}
    for name, numbers in first.random.items():
        a, b = first.shapes[numbers[0]], second.shapes[numbers[0]]
        changed = [k for k, (x, y) in enumerate(zip(a, b)) if x != y]
        if len(a) != len(b) or len(changed) != 1:
            return None
        random_batch[name] = changed[0]
    constants = {
        number: tensor
        for number, tensor in first.constants.items()
        if number in second.constants
        and tensor.shape == second.constants[number].shape
        and same_bits(tensor, second.constants[number])
    }
    made = {call.out for call in first.calls}
    if any(number not in constants and number not in made for number in first.constants):
        return None
    calls = []
    try:
        for a, b in zip(first.calls, second.calls):
            same = (a.operation, a.out, a.leaf, len(a.shape)) == (b.operation, b.out, b.leaf, len(b.shape))
            if not same:
                return None
            if a.out not in constants:
                if a.operation == "constant":
                    return None
                calls.append(replace(a, args=merged(a.args, b.args)))
        outputs = merged(first.outputs, second.outputs)
    except ValueError:
        return None
    made = replace(first, calls=calls, constants=constants, outputs=outputs, random_batch=random_batch)
    return made.without_unread()


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors hold the same numbers; NaN is the same as NaN."""
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


def settled(recording: Trace) -> Trace:
    """A recording alone, which holds for its batch only: whatever came of constants is one."""
    calls = [call for call in recording.calls if call.out not in recording.constants]
    return replace(recording, calls=calls, fixed=True).without_unread()
