"""What a host computes, as ONNX: exported by torch, and held against the call itself."""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

import contextlib
import functools
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from neurocompile.errors import NeurocompileError, Problem, ToolFailed, UnsupportedModel
from neurocompile.extras import require
from neurocompile.hosted.session import HostSession
from neurocompile.ir.host import HostRegion
from neurocompile.ir.ops import Array
from neurocompile.printable import first_line

__all__ = ["Held", "TensorsForNumbers", "exported", "filled", "macs", "moved", "with_places"]


@dataclass(frozen=True)
class Held:
    """Where a tensor stands among the arguments of a call."""

    number: int


def with_places(args: Any, numbers: Any, kind: type) -> Any:
    """Arguments with a place for each value of the network."""
    if isinstance(args, kind):
        return Held(next(numbers))
    if isinstance(args, tuple | list):
        return type(args)(with_places(item, numbers, kind) for item in args)
    if isinstance(args, dict):
        return {key: with_places(item, numbers, kind) for key, item in args.items()}
    return args


def filled(args: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """Arguments with a tensor in each place."""
    if isinstance(args, Held):
        return tensors[args.number]
    if isinstance(args, tuple | list):
        return type(args)(filled(item, tensors) for item in args)
    if isinstance(args, dict):
        return {key: filled(item, tensors) for key, item in args.items()}
    return args


def moved(args: Any) -> Any:
    """Arguments with tensors in float32."""
    if isinstance(args, torch.Tensor):
        return args.float() if args.is_floating_point() else args
    if isinstance(args, tuple | list):
        return type(args)(map(moved, args))
    if isinstance(args, dict):
        return {key: moved(item) for key, item in args.items()}
    return args


def macs(call: Any, examples: Sequence[torch.Tensor]) -> int:
    """Multiplications with additions of a sample, those of matrices and convolutions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(*examples)
    return int(counter.get_total_flops() // 2 // len(examples[0]))


class TensorsForNumbers(TorchFunctionMode):
    """Numbers in arithmetic are tensors of the precision of what they meet: torch.onnx would write them as float32.

    ``grids`` has the tensors that were made of numbers alone, by what made them: torch.onnx is given their values.
    """

    def __init__(self, grids: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._grids = grids

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for every function of a tensor, and for those that make one."""
        kwargs = kwargs or {}
        given = (*args, *kwargs.values())
        if not any(isinstance(x, float) and float(np.float32(x)) != x for x in given):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "").strip("_")
        if name in _GRIDS:
            key = f"{name} {args} {kwargs}"
            if not _is_exporting():
                self._grids[key] = func(*args, **kwargs)
            known = self._grids.get(key)
            return func(*args, **kwargs) if known is None else torch.tensor(known.tolist(), dtype=known.dtype)
        if name in _FULL:
            values = [1.0 if isinstance(x, float) else x for x in args]
            ones = func(*values, **{key: 1.0 if key == "fill_value" else x for key, x in kwargs.items()})
            (number,) = (x for x in given if isinstance(x, float))
            return ones * torch.tensor(number, dtype=ones.dtype)
        kind = next((x.dtype for x in given if isinstance(x, torch.Tensor) and x.is_floating_point()), None)
        if name not in _TAKES_TENSORS or kind is None:
            return func(*args, **kwargs)

        def tensor(x: Any) -> Any:
            return torch.tensor(x, dtype=kind) if type(x) in (int, float) else x

        return func(*map(tensor, args), **{key: x if key == "alpha" else tensor(x) for key, x in kwargs.items()})


def _is_exporting() -> bool:
    """Whether torch traces for an export; torch 2.6 only says whether it traces for an export or a compilation."""
    return bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())


_TAKES_TENSORS = frozenset({
    "add", "radd", "sub", "rsub", "mul", "rmul", "div", "rdiv", "truediv", "rtruediv", "true_divide", "pow", "rpow",
    "remainder", "fmod", "mod", "clamp", "clip", "clamp_min", "clamp_max", "where", "masked_fill", "gt", "ge", "lt",
    "le", "eq", "ne",
})  # fmt: skip
_FULL = ("full", "full_like", "new_full")
_GRIDS = ("linspace", "arange")


def exported(where: str, region: HostRegion, call: Any, examples: Sequence[torch.Tensor]) -> HostRegion:
    """A region with its ONNX, in float64 if ONNX Runtime has all of it.

    Raises:
        UnsupportedModel: if it is no function of each sample alone, or cannot be exported.
        ToolFailed: if what exports or runs it is not installed.
    """
    require("host", where)
    trials = _trials(call, examples)
    if not all(_same_again(call, trial) for trial in trials):
        fix = "a host region keeps no state, changes nothing that it reads, and draws no random numbers: make these an "
        what = f"{region.kind} gives other numbers when it is called again"
        raise UnsupportedModel(Problem(what, where, fix=fix + "input of the network"))
    if not all(_samples_apart(call, trial) for trial in trials):
        what = f"what {region.kind} gives for a sample depends on the others"
        fix = "a host region treats every sample alike: check which axis it works along"
        raise UnsupportedModel(Problem(what, where, fix=fix))
    problem = ""
    for precision in ("float64", "float32"):
        made = replace(region, precision=precision)
        try:
            moved = call if precision == "float64" else call.in_float32()
            made = replace(made, model=_onnx(moved, [x.to(moved.kind) for x in examples]))
            for trial in trials:
                _check(made, moved, trial)
            return made
        except ToolFailed:
            raise
        except NeurocompileError as error:
            problem = problem or error.problems[0].what
        except Exception as error:
            problem = problem or f"torch.onnx cannot export it: {first_line(error.__cause__ or error)}"
    what, fix = f"{region.kind} would be a host region, and {problem}", "write it otherwise"
    raise UnsupportedModel(Problem(what, where, fix=fix))


@torch.no_grad()
def _trials(call: Any, examples: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """What a call is held to: twice as many samples as in the examples, and, if it takes them, random numbers."""
    numbers = torch.Generator().manual_seed(0)
    found = [[torch.cat((x, x)) for x in examples]]
    for low, high in ((-1.0, 1.0), (0.0, 1.0)):
        drawn = [low + (high - low) * torch.rand(x.shape, generator=numbers, dtype=torch.float64) for x in found[0]]
        whole = [torch.rand(x.shape, generator=numbers, dtype=torch.float64) < 0.5 for x in found[0]]
        trial = [b.double() if is_whole else a for a, b, is_whole in zip(drawn, whole, call.whole)]
        try:
            if torch.isfinite(call(*trial)).all():
                return [*found, trial]
        except Exception:
            continue  # it takes indices, say
    return found


@torch.no_grad()
def _same_again(call: Any, trial: Sequence[torch.Tensor]) -> bool:
    return bool(_near(call(*trial).numpy(), call(*trial).numpy(), 0.0).all())


@torch.no_grad()
def _samples_apart(call: Any, trial: Sequence[torch.Tensor]) -> bool:
    """Whether a call gives the first samples what it gives them among others."""
    few = len(trial[0]) // 2
    return bool(_near(call(*(x[:few] for x in trial)).numpy(), call(*trial)[:few].numpy(), 1e-9).all())


def _onnx(call: Any, examples: Sequence[torch.Tensor]) -> bytes:
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        nowhere = io.StringIO()  # onnxscript 0.6 prints what it did
        silent = contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere)
        with warnings.catch_warnings(), silent[0], silent[1], torch.no_grad(), _library_kept():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                call.eval(),
                tuple(examples),
                dynamo=True,
                verbose=False,
                dynamic_shapes=(tuple({0: torch.export.Dim.DYNAMIC} for _ in examples),),
                input_names=[f"x{k}" for k in range(len(examples))],
                output_names=["y"],
            )
    finally:
        logging.disable(before)
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # where the source lay on the machine that exported it
        node.doc_string = None
    return program.model_proto.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _library_kept() -> Iterator[None]:
    """torch.onnx reads its whole library anew for each export, which takes most of the time: once is enough."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        before, kept = vars(ONNXRegistry)["from_torchlib"], _library(ONNXRegistry.from_torchlib)
    except (ImportError, KeyError):  # a version of torch that keeps it elsewhere: it works, only more slowly
        yield
        return
    ONNXRegistry.from_torchlib = staticmethod(kept)  # type: ignore[method-assign]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = before  # type: ignore[method-assign]


@functools.cache
def _library(read: Any) -> Any:
    return functools.cache(read)


def _check(region: HostRegion, call: Any, inputs: Sequence[torch.Tensor]) -> None:
    """Hold the ONNX against torch, on these samples and on one alone."""
    with torch.no_grad():
        expected = call(*(x.to(call.kind) for x in inputs)).double().numpy()
    once = replace(region, per_step=False, timed=region.timed and not region.per_step)
    session = HostSession(once, call.steps)
    exact = region.precision == "float64"
    for part in (slice(None), slice(0, 1)):
        found = session([x[part].double().numpy() for x in inputs])
        near = _near(found, expected[part], 1e-9 if exact else 1e-4)
        # Where it decides on a number, another rounding decides otherwise now and then.
        if near.mean() < (1.0 if exact or region.carries == "real" else 0.999):
            raise RuntimeError("its ONNX computes something else")


def _near(a: Array, b: Array, tolerance: float) -> Array:
    size = np.abs(b[np.isfinite(b)]).max(initial=1.0)
    return np.isclose(a, b, 0, tolerance * size, equal_nan=True)
