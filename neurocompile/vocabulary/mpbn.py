"""Membrane-potential batch norm: the neuron of the MPBN paper (Guo et al., ICCV 2023).

Equation numbers are the paper's. u is the membrane potential, c the input current, o the spikes; all are dimensionless.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

__all__ = ["MPBNLIF", "StrictRectangle"]


class _StraightThrough(torch.autograd.Function):
    """Eq. 8 forward, Eq. 12 backward."""

    @staticmethod
    def forward(ctx: Any, margin: Tensor, v_threshold: float) -> Tensor:
        u = margin + v_threshold
        ctx.save_for_backward((u >= 0) & (u <= 1))
        return (margin > 0).to(margin.dtype)

    @staticmethod
    def backward(ctx: FunctionCtx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (window,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad_outputs[0] * window, None


class StrictRectangle(nn.Module):
    """Step function that is 0 at 0, with the rectangular surrogate gradient of Eq. 12.

    The gradient is 1 where 0 <= u <= 1 and 0 elsewhere, for the potential u = margin + `v_threshold`.
    """

    def __init__(self, v_threshold: float = 0.5) -> None:
        super().__init__()
        self.v_threshold = v_threshold

    def forward(self, margin: Tensor) -> Tensor:
        """Spikes (0 or 1, in the dtype of `margin`) where `margin` > 0; any shape."""
        spikes: Tensor = _StraightThrough.apply(margin, self.v_threshold)  # type: ignore[no-untyped-call]
        return spikes

    def extra_repr(self) -> str:
        """Shown by `repr`."""
        return f"v_threshold={self.v_threshold}"


class MPBNLIF(nn.Module):
    """Leaky integrate-and-fire neurons with batch norm between the membrane and the comparison.

    For every time step, with u = 0 before the first:

        u = tau * u + c                    Eq. 1
        o = 1 if MPBN(u) > V_th else 0     Eqs. 7, 8
        u = u * (1 - o)                    Eq. 2: leak and reset act on the raw membrane

    Exactly one of three arguments says what shares one gamma, beta, mean and variance: `out_channels` (a channel of
    [N, C, H, W]), `out_features` (a feature of [N, C]) or `element_wise_shape` (one neuron of [N, *shape]; Eq. 13).
    The statistics are shared by all time steps; in training each step is normalized by its own batch.
    """

    def __init__(
        self,
        *,
        out_channels: int | None = None,
        out_features: int | None = None,
        element_wise_shape: tuple[int, ...] | None = None,
        tau: float = 0.25,
        v_threshold: float = 0.5,
    ) -> None:
        super().__init__()
        if sum(size is not None for size in (out_channels, out_features, element_wise_shape)) != 1:
            raise ValueError("give exactly one of out_channels, out_features and element_wise_shape")
        self.tau = tau
        self.v_threshold = v_threshold
        self.element_wise_shape = element_wise_shape
        self.vbn: nn.BatchNorm1d | nn.BatchNorm2d
        if out_channels is not None:
            self.vbn = nn.BatchNorm2d(out_channels)
        elif out_features is not None:
            self.vbn = nn.BatchNorm1d(out_features)
        elif element_wise_shape is not None:
            self.vbn = nn.BatchNorm1d(math.prod(element_wise_shape))
        self.surrogate_function: nn.Module = StrictRectangle(v_threshold)

    def normalize(self, u: Tensor) -> Tensor:
        """MPBN(u) of one time step (Eq. 7): [N, ...] -> [N, ...]."""
        normalized: Tensor = self.vbn(u if self.element_wise_shape is None else u.flatten(1))
        return normalized.view_as(u)

    def forward(self, c_seq: Tensor) -> Tensor:
        """Currents [T, N, ...] -> spikes [T, N, ...]; nothing is kept between calls."""
        u = torch.zeros_like(c_seq[0])
        o_seq = []
        for c in c_seq:
            u = self.tau * u + c
            o = self.surrogate_function(self.normalize(u) - self.v_threshold)
            u = u * (1 - o)
            o_seq.append(o)
        return torch.stack(o_seq)

    def extra_repr(self) -> str:
        """Shown by `repr`."""
        return f"tau={self.tau}, v_threshold={self.v_threshold}, element_wise_shape={self.element_wise_shape}"
