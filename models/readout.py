"""Reading a network by a membrane that never fires."""

import torch
from torch import Tensor, nn

__all__ = ["MembraneReadout"]


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
