"""What modules remember is cleared by their own methods, and by those that are theirs alone."""

from __future__ import annotations

import torch
from torch import nn

from neurocompile.frontends.pytorch.state import forget


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []

    def reset_mem(self) -> torch.Tensor:
        self.called.append("reset_mem")
        return torch.zeros(0)

    def reset_state(self, size: int) -> None:
        raise AssertionError(size)

    @classmethod
    def reset_hidden(cls) -> None:
        """All instances forget: those of other models, too."""
        raise AssertionError

    def reset_parameters(self) -> None:
        raise AssertionError


def test_methods_of_the_module_itself_are_called() -> None:
    net = nn.Sequential(nn.Linear(2, 2), Remembers(), Remembers())
    forget(net)
    assert [module.called for module in net if isinstance(module, Remembers)] == [["reset_mem"], ["reset_mem"]]


def test_what_a_module_calls_reset_may_be_a_tensor() -> None:
    net = nn.Sequential(Remembers())
    forget(net)
    net[0].reset = torch.zeros(3)
    forget(net)
    assert net[0].called == ["reset_mem", "reset_mem"]


def test_braincog_calls_it_n_reset() -> None:
    class Node(nn.Module):
        mem = 1.0

        def n_reset(self) -> None:
            self.mem = 0.0

    net = nn.Sequential(Node())
    forget(net)
    assert net[0].mem == 0.0
