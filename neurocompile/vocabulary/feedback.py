"""A part of a network that hears, at each step, what it gave at the step before."""

import torch
from torch import Tensor, nn

__all__ = ["Feedback"]


class Feedback(nn.Module):
    """``y[t] = inner(x[t], ..., y[t - 1])`` with ``y[-1] = 0``.

    ``inner`` is made of single-step parts (``step_mode="s"``), which keep their state from call to call;
    ``spikingjelly.activation_based.functional.reset_net`` clears it.

    Args:
        inner: takes one step of each input ``[N, ...]`` and what it returned at the step before ``[N, *shape]``.
        shape: of what it returns, without the batch.
    """

    def __init__(self, inner: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.inner = inner
        self.shape = tuple(shape)

    def forward(self, *x_seq: Tensor) -> Tensor:
        """Inputs [T, N, ...] each -> [T, N, *shape]."""
        last = x_seq[0].new_zeros(x_seq[0].shape[1], *self.shape)
        y_seq = []
        for t in range(len(x_seq[0])):
            last = self.inner(*(x[t] for x in x_seq), last)
            y_seq.append(last)
        return torch.stack(y_seq)

    def extra_repr(self) -> str:
        """Shown by `repr`."""
        return f"shape={self.shape}"
