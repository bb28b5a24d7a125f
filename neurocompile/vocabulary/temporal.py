"""What differs from time step to time step."""

import torch
from torch import Tensor, nn

__all__ = ["TemporalGain"]


class TemporalGain(nn.Module):
    """The temporal-wise spiking mechanism: a current times a number of its own for each time step.

    (Cao et al., Spiking Diffusion Models, arXiv:2408.16467, Eq. 16.)
    """

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(timesteps))

    def forward(self, x_seq: Tensor) -> Tensor:
        """Currents [T, N, ...] -> currents [T, N, ...]."""
        if len(x_seq) != len(self.gain):
            raise ValueError(f"it has a gain for each of {len(self.gain)} time steps, and is given {len(x_seq)}")
        return x_seq * self.gain.view(-1, *(1,) * (x_seq.ndim - 1))
