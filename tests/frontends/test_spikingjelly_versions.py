"""What SpikingJelly 0.0.0.0.14 pickled or recorded, whatever version is installed; and what it has not got."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from spikingjelly.activation_based import functional, neuron
from torch import nn

from neurocompile.errors import ToolFailed
from neurocompile.frontends import load_model
from neurocompile.frontends.pytorch.pickles import unpickle
from neurocompile.ir import interpret
from neurocompile.vocabulary.versions import classes, modernized, named
from tests.versions.old_pickles import FOLDER, NETWORKS, SHAPE, TIMESTEPS, fired, inputs

EXPECTED = dict(np.load(FOLDER / "expected.npz").items())


def of(name: str) -> dict[str, np.ndarray]:
    """What 0.0.0.0.14 computed with a network, by path."""
    return {key.partition("/")[2]: array for key, array in EXPECTED.items() if key.startswith(f"{name}/")}


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_pickle_runs_as_it_did(name: str, trust: bool) -> None:
    expected = of(name)
    found = fired(unpickle(FOLDER / f"{name}.pt", trust), inputs())
    assert found.keys() == expected.keys()
    assert expected["output"].any()
    for path in found.keys() - {"output"}:
        assert expected[path].any(), path
        np.testing.assert_array_equal(found[path], expected[path], err_msg=path)
    np.testing.assert_allclose(found["output"], expected["output"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_its_graph_fires_the_same(name: str) -> None:
    expected = of(name)
    model = load_model(FOLDER / f"{name}.pt", input_shape=SHAPE, timesteps=TIMESTEPS)
    (argument,) = model.input_shapes
    x = {argument: inputs().numpy().astype(np.float64).swapaxes(0, 1)}
    for trace in (interpret(model.graph, x, TIMESTEPS), model.run(x)):
        assert trace.spikes.keys() == expected.keys() - {"output"}
        for path, spikes in trace.spikes.items():
            np.testing.assert_array_equal(spikes.swapaxes(0, 1), expected[path], err_msg=path)


def test_what_it_saved_is_a_model_file() -> None:
    model = load_model(FOLDER / "saved.pt")
    x = {name: inputs().numpy().astype(np.float64).swapaxes(0, 1) for name in model.input_shapes}
    for path, spikes in interpret(model.graph, x, TIMESTEPS).spikes.items():
        np.testing.assert_array_equal(spikes.swapaxes(0, 1), of("lif")[path], err_msg=path)


def test_a_pickle_has_what_a_new_module_has() -> None:
    old = unpickle(FOLDER / "lif.pt", trust=False)
    for module in old.modules():
        if isinstance(module, neuron.BaseNode):
            assert vars(type(module)()).keys() - vars(module).keys() == set(), type(module)
    functional.reset_net(old)


def test_what_is_no_module_stays_as_it_is() -> None:
    assert modernized({"weight": 1}) == {"weight": 1}


def test_a_class_that_it_has_not_got() -> None:
    assert classes(neuron, "LIFNode", "NoSuchNode") == (neuron.LIFNode,)
    with pytest.raises(ToolFailed, match=r"pip install 'spikingjelly>=2'") as caught:
        named(neuron, "NoSuchNode")
    assert "NoSuchNode" in caught.value.problems[0].what


def test_nothing_else_is_let_in_by_its_name(tmp_path: Path) -> None:
    import torch

    kind = type("LIFNode", (nn.Module,), {"__module__": __name__, "__qualname__": "LIFNode"})
    globals()["LIFNode"] = kind
    try:
        torch.save(kind(), tmp_path / "model.pt")
    finally:
        del globals()["LIFNode"]
    with pytest.raises(Exception, match="could run anything; nothing was run"):
        unpickle(tmp_path / "model.pt", trust=False)
