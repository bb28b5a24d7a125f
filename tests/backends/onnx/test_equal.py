"""ONNX Runtime computes the program's own integers: as a step and as a Scan, in integers and in float32."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

import neurocompile
from neurocompile.backends.onnx.build import has_step
from neurocompile.backends.onnx.executor import OnnxExecutor
from neurocompile.compiler import Options, compile_graph
from neurocompile.data import Data
from neurocompile.ir import Graph, Node
from neurocompile.ir.interpret import read_out
from neurocompile.ir.ops import Conv, Input, MaxPool, Neuron, Output
from neurocompile.models.generators import GENERATORS, compiled
from neurocompile.models.measurement import lowered
from neurocompile.models.zoo import ZOO
from neurocompile.program import Program
from neurocompile.simulator.execution import IntegerExecutor, RealExecutor
from tests.backends.onnx.against import FORMS, Compared, compare, of_drawn
from tests.backends.onnx.sweep import Sweep, reread, sweep
from tests.random_networks.engine import CASES, random_integer_network
from tests.test_hosted import given, in_torch_layout, mixed

CHECKPOINTS = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints"
TRAINED = ("digits", "digits-2bit", "digits-4bit", "digits-spikingjelly", "dsr-vgg-digits-if", "dsr-vgg-digits-lif",
           "dsr-vgg11-digits-events-if", "mpbn-vgg-digits", "mpbn-resnet20-digits")  # fmt: skip


def held(program: Program, inputs: Any) -> Compared:
    """In every form that it has, without a difference."""
    found = Compared()
    compare(program, inputs, found, [form for form in FORMS if form[0] == "scan" or has_step(program.integer)])
    assert found.wrong == []
    assert min(found.compared["membranes"], found.compared["outputs"]) > 0
    return found


def example(program: Program, samples: int = 2) -> dict[str, Any]:
    data = program.example_data()
    assert data is not None
    return dict(data.part(0, samples).inputs)


def test_random_graphs_of_everything_that_there_is() -> None:
    """A slice of the sweep, in which nearly every case occurs and most layers fire."""
    found = sweep(30, 11, every=6)
    assert found.compared.wrong == []
    assert found.compared.compared["spikes"] > 10_000
    assert found.calibrated >= 15
    assert len(set(CASES) & set(found.cases)) >= 0.8 * len(CASES)
    assert found.checked == 5


@pytest.mark.slow
def test_five_hundred_random_graphs() -> None:
    found = sweep(500, 0)
    assert found.compared.wrong == []
    assert found.calibrated >= 0.8 * 0.88 * 500  # 12 % are edge cases on purpose
    assert set(CASES) <= set(found.cases)
    assert found.evaluated >= 80


@pytest.mark.parametrize("name", TRAINED[:2])
def test_trained_networks(name: str) -> None:
    program = neurocompile.compile(CHECKPOINTS / f"{name}.pt")
    assert held(program, example(program)).compared["spikes"] > 50_000


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED[2:])
def test_all_trained_networks(name: str) -> None:
    program = neurocompile.compile(CHECKPOINTS / f"{name}.pt")
    held(program, example(program))


@pytest.mark.parametrize("target", ["loihi", "loihi2", "nc1", "anp-i"])
def test_other_chips(target: str) -> None:
    """Shifts towards zero, currents that wrap once, exponents of weights."""
    program = neurocompile.compile(CHECKPOINTS / "digits.pt", target=target)
    held(program, example(program))


def test_what_a_host_computes_in_turns_and_in_a_loop(tmp_path: Path) -> None:
    neurocompile.save(mixed(), tmp_path / "m.pt", in_torch_layout(given()), layout="TN")
    program = neurocompile.compile(tmp_path / "m.pt")
    found = held(program, given(seed=3))
    assert all(rate > 0 for rate in found.fired)
    wanted = RealExecutor(program).run(given(seed=3))
    reals = OnnxExecutor(program, arithmetic="reals").run(given(seed=3))
    assert {name: int((reals.spikes[name] != s).sum()) for name, s in wanted.spikes.items()} == dict.fromkeys(
        wanted.spikes, 0
    )
    np.testing.assert_allclose(reals.outputs["output"], wanted.outputs["output"], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "part"), [("fsvae", "sample"), pytest.param("sddpm-tsm", "denoiser", marks=pytest.mark.slow)]
)
def test_trained_generators(name: str, part: str) -> None:
    """Host regions of trained networks: in loops, over time, and many of them; gains of single steps."""
    program = compiled(GENERATORS[name].parts()[part])
    held(program, example(program))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, network in ZOO.items() if network.size == "small"])
def test_small_networks_of_the_zoo(name: str) -> None:
    network = ZOO[name]
    module, inputs = network.synthetic(0, 2)
    model = lowered(network, module, inputs)
    program = compile_graph(model.graph, "generic", network.timesteps, Options(), example=model.example)
    held(program, example(program))


@neurocompile.host
class Squash(nn.Module):
    """What no chip computes, step by step."""

    def forward(self, x_seq: Tensor) -> Tensor:
        return torch.tanh(x_seq) / 3


class Squashed(nn.Module):
    """The host's numbers are read over time."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = layer.Linear(5, 40, step_mode="m"), neuron.LIFNode(step_mode="m", v_threshold=0.3)
        self.out, self.squash = layer.Linear(40, 7, step_mode="m"), Squash()

    def forward(self, x_seq: Tensor) -> Tensor:
        squashed: Tensor = self.squash(self.out(self.lif(self.fc(x_seq))))
        return squashed.mean(0)


def test_real_numbers_are_read_over_time_in_one_order(tmp_path: Path) -> None:
    """Sums of them are rounded: each executor has to add one step after the other, however many samples there are."""
    torch.manual_seed(0)
    x = torch.rand(23, 9, 5)
    neurocompile.save(Squashed().eval(), tmp_path / "m.pt", x, layout="TN")
    program = neurocompile.compile(tmp_path / "m.pt")
    (region,) = program.integer.hosts.values()
    assert (region.timed, region.read) == (True, "mean")
    inputs = {"x_seq": x.transpose(0, 1).numpy().astype(np.float64)}
    found = held(program, inputs)
    assert found.fired[0] > 0.1
    whole = IntegerExecutor(program).run(inputs).outputs
    alone = IntegerExecutor(program).run({name: v[4:5] for name, v in inputs.items()}).outputs
    for name, values in whole.items():
        np.testing.assert_array_equal(values[4:5], alone[name])


def test_what_is_read_of_a_sample_does_not_depend_on_the_others() -> None:
    r = np.random.default_rng(2)
    weights, values = r.normal(size=29), r.integers(-(2**20), 2**20, (64, 29, 4, 3)).astype(np.float64)
    for how in (Output("weighted", weights=weights), Output("mean"), Output("sum")):
        for x in (values, values / 3):
            whole = read_out(how, x)
            each = np.concatenate([read_out(how, x[k : k + 1]) for k in range(64)])
            np.testing.assert_array_equal(whole, each)


def test_reals_fire_as_the_folded_graph_does() -> None:
    """In float32: nearly every spike, and outputs to its precision where all agree."""
    program = neurocompile.compile(CHECKPOINTS / "digits.pt")
    inputs = example(program, 8)
    wanted = RealExecutor(program).run(inputs)
    for form in ("scan", "step"):
        told = OnnxExecutor(program, form, "reals").run(inputs)
        for name, spikes in wanted.spikes.items():
            assert (told.spikes[name] != spikes).mean() < 1e-4, name
        np.testing.assert_allclose(told.outputs["output"], wanted.outputs["output"], atol=1e-3)


RULES = {
    "floor": ("rounding", "_floor", lambda self, value, divisor: self._node("Div", value, divisor)),
    "registers": ("overflow", "_kept", lambda self, value, how, least, most: value),
    "reset": ("reset", "_after", lambda self, h, spikes, fires: h),
    "deaf and silent": ("wait", "_not_zero", lambda self, v: self._node("Greater", v, self._number(0))),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_broken_is_found(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, name, other = RULES[rule]
    monkeypatch.setattr(f"neurocompile.backends.onnx.functions._Body.{name}", other)
    found = Compared()
    for seed in range(40):
        drawn = random_integer_network(random.Random(seed), 200, 20_000)
        program, inputs = of_drawn(drawn)
        compare(program, inputs, found, [("scan", "int")], drawn.known)
        if found.mismatches:
            return
    pytest.fail("nothing differs")


def test_more_samples_than_run_at_once() -> None:
    drawn = random_integer_network(random.Random(3), 200, 20_000)
    program, inputs = of_drawn(drawn)
    many = {name: np.concatenate([x] * 12) for name, x in inputs.items()}
    wanted = IntegerExecutor(program, reference=True).run(many, membranes=True)
    told = OnnxExecutor(program).run(many, membranes=True)
    for name, v in wanted.potentials.items():
        np.testing.assert_array_equal(told.potentials[name], v)


def test_a_rereading_that_differs_is_told() -> None:
    """What the sweep says of other opsets and other evaluators is not always nothing."""
    drawn = random_integer_network(random.Random(0), 200, 20_000)
    program, inputs = of_drawn(drawn)
    found = Sweep()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tests.backends.onnx.sweep.rerun", lambda model, inputs, calls=[]: _other(calls, model, inputs))
        reread(program, inputs, found)
    assert found.compared.mismatches > 0


def _other(calls: list[int], model: Any, inputs: Any) -> list[Any]:
    from tests.backends.onnx.against import rerun

    calls.append(1)
    return [value + (len(calls) > 1) for value in rerun(model, inputs)]


def test_data_of_validate(tmp_path: Path) -> None:
    """What validate gives: real numbers of any kind, also outside the range of the inputs."""
    program = neurocompile.compile(CHECKPOINTS / "digits.pt")
    inputs = {name: 3 * x - 1 for name, x in example(program).items()}
    assert IntegerExecutor(program).run(inputs).clipped > 0
    held(program, Data(inputs, None, "outside").inputs)


def test_a_padding_as_large_as_the_kernel() -> None:
    """ONNX Runtime refuses such pools (dilated ones, and those that round sizes up): they are padded before."""
    r = np.random.default_rng(0)
    x = r.integers(0, 2, (5, 6, 2, 9)).astype(np.float64)
    nodes = [
        Node("x", Input((2, 9), "spikes", low=0, high=1)),
        Node("max", MaxPool((2,), (2,), ((1, 2),), (2,)), ("x",)),
        Node("conv", Conv(r.normal(size=(3, 2, 2)), None, (1,), ((0, 0),), (1,)), ("max",)),
        Node("n", Neuron(np.asarray(0.8)), ("conv",)),
        Node("output", Output(), ("n",)),
    ]
    program = compile_graph(Graph(nodes), "generic", 6, Options(), calibration={"x": x})
    assert program.integer.of(MaxPool)
    assert held(program, {"x": x}).fired[0] > 0.02
