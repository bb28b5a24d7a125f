"""A network of another library, run live in float64 and as a program, and the two compared spike for spike."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import neurocompile

torch.set_num_threads(1)

EXAMPLES, FRESH = 3, 5
TOLERANCE = 1e-9
LOW, HIGH = 0.02, 0.80  # of steps a layer fires in
GAINS = (2.0, 1.0, 3.0, 4.5, 7.0, 10.0, 15.0, 22.0, 33.0, 0.5)
DRAWS = 8
LAYERS = (nn.Linear, nn.Conv2d)


@dataclass(frozen=True)
class Case:
    """How to make a network, what it takes, and which of its modules fire.

    ``unread`` are modules whose spikes nothing reads: no program has them.
    """

    name: str
    make: Callable[[], nn.Module]
    spiking: tuple[type[nn.Module], ...]
    layout: str = "TN"
    steps: int = 6
    shape: tuple[int, ...] = (8,)
    readout: str | None = "sequence"
    unread: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        return zlib.crc32(self.name.encode())

    def inputs(self, batch: int) -> np.ndarray:
        """``[N, T, ...]``, or ``[N, ...]`` for a network that makes the steps itself; fresh for each size of batch."""
        generator = torch.Generator().manual_seed(self.seed + batch)
        over_time = not (self.layout == "N" or (self.layout == "loop" and batch == EXAMPLES))
        time = (self.steps,) if over_time else ()
        return torch.rand(batch, *time, *self.shape, generator=generator).numpy()

    def model(self) -> nn.Module:
        """The network with the first weights, and their gain, with which every layer fires now and then."""
        for draw, gain in product(range(DRAWS), GAINS):
            torch.manual_seed(self.seed + draw)
            model = self.make().eval()
            with torch.no_grad():
                for path, module in model.named_modules():
                    if isinstance(module, LAYERS) and not path.endswith("recurrent"):
                        module.weight.mul_(gain)
                    elif isinstance(getattr(module, "input_weights", None), nn.Parameter):
                        module.input_weights.mul_(gain)
            rates = [r for n in (EXAMPLES, FRESH) for r in live(self, model, self.inputs(n)).rates.values()]
            if all(2 * LOW <= rate <= HIGH - LOW for rate in rates):
                return model
        raise AssertionError(f"{self.name}: no weights make every layer fire between {LOW:.0%} and {HIGH:.0%}")


@dataclass
class Live:
    """What the modules did: outputs ``[N, ...]`` or ``[N, T, ...]`` in order, spikes ``[N, T, ...]`` by path."""

    outputs: list[np.ndarray]
    spikes: dict[str, np.ndarray]

    @property
    def rates(self) -> dict[str, float]:
        return {path: float(fired.mean()) for path, fired in self.spikes.items()}


class Float64(TorchFunctionMode):
    """Casts to float32 that a library has written down are casts to float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.float:
            return args[0].double()
        if kwargs.get("dtype") is torch.float32:
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def clear(model: nn.Module) -> None:
    """Forget what neurons keep in themselves between calls."""
    for module in model.modules():
        if hasattr(module, "reset_mem"):
            module.reset_mem()


def live(case: Case, model: nn.Module, x: np.ndarray) -> Live:
    """Run a copy of the model in float64, listening to the modules that fire."""
    grown = {id(buffer): buffer.detach().clone() for buffer in model.buffers() if not buffer.is_leaf}
    model = copy.deepcopy(model, grown).double().eval()
    clear(model)
    fired: dict[str, list[Tensor]] = {}

    def listen(path: str) -> Callable[..., None]:
        return lambda module, args, out: fired.setdefault(path, []).append(
            (out[0] if isinstance(out, tuple) else out).clone()
        )

    for path, module in model.named_modules():
        if isinstance(module, case.spiking):
            module.register_forward_hook(listen(path))
    given = torch.from_numpy(x).double()
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # of what forward itself makes
    try:
        with torch.no_grad(), Float64():
            returned = _run(case, model, given)
    finally:
        torch.set_default_dtype(default)
    outputs = []
    for value in returned:
        value = value.transpose(0, 1) if value.shape[:2] == (case.steps, len(x)) else value
        if case.readout != "sequence" and value.shape[:2] == (len(x), case.steps):
            value = value.mean(1)
        outputs.append(value.numpy())
    spikes = {}
    for path, calls in fired.items():
        sequence = calls[0] if len(calls) == 1 else torch.stack(calls)
        assert sequence.shape[:2] == (case.steps, len(x)), (path, sequence.shape)
        spikes[path] = (sequence != 0).transpose(0, 1).numpy().astype(np.int8)
    return Live(outputs, spikes)


def _run(case: Case, model: nn.Module, x: Tensor) -> Sequence[Tensor]:
    """What forward returns, as a tuple; the steps of a loop are stacked."""
    if case.layout == "loop":
        still = x.dim() == len(case.shape) + 1
        steps = [_tuple(model(x if still else x[:, t])) for t in range(case.steps)]
        return [torch.stack(values) for values in zip(*steps)]
    return _tuple(model(x.transpose(0, 1) if case.layout == "TN" else x))


def _tuple(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def compiled(case: Case, model: nn.Module, folder: Path) -> Any:
    """The program, saved with the example batch."""
    x = torch.from_numpy(case.inputs(EXAMPLES))
    options: dict[str, Any] = {"timesteps": case.steps} if case.layout in ("N", "loop") else {}
    if case.readout is not None:
        options["readout"] = case.readout
    clear(model)
    path = folder / "model.pt"
    neurocompile.save(model, path, x.transpose(0, 1) if case.layout == "TN" else x, layout=case.layout, **options)
    return neurocompile.compile(path)


@dataclass
class Tally:
    """What was compared; ``error`` is the largest of an output relative to its largest value."""

    spikes: int = 0
    differing: int = 0
    outputs: int = 0
    error: float = 0.0
    missing: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.spikes and self.outputs) and not (self.differing or self.missing) and self.error <= TOLERANCE


def compare(case: Case, model: nn.Module, folder: Path) -> Tally:
    """The program beside the live modules, on the example batch and on fresh inputs in another size of batch."""
    tally = Tally()
    expected = {batch: live(case, model, case.inputs(batch)) for batch in (EXAMPLES, FRESH)}
    program = compiled(case, model, folder)
    for batch, wanted in expected.items():
        result = neurocompile.simulate(program, case.inputs(batch), real=True)
        found = [np.asarray(value) for value in result.outputs.values()]
        assert [f.shape for f in found] == [w.shape for w in wanted.outputs], f"{case.name}: shapes of the outputs"
        for a, b in zip(found, wanted.outputs):
            tally.outputs += b.size
            off = float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-300))
            tally.error = max(tally.error, off if np.isfinite(off) else np.inf)
            if _spikes(case, b):
                tally.spikes += b.size
                tally.differing += int((np.abs(a - b) > TOLERANCE).sum())
        layers = _layers(result.spikes, wanted.spikes)
        for path, fired in wanted.spikes.items():
            if path in layers:
                tally.spikes += fired.size
                tally.differing += int(((layers[path] != 0) != (fired != 0)).sum())
            elif path not in (*tally.missing, *case.unread):
                tally.missing.append(path)
    return tally


def _spikes(case: Case, value: np.ndarray) -> bool:
    """Whether an output is spikes over time: nothing but 0 and one other value."""
    return value.shape[1:2] == (case.steps,) and value.any() and len(np.unique(value)) == 2 and not value.min()


def _layers(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The program's layers by the live modules' paths: of the same name, or else the same in number and in order."""
    found = {name: np.asarray(value) for name, value in found.items()}
    named = {}
    for path, fired in wanted.items():  # a module that holds layers, too, has its neuron beside them
        name = next((n for n in (path, f"{path}.neuron") if n in found and found[n].shape == fired.shape), None)
        if name is not None:
            named[path] = found[name]
    if len(named) < len(wanted) and [v.shape for v in found.values()] == [w.shape for w in wanted.values()]:
        return dict(zip(wanted, found.values()))
    return named
