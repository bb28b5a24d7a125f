"""SpikingJelly's DSR nodes, which the reference runs in float64, against the nodes in float32."""

from __future__ import annotations

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn

from neurocompile.frontends.pytorch import TorchModel


@pytest.mark.parametrize(
    "node",
    [
        neuron.DSRIFNode(T=6, v_threshold=0.7, alpha=0.5),
        neuron.DSRIFNode(T=6, v_threshold=2.0, alpha=1.0, v_threshold_training=False),
        neuron.DSRLIFNode(T=6, v_threshold=0.3, tau=2.0, delta_t=0.05, alpha=0.3),
        neuron.DSRLIFNode(T=6, v_threshold=0.4, tau=0.5, delta_t=0.2, alpha=0.6),
    ],
    ids=["IF", "IF, alpha 1", "LIF", "LIF, fast"],
)
@pytest.mark.parametrize("below", [False, True])
def test_the_reference_fires_as_the_node_does(node: nn.Module, below: bool) -> None:
    """Also where training has moved the threshold below its lower bound."""
    if below:
        node.v_threshold = nn.Parameter(torch.tensor(-1.0))  # type: ignore[assignment]
    gain = (
        1.0
        if isinstance(node, neuron.DSRIFNode)
        else 1.0 / (1.0 - float(torch.exp(torch.tensor(-node.delta_t / node.tau))))
    )
    x = (torch.rand(6, 400, 5, generator=torch.Generator().manual_seed(0)) - 0.3) * gain
    model = TorchModel.from_module(nn.Sequential(node).eval(), (5,), 6, "TN", "sequence")
    reference = model.run({name: x.transpose(0, 1).double().numpy() for name in model.input_shapes})
    ours = torch.from_numpy(reference.outputs["output"]).transpose(0, 1)
    with torch.no_grad():
        theirs = node(x)
    differs = (theirs != 0) != (ours != 0)
    # float32 may round a membrane to the other side of its threshold; what follows then differs too.
    assert differs.float().mean() < 1e-3
    fired = (theirs != 0) & (ours != 0)
    assert 0.02 < fired.float().mean() < 0.98
    torch.testing.assert_close(theirs[fired].double(), ours[fired], rtol=1e-6, atol=1e-6)
    told = torch.from_numpy(reference.spikes["0"]).transpose(0, 1)
    torch.testing.assert_close(told != 0, ours != 0)
