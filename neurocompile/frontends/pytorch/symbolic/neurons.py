"""The equations of SpikingJelly's neurons and the papers', by class."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import neuron as sj
from torch import nn

from neurocompile.errors import Problem, UnsupportedModel
from neurocompile.frontends.pytorch.neurons import (
    Recorded,
    is_membrane,
    is_registered,
    layout_of,
    numpy_of,
    registered_equation,
    with_arrays,
)
from neurocompile.ir.ops import Array, Integrator, MembraneNorm, Neuron, Read
from neurocompile.vocabulary.mpbn import MPBNLIF
from neurocompile.vocabulary.readout import MembraneReadout, WeightedRate
from neurocompile.vocabulary.versions import classes

__all__ = [
    "NEURONS",
    "READOUTS",
    "Recorded",
    "is_membrane",
    "is_registered",
    "layout_of",
    "lower_neuron",
    "lower_readout",
]

Shape = tuple[int, ...]
Lowering = Callable[[Any, Shape], Neuron]


def lower_neuron(module: nn.Module, shape: Shape, where: str) -> Neuron | Integrator:
    """The equation of a neuron module whose layer has ``shape``.

    Raises:
        UnsupportedModel: if the module computes something that the equation cannot say.
    """
    if isinstance(module, Recorded):
        return module.op
    if is_registered(module):
        return registered_equation(module, shape, where)
    surrogate = getattr(module, "surrogate_function", None)
    if getattr(surrogate, "spiking", True) is False:
        raise _refused(where, module, "its surrogate function does not spike (spiking=False)", "set spiking=True")
    op: Neuron = with_arrays(NEURONS[type(module)](module, shape))
    return op


def _array(value: Any) -> Array:
    return np.asarray(numpy_of(value), np.float64)


def _refused(where: str, module: nn.Module, what: str, fix: str) -> UnsupportedModel:
    return UnsupportedModel(Problem(what, f"{where} ({type(module).__name__})", fix=fix))


def _reset(module: Any) -> dict[str, Any]:
    """Reset and first value as every SpikingJelly node has them."""
    v_init = _array(module._memories_rv["v"])
    if module.v_reset is None:
        return {"reset": "by", "amount": _array(module.v_threshold), "v_init": v_init}
    return {"reset": "to", "v_reset": _array(module.v_reset), "v_init": v_init}


def _leak(rate: Array, decay_input: bool, v_reset: float | None) -> dict[str, Any]:
    """h = v + (x - (v - v_reset)) * rate, or with x outside the parenthesis."""
    return {
        "decay": 1.0 - rate,
        "gain": rate if decay_input else np.asarray(1.0),
        "bias": rate * (v_reset or 0.0),
    }


def _if(module: Any, shape: Shape) -> Neuron:
    return Neuron(threshold=_array(module.v_threshold), **_reset(module))


def _lif(module: Any, shape: Shape) -> Neuron:
    leak = _leak(_array(1.0 / module.tau), module.decay_input, module.v_reset)
    return Neuron(threshold=_array(module.v_threshold), **leak, **_reset(module))


def _parametric_lif(module: Any, shape: Shape) -> Neuron:
    leak = _leak(_array(module.w.double().sigmoid()), module.decay_input, module.v_reset)
    return Neuron(threshold=_array(module.v_threshold), **leak, **_reset(module))


def _cuba_lif(module: Any, shape: Shape) -> Neuron:
    return Neuron(
        threshold=_array(module.v_threshold),
        decay=_array(module.v_decay),
        current_decay=_array(module.c_decay),
        **_reset(module),
    )


def _threshold_of_dsr(module: Any) -> Array:
    return _array(module.v_threshold.clamp(min=module.v_threshold_lower_bound))


def _dsr_if(module: Any, shape: Shape) -> Neuron:
    v_th = _threshold_of_dsr(module)
    return Neuron(threshold=module.alpha * v_th, reset="by", amount=v_th, amplitude=v_th)


def _dsr_lif(module: Any, shape: Shape) -> Neuron:
    v_th = _threshold_of_dsr(module)
    decay = math.exp(-module.delta_t / module.tau)
    return Neuron(
        threshold=module.alpha * v_th,
        decay=np.asarray(decay),
        gain=np.asarray(1.0 - decay),
        reset="by",
        amount=v_th,
        amplitude=v_th / module.delta_t,
    )


def _per_feature(values: Any, shape: Shape) -> Array:
    """One value a channel, shaped to broadcast over a layer ``[C, *S]``."""
    array = _array(values)
    return array.reshape(-1, *(1,) * (len(shape) - 1)) if array.ndim else array


def _norm(bn: Any, shape: Shape, on: Any) -> MembraneNorm:
    """A batch norm's four vectors, channel-wise over ``shape`` (or element-wise, where they already have its size)."""
    ones, zeros = np.ones(bn.num_features), np.zeros(bn.num_features)
    gamma = ones if bn.weight is None else _array(bn.weight)
    beta = zeros if bn.bias is None else _array(bn.bias)
    std = np.sqrt(_array(bn.running_var) + bn.eps)
    vectors = (gamma, beta, _array(bn.running_mean), std)
    gamma, beta, mean, std = (_per_feature(vector, shape) for vector in vectors)
    return MembraneNorm(gamma, beta, mean, std, on)


def _mpbn_paper(module: MPBNLIF, shape: Shape) -> Neuron:
    if module.element_wise_shape is None:
        norm = _norm(module.vbn, shape, "compare")
    else:
        flat = _norm(module.vbn, (module.vbn.num_features,), "compare")
        gamma, beta, mean, std = (vector.reshape(shape) for vector in (flat.gamma, flat.beta, flat.mean, flat.std))
        norm = MembraneNorm(gamma, beta, mean, std, "compare")
    return Neuron(threshold=_array(module.v_threshold), decay=_array(module.tau), strict=True, reset="to", norm=norm)


def _mpbn_spikingjelly(module: Any, shape: Shape) -> Neuron:
    """SpikingJelly's MPBNLIFNode as it stands: training form, or already re-parameterized."""
    leak = _leak(_array(1.0 / module.tau), module.decay_input, module.v_reset)
    folded = module.fold_bn and not module.learnable_vth
    if (folded or module.learnable_vth) and len(shape) not in (1, 3):
        raise _refused(
            "", module, f"it broadcasts its threshold wrongly over a layer of shape {shape}", "use [C] or [C, H, W]"
        )
    if torch.is_tensor(module.v_threshold) and module.v_threshold.ndim and module.v_reset is None and len(shape) != 1:
        what = "a soft reset by one threshold a channel broadcasts over the last axis of the layer, not over channels"
        raise _refused("", module, what, "re-parameterize without learnable_vth, or use a hard reset")
    op = Neuron(threshold=_array(module.v_threshold), **leak, **_reset(module))
    if not folded:
        threshold = _per_feature(module.a.double().exp(), shape) if module.learnable_vth else op.threshold
        norm = None if isinstance(module.vbn, nn.Identity) else _norm(module.vbn, shape, "membrane")
        return Neuron(**{**vars(op), "threshold": threshold, "norm": norm})
    gamma, beta, mean = (_per_feature(values, shape) for values in (module.gamma, module.beta, module.mu))
    std = np.sqrt(_per_feature(module.sigma2, shape) + module.eps)
    v_th = _per_feature(module.v_threshold, shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        threshold = (v_th - beta) * std / gamma + mean
    # 0 / 0: no membrane compares with it, so the neuron never fires.
    op = Neuron(**{**vars(op), "threshold": np.where(np.isnan(threshold), np.inf, threshold)})
    return _normalize_residual(op, gamma / std, beta - gamma * mean / std) if module.normalize_residual else op


def _normalize_residual(op: Neuron, k: Array, c: Array) -> Neuron:
    """What a silent neuron keeps is k * h + c, what a neuron that fired keeps is reset from h itself.

    With v = k * w + c the state w is h again, so that the equation's "h unless it fires" holds; the rest follows.
    Where k = 0 the threshold is infinite, and nothing that the neuron keeps is ever seen.
    """
    k = np.where(k == 0, 1.0, k)
    changed: dict[str, Any] = {"decay": op.decay * k, "bias": op.bias + op.decay * c, "v_init": (op.v_init - c) / k}
    if op.reset == "to":
        return Neuron(**{**vars(op), **changed, "v_reset": (op.v_reset - c) / k})
    return Neuron(**{**vars(op), **changed, "keep": 1.0 / k, "amount": (op.amount + c) / k})


NEURONS: dict[type[nn.Module], Lowering] = {
    sj.IFNode: _if,
    sj.LIFNode: _lif,
    sj.ParametricLIFNode: _parametric_lif,
    **dict.fromkeys(classes(sj, "CUBALIFNode"), _cuba_lif),
    **dict.fromkeys(classes(sj, "DSRIFNode"), _dsr_if),
    **dict.fromkeys(classes(sj, "DSRLIFNode"), _dsr_lif),
    **dict.fromkeys(classes(sj, "MPBNLIFNode"), _mpbn_spikingjelly),
    MPBNLIF: _mpbn_paper,
}

READOUTS: tuple[type[nn.Module], ...] = (
    *classes(sj, "NonSpikingIFNode", "NonSpikingLIFNode"),
    WeightedRate,
    MembraneReadout,
)

_READ_BY_DECODE: dict[str | None, Read] = {
    "max-mem": "max",
    "max-abs-mem": "max-abs",
    "mean-mem": "mean",
    "last_mem": "last",
    None: "sequence",
}


def lower_readout(module: Any, timesteps: int) -> tuple[Integrator, Read]:
    """A membrane that never fires, and what is read from it: a non-spiking node, its like, or DSR's weighted rate.

    The weighted rate sum_t decay^(T-1-t) x[t] / sum_t decay^t is the last membrane y[T-1] of
    y[t] = decay * y[t-1] + x[t] / sum_t decay^t.
    """
    if isinstance(module, MembraneReadout):
        return Integrator(decay=_array(module.decay)), "last"
    if isinstance(module, WeightedRate):
        gain = _array(1.0 / module.total(timesteps))
        return Integrator(decay=_array(module.decay), gain=gain), "last"
    rate = _array(1.0 / module.tau) if isinstance(module, classes(sj, "NonSpikingLIFNode")) else None
    if rate is None:
        return Integrator(decay=np.asarray(1.0)), _READ_BY_DECODE[module.decode]
    return Integrator(decay=np.asarray(1.0 - rate), gain=rate), _READ_BY_DECODE[module.decode]
