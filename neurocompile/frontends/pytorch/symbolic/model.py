"""A torch model as the compiler holds it: traced, in float64, with its layout; and what runs it for reference."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import neuron
from torch import fx, nn

from neurocompile.errors import BadInput, Problem, UnsupportedModel
from neurocompile.frontends.base import Carries, Layout
from neurocompile.frontends.pytorch.axes import Axes, axes_of, from_layout, to_layout
from neurocompile.frontends.pytorch.layouts import arranged_shape, in_order, likely_layouts
from neurocompile.frontends.pytorch.symbolic.lower import lower, unsupported_modules
from neurocompile.frontends.pytorch.symbolic.lowering import HostCall
from neurocompile.frontends.pytorch.symbolic.neurons import NEURONS, is_membrane, is_registered, layout_of
from neurocompile.frontends.pytorch.symbolic.trace import check_module, prepare, trace_module
from neurocompile.ir.graph import Graph
from neurocompile.ir.interpret import read_out
from neurocompile.ir.ops import Array, Output, Read
from neurocompile.ir.trace import Trace
from neurocompile.vocabulary.versions import classes

__all__ = ["Listening", "SymbolicModel"]


@dataclass
class SymbolicModel:
    """A model that was traced, ready to be lowered and to be run as the reference.

    ``layout`` says how forward takes time and batch: [T, N, ...], [N, T, ...], [N, ..., T], [N, C, T, ...], folded into
    the batch (time outermost), one step a call, or [N, ...] where forward itself makes the steps. ``example`` holds a
    few samples ``[n, ...]`` or ``[n, T, ...]`` for each argument, if any were given; ``recording`` stands for the
    reference where a neuron class of the user's was registered and the model was loaded from a file.
    """

    traced: fx.GraphModule
    layout: Layout
    timesteps: int
    input_shapes: dict[str, tuple[int, ...]]
    read: Read | None = None
    carries: Carries = "real"
    example: dict[str, Array] = field(default_factory=dict)
    recording: Trace | None = None

    def __post_init__(self) -> None:
        batch = 3 if self.timesteps != 3 else 2
        probe = {
            name: torch.full(arranged_shape(shape, self.layout, batch, self.timesteps), 0.5, dtype=torch.float64)
            for name, shape in self.input_shapes.items()
        }
        axes = {name: axes_of(len(shape), self.layout) for name, shape in self.input_shapes.items()}
        self.graph: Graph
        self._output_axes: tuple[Axes, ...]
        self.host_calls: dict[str, HostCall]
        self.graph, self._output_axes, self.host_calls = lower(
            self.traced,
            probe,
            axes,
            self.timesteps,
            loop=self.layout == "loop",
            read=self.read,
            carries=self.carries,
        )

    @staticmethod
    def from_module(
        module: nn.Module,
        input_shapes: Mapping[str, tuple[int, ...]] | tuple[int, ...],
        timesteps: int,
        layout: Layout | None = None,
        read: Read | None = None,
        carries: Carries = "real",
        example: Mapping[str, Array] | None = None,
        whole: Collection[str] = (),
    ) -> SymbolicModel:
        """Trace and lower a live module, which stays as it is.

        Args:
            module: in eval mode.
            input_shapes: without batch and time, one for each argument of forward, or one for a single argument.
            timesteps: T.
            layout: how forward takes time and batch; None: found out.
            read: how an output that still has time is read; None: its mean.
            carries: "spikes" if the input is 0 or 1.
            example: a few samples for each argument.
            whole: the arguments that are whole numbers, and are given as such where forward cannot run otherwise.

        Raises:
            UnsupportedModel: with everything that cannot be lowered.
            BadInput: if the model cannot run on such an input, or its weights are not finite.
        """
        check_module(module)
        prepared = prepare(module)
        if isinstance(input_shapes, Mapping):
            input_shapes = in_order(module, input_shapes)
        guesses: tuple[Layout, ...] = (layout,) if layout else likely_layouts(prepared)
        shapes = input_shapes if isinstance(input_shapes, Mapping) else {"": input_shapes}
        first_error: BadInput | UnsupportedModel | None = None
        for guess, as_whole in product(guesses, ((), whole) if whole else ((),)):
            try:
                inputs = tuple(
                    torch.full(
                        arranged_shape(shape, guess, 2 + (timesteps == 2), timesteps),
                        0 if name in as_whole else 0.5,
                        dtype=torch.int64 if name in as_whole else torch.float64,
                    )
                    for name, shape in shapes.items()
                )
                traced = trace_module(prepared, inputs)
                names = [str(node.target) for node in traced.graph.nodes if node.op == "placeholder"]
                named = dict(zip(names, shapes.values(), strict=True))
                return SymbolicModel(traced, guess, timesteps, named, read, carries, dict(example or {}))
            except (BadInput, UnsupportedModel) as error:
                # What could be traced at last, and cannot be lowered, is the better thing to say.
                traced_at_last = as_whole and isinstance(error, UnsupportedModel)
                first_error = error if first_error is None or traced_at_last else first_error
        assert first_error is not None
        # What cannot run on any input often holds a layer that nothing lowers: that is the better thing to say.
        if isinstance(first_error, BadInput) and (problems := unsupported_modules(prepared)):
            raise UnsupportedModel(problems) from first_error
        raise first_error

    @property
    def registered(self) -> list[str]:
        """The layers whose neuron class the user registered."""
        return [path for path, module in self.traced.named_modules() if is_registered(module)]

    def run(self, inputs: Mapping[str, Array]) -> Trace:
        """Run torch in float64 on ``inputs[name][N, T, ...]``, in any order; states are cleared before."""
        if self.recording is not None:
            raise BadInput(Problem("a model with registered neurons was saved with a recording, which cannot be run"))
        module = prepare(self.traced)
        inputs = {name: inputs[name] for name in self.input_shapes}
        batch = len(next(iter(inputs.values())))
        returns = next(node.args[0] for node in self.traced.graph.nodes if node.op == "output")
        heard = Listening(module)
        with torch.no_grad():
            if self.layout == "loop":
                steps = [
                    _leaves(returns, module(*(torch.from_numpy(x[:, t].astype(np.float64)) for x in inputs.values())))
                    for t in range(self.timesteps)
                ]
                values = [torch.stack(parts, dim=1) for parts in zip(*steps)]
                axes = [("N", "T", *a[1:]) for a in self._output_axes]
            else:
                values = _leaves(returns, module(*(arrange(x, self.layout) for x in inputs.values())))
                axes = list(self._output_axes)
            outputs = {}
            for number, (value, names) in enumerate(zip(values, axes)):
                outputs["output" if number == 0 else f"output.{number + 1}"] = self._read(value, names, batch)
            return Trace(
                outputs=outputs,
                spikes=heard.spikes(self.timesteps),
                margins=heard.margins(self.timesteps),
                thresholds=heard.thresholds,
            )

    def outputs_of(self, returned: Sequence[Any], batch: int) -> dict[str, Array]:
        """What forward returned (at each step, where it is called for each) as outputs of the network."""
        returns = next(node.args[0] for node in self.traced.graph.nodes if node.op == "output")
        steps = [_leaves(returns, value) for value in returned]
        if self.layout == "loop":
            values = [torch.stack(parts, dim=1) for parts in zip(*steps)]
            axes: list[Axes] = [("N", "T", *a[1:]) for a in self._output_axes]
        else:
            values, axes = steps[0], list(self._output_axes)
        named = {"output" if k == 0 else f"output.{k + 1}": (v, a) for k, (v, a) in enumerate(zip(values, axes))}
        return {name: self._read(value.double(), names, batch) for name, (value, names) in named.items()}

    def _read(self, value: Any, axes: Axes, batch: int) -> Array:
        if "TN" in axes:
            value, axes = value.reshape(self.timesteps, batch, *value.shape[1:]), ("T", "N", *axes[1:])
        if "T" not in axes:
            return np.asarray(value.numpy())
        value = value.movedim((axes.index("N"), axes.index("T")), (0, 1))
        return read_out(Output(self.read or "mean"), value.numpy())


def arrange(x: Array, layout: Layout) -> torch.Tensor:
    """``x[N, T, ...]`` as forward takes it."""
    tensor = torch.from_numpy(np.ascontiguousarray(x, np.float64))
    if layout != "N":
        return to_layout(tensor, layout)
    if not bool((tensor == tensor[:, :1]).all()):
        what = "the model repeats one input over time, but the data change over time"
        raise BadInput(Problem(what, fix="give x as [N, ...]"))
    return tensor[:, 0]


def _leaves(structure: Any, value: Any) -> list[torch.Tensor]:
    """The tensors in what forward returned; ``structure`` is the same with torch.fx's nodes in their places."""
    if isinstance(structure, dict):
        return [leaf for key, part in structure.items() for leaf in _leaves(part, value[key])]
    if isinstance(structure, tuple | list):
        return [leaf for part, item in zip(structure, value) for leaf in _leaves(part, item)]
    # A non-spiking node without a decode returns a list of one membrane a step.
    return [torch.stack(value) if isinstance(value, list) else value]


class Listening:
    """Hooks on every neuron of a module: what fired, and how far each membrane was from its threshold.

    ``live``: the module is the user's own. Nothing of it is replaced then, and no margin is told.
    """

    def __init__(self, model: nn.Module, live: bool = False) -> None:
        self._model = model
        self._fired: dict[str, list[torch.Tensor]] = {}
        self._margins: dict[str, list[torch.Tensor]] = {}
        self.thresholds: dict[str, float] = {}
        self._hooks = []
        for path, module in list(model.named_modules()):
            if isinstance(module, _DSRS) and not live:
                module = _DSR(module)
                model.set_submodule(path, module)
            if isinstance(module, (*NEURONS, *_DSRS, _DSR)) or (is_registered(module) and not is_membrane(module)):
                self._hooks.append(module.register_forward_hook(self._hear(path, live)))
                if hasattr(module, "surrogate_function") and not live:
                    module.surrogate_function = _Recorder(module.surrogate_function, self._margins.setdefault(path, []))
                    threshold = torch.as_tensor(getattr(module, "v_threshold", 1.0))
                    self.thresholds[path] = float(threshold.abs().min())

    def stop(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()

    def _hear(self, path: str, live: bool) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            self._fired.setdefault(path, []).append(torch.sign(output.detach()))
            # A class of a user's may make float32 of whatever it is given.
            return output.to(args[0].dtype) if is_registered(module) and not live else None

        return hook

    def spikes(self, timesteps: int) -> dict[str, Array]:
        """``[N, T, ...]``, whether a layer ran once over all steps or once a step."""
        found = {}
        for path, parts in self._fired.items():
            layout = layout_of(self._model.get_submodule(path))
            if layout is not None:
                spikes = torch.stack(parts, 1) if layout == "loop" else from_layout(parts[0], layout, timesteps)
                found[path] = spikes.numpy().astype(np.int8)
                continue
            seq = parts[0] if len(parts) == 1 and len(parts[0]) == timesteps and timesteps > 1 else torch.stack(parts)
            if len(parts) == 1 and timesteps == 1 and _takes_time(self._model.get_submodule(path)):
                seq = parts[0]
            found[path] = seq.transpose(0, 1).numpy().astype(np.int8)
        return found

    def margins(self, timesteps: int) -> dict[str, Array]:
        """``[N, T, ...]`` of the layers that gave their surrogate function one margin a step."""
        told = {path: parts for path, parts in self._margins.items() if len(parts) == timesteps}
        return {path: torch.stack(parts).transpose(0, 1).numpy() for path, parts in told.items()}


def _takes_time(module: nn.Module) -> bool:
    return getattr(module, "step_mode", "m") == "m"


_DSRS = classes(neuron, "DSRIFNode", "DSRLIFNode")


class _Recorder(nn.Module):
    """Stands where a surrogate function stood; notes the margin that it was given."""

    def __init__(self, inner: Any, margins: list[torch.Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.margins = margins

    def forward(self, margin: torch.Tensor, *settings: Any) -> Any:
        self.margins.append(margin.detach())
        return self.inner(margin, *settings)


class _DSR(nn.Module):
    """SpikingJelly's DSR nodes in the precision of their input; the originals return float32 whatever they are given.

    The tests hold it against the originals in float32.
    """

    step_mode = "m"

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.v_threshold = node.v_threshold.detach().clamp(min=node.v_threshold_lower_bound).double()
        self.alpha = node.alpha
        self.leaky = isinstance(node, classes(neuron, "DSRLIFNode"))
        self.keep = float(np.exp(-node.delta_t / node.tau)) if self.leaky else 1.0
        self.gain = 1.0 - self.keep if self.leaky else 1.0
        self.height = 1.0 / node.delta_t if self.leaky else 1.0
        self.surrogate_function: Any = lambda margin: (margin >= 0).to(margin.dtype)

    def forward(self, x_seq: torch.Tensor) -> torch.Tensor:
        v = torch.zeros_like(x_seq[0])
        out = []
        for x in x_seq:
            v = self.keep * v + self.gain * x
            spike = self.surrogate_function(v - self.alpha * self.v_threshold) * self.v_threshold
            v = v - spike
            out.append(spike * self.height)
        return torch.stack(out)
