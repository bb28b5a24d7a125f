"""Reading a network by a membrane that never fires."""

import math

import torch
from torch import Tensor, nn

__all__ = ["MembraneReadout", "WeightedRate"]


class MembraneReadout(nn.Module):
    """The membrane, after the last step, of a leaky neuron that never fires: y = decay * y + x[t], from 0."""

    def __init__(self, timesteps: int, decay: float = 0.8) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.decay = decay

    def forward(self, x_seq: Tensor) -> Tensor:
        """Currents [T, N, ...] -> membranes [N, ...]."""
        # A tensor: in ONNX a number would be rounded to float32.
        decay = torch.tensor(self.decay, dtype=x_seq.dtype, device=x_seq.device)
        y = x_seq[0]
        for t in range(1, self.timesteps):
            y = decay * y + x_seq[t]
        return y


class WeightedRate(nn.Module):
    """The spike representation of DSR's LIF neurons (Meng et al., CVPR 2022, section 3.4).

    With lambda = exp(-dt / tau) = ``decay``:

    r(s) = sum_n lambda^(N-n) V_th s[n] / (dt sum_n lambda^(N-n)), n = 1..N: recent spikes weigh most. It is what a
    leaky membrane that never fires holds after the last step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def total(self, timesteps: int) -> float:
        """The sum of the weights of that many steps."""
        return math.fsum(self.decay**n for n in range(timesteps))

    def forward(self, x_seq: Tensor) -> Tensor:
        """What neurons sent, V_th s / dt of [T, N, ...] -> its weighted mean over time [N, ...]."""
        timesteps = len(x_seq)
        exponents = torch.arange(timesteps - 1, -1, -1, dtype=x_seq.dtype, device=x_seq.device)
        rate: Tensor = torch.tensordot(self.decay**exponents, x_seq, 1) / self.total(timesteps)
        return rate

    def extra_repr(self) -> str:
        """Shown by `repr`."""
        return f"decay={self.decay}"
