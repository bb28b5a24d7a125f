from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.cli.helpers import Data, exported, saved, small_data, small_net


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """main() sets a handler for SIGTERM; the test process keeps its own."""
    torch.set_num_threads(1)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network as neurocompile.save writes it."""
    return saved(small_net(), tmp_path_factory.mktemp("model") / "small.pt")


@pytest.fixture(scope="session")
def program(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as a program."""
    return exported(model, tmp_path_factory.mktemp("program") / "small")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Samples and labels for it."""
    return small_data(tmp_path_factory.mktemp("data") / "small.npz")
