"""Whether a neuron class that a user registered computes the equation that it was registered with: both are run."""

from __future__ import annotations

from math import ceil, prod
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import functional
from torch import nn

from neurocompile.errors import Problem, UnsupportedModel
from neurocompile.frontends.pytorch.axes import Layout, from_layout, shown_layout, to_layout
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.interpret import interpret
from neurocompile.ir.ops import Array, Input, Integrator, Neuron, Output
from neurocompile.printable import first_line

__all__ = ["check_equation"]

# At least so many values are compared, where the layer is small.
_VALUES = 4096
# The share of values that may differ: a class may compute in float32 inside, and so round to the other side.
_ROUNDED = 1e-5


def check_equation(
    module: nn.Module, op: Neuron | Integrator, layout: Layout, shape: tuple[int, ...], timesteps: int, where: str
) -> None:
    """Run a neuron module and its equation on the same random currents.

    Args:
        module: of a registered class, in float64; its state is cleared.
        op: its equation.
        layout: how its forward takes time; "loop": one step a call.
        shape: of the layer.
        timesteps: T.
        where: the path of the layer.

    Raises:
        UnsupportedModel: if they differ, or if the class cannot be run so, or remembers what came before.
    """
    place = f"{where} ({type(module).__name__})"
    currents = _currents(op, shape, timesteps)
    found = _run(module, currents, layout, place)
    if not np.array_equal(found, _run(module, currents, layout, place), equal_nan=True):
        what = "it does not start anew: the same currents give other spikes the second time"
        fix = "clear its state at the start of forward, or in a method reset()"
        raise UnsupportedModel(Problem(what, place, fix=fix))
    expected = _equation(op, currents, timesteps)
    height = np.abs(op.amplitude if isinstance(op, Neuron) else expected).max()
    differs = np.abs(found - expected) > 1e-6 * max(1.0, float(height))
    equal_first = _meets_its_threshold(op)
    if differs[int(equal_first) :].sum() > _ROUNDED * differs.size:
        raise UnsupportedModel(_difference(op, found, expected, differs, place, layout))
    if equal_first and differs[0, 0].any():
        what = "where the membrane equals the threshold, its forward and its equation differ"
        raise UnsupportedModel(Problem(what, place, fix="strict=True fires at >, strict=False (as it stands) at >="))


def _difference(
    op: Neuron | Integrator, found: Array, expected: Array, differs: Array, place: str, layout: Layout
) -> Problem:
    """What to say about a forward that gives other values than the equation."""
    step = int(np.argmax(differs.reshape(*differs.shape[:2], -1).any((0, 2))))
    actual = f"{differs.sum()} of {differs.size} values differ, first at step {step}"
    if isinstance(op, Neuron) and np.array_equal(np.sign(found), np.sign(expected)):
        heights = f"{np.abs(found).max():g} where the equation has {np.abs(expected).max():g}"
        what = f"it fires as its equation does, but what it sends has another height: {heights}"
        return Problem(what, place, actual, fix="give the equation this amplitude")
    fix = (
        "check decay, gain, threshold, reset and amplitude, "
        f"and whether its forward takes {shown_layout(layout)} as it was registered"
    )
    return Problem("its forward does not compute its equation", place, actual, "0", fix)


def _currents(op: Neuron | Integrator, shape: tuple[int, ...], timesteps: int) -> Array:
    """``[N, T, *shape]``: from weak to strong; the first sample meets the threshold at its first step, if it can."""
    batch = max(8, ceil(_VALUES / (timesteps * prod(shape))))
    if isinstance(op, Integrator):
        heights = np.ones(1)
    elif op.norm is None:
        heights = np.abs(op.threshold)
    else:
        heights = np.abs(op.norm.mean) + op.norm.std
    heights = heights[np.isfinite(heights)]
    scale = (np.median(heights) if heights.size else 0.0) / (np.median(np.abs(op.gain)) or 1.0) or 1.0
    strength = scale * 2.0 ** np.linspace(-1.5, 2.5, batch)
    x = np.random.default_rng(0).standard_normal((batch, timesteps, *shape)) + 0.25
    x *= strength.reshape(-1, *(1,) * (x.ndim - 1))
    if isinstance(op, Neuron) and _meets_its_threshold(op):
        x[0, 0] = op.threshold
    return x


def _meets_its_threshold(op: Neuron | Integrator) -> bool:
    """Whether the first membrane is the first current, and the threshold a number that float32 holds, too."""
    if isinstance(op, Integrator):
        return False
    plain = np.all(op.gain == 1) and not np.any(op.bias) and not np.any(op.input_bias) and not np.any(op.v_init)
    if not plain or op.norm is not None or not np.isfinite(op.threshold).all():
        return False
    return bool(np.all(op.threshold.astype(np.float32) == op.threshold))


def _equation(op: Neuron | Integrator, currents: Array, timesteps: int) -> Array:
    nodes = [
        Node("x", Input(currents.shape[2:], "real")),
        Node("neuron", op, ("x",)),
        Node("sent", Integrator(), ("neuron",)),
        Node("output", Output("sequence"), ("sent",)),
    ]
    return interpret(Graph(nodes), {"x": currents}, timesteps).outputs["output"]


@torch.no_grad()
def _run(module: nn.Module, currents: Array, layout: Layout, place: str) -> Array:
    """What the module sends, ``[N, T, *shape]``."""
    x = torch.from_numpy(currents)
    functional.reset_net(module)
    try:
        if layout == "loop":
            sent: Any = [module(step) for step in x.unbind(1)]
            shapes = {tuple(part.shape) for part in sent}
            given = tuple(x[:, 0].shape)
        else:
            sent = module(to_layout(x, layout).contiguous())
            shapes = {tuple(sent.shape)}
            given = tuple(to_layout(x, layout).shape)
    except Exception as error:
        what = f"its forward cannot be run on {shown_layout(layout)}: {first_line(error)}"
        fix = "register the layout that it takes; clear its state at the start of forward, or in a method reset()"
        raise UnsupportedModel(Problem(what, place, fix=fix)) from error
    finally:
        functional.reset_net(module)
    if shapes != {given}:
        what = "a neuron gives one value for each that it takes"
        raise UnsupportedModel(Problem(what, place, str([list(s) for s in shapes]), str(list(given))))
    if layout == "loop":
        return np.asarray(torch.stack(sent, 1).double().numpy())
    return np.asarray(from_layout(sent, layout, currents.shape[1]).double().numpy())
