"""What forward casts to float32 is computed in float64; where that changes what it gives, the owner is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import neurocompile
from neurocompile.frontends.pytorch import TorchModel
from tests.cli.helpers import done, result

T = 5


class Coarse(nn.Module):
    """In float32 its currents are whole numbers, so that it fires otherwise."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)
        nn.init.normal_(self.a.weight)

    def forward(self, x: Tensor) -> Tensor:
        v = torch.zeros(x.shape[1], 8, dtype=x.dtype)
        out = torch.zeros(x.shape[1], 3, dtype=x.dtype)
        for t in range(len(x)):
            v = 0.9 * v + ((self.a(x[t]) + 2.0**23).to(self.kind) - 2.0**23).to(x.dtype)
            s = (v >= 0.5).to(self.kind)
            v = v - 0.5 * s
            out = out + self.b(s.to(x.dtype))
        return out / len(x)


def noted(net: nn.Module) -> list[str]:
    return TorchModel.from_module(net.eval(), (5,), T, "TN", example={"x": torch.rand(3, T, 5).numpy()}).notes


def test_a_cast_that_changes_what_is_given() -> None:
    (note,) = noted(Coarse(torch.float32))
    assert "tests/frontends/test_casts.py:32, tests" in note
    assert "another by up to" in note


def test_casts_of_spikes_change_nothing() -> None:
    class Spikes(Coarse):
        def forward(self, x: Tensor) -> Tensor:
            return self.b((self.a(x) >= 0.5).float().to(x.dtype)).mean(0)

    assert noted(Spikes(torch.float32)) == []


def test_without_a_cast_there_is_nothing_to_say() -> None:
    assert noted(Coarse(torch.float64)) == []


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_export_says_it(kind: torch.dtype, tmp_path: Path) -> None:
    neurocompile.save(Coarse(kind).eval(), tmp_path / "m.pt", torch.rand(T, 3, 5), layout="TN")
    body = result("export", tmp_path / "m.pt", "-o", tmp_path / "out")
    assert any("casts to float32" in warning for warning in body["warnings"]) == (kind == torch.float32)
    said = done("export", tmp_path / "m.pt", "-o", tmp_path / "again")
    assert ("casts to float32" in said.err) == (kind == torch.float32)
