"""Files and programs of earlier versions name the vocabulary's modules where these stood then."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

from neurocompile.frontends.pytorch.pickles import unpickle
from neurocompile.vocabulary.feedback import Feedback
from neurocompile.vocabulary.mpbn import MPBNLIF, StrictRectangle
from neurocompile.vocabulary.readout import MembraneReadout, WeightedRate
from neurocompile.vocabulary.temporal import TemporalGain

OLD = {
    MPBNLIF(out_features=3): "neurocompile.models.mpbn",
    StrictRectangle(): "neurocompile.models.mpbn",
    WeightedRate(0.5): "neurocompile.models.dsr",
    MembraneReadout(4): "neurocompile.models.readout",
    TemporalGain(4): "neurocompile.models.temporal",
    Feedback(nn.Identity(), (3,)): "neurocompile.models.feedback",
}


@pytest.mark.parametrize("module", OLD, ids=lambda module: type(module).__name__)
@pytest.mark.parametrize("trust", [False, True])
def test_a_pickle_under_the_old_name(module: nn.Module, trust: bool, tmp_path: Path) -> None:
    kind, home = type(module), OLD[module]
    assert getattr(importlib.import_module(home), kind.__name__) is kind
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "__module__", home)
        torch.save(module, tmp_path / "model.pt")
    assert home.encode() in (tmp_path / "model.pt").read_bytes()
    if kind is Feedback and not trust:
        return  # it holds whatever module it was given
    assert type(unpickle(tmp_path / "model.pt", trust)) is kind
