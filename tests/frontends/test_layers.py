"""Every layer and every spelling of it alone, against torch in float64 at 1e-12: one test a spelling and setting."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from neurocompile.frontends.pytorch.model import TorchModel
from neurocompile.ir import interpret
from neurocompile.passes import REAL_PASSES, run_passes
from tests.random_networks.spellings import Constants, Draw, Function, SeqToAnn, Weighted, fill

TOLERANCE = 1e-12
Make = Callable[[], nn.Module]
CASES: dict[str, tuple[Make, tuple[int, ...]]] = {}


def case(name: str, shape: tuple[int, ...], make: Make) -> None:
    assert name not in CASES, name
    CASES[name] = make, shape


def function(name: str, shape: tuple[int, ...], call: Callable[[Tensor], Any]) -> None:
    case(name, shape, lambda: Function(call))


# -- linear and convolutions: the module, SpikingJelly's module, the function ------------------------------------------

for bias in (True, False):
    case(f"nn.Linear bias={bias}", (5,), lambda bias=bias: nn.Linear(5, 3, bias=bias))
    case(f"layer.Linear bias={bias}", (5,), lambda bias=bias: layer.Linear(5, 3, bias=bias))
    case(f"F.linear bias={bias}", (5,), lambda bias=bias: Weighted(F.linear, nn.Linear(5, 3, bias=bias)))

CONV: list[dict[str, Any]] = [
    {},
    {"stride": 2},
    {"stride": 3, "padding": 1},
    {"padding": 1},
    {"padding": 2},
    {"padding": "valid"},
    {"padding": "same"},
    {"padding": "same", "dilation": 2},
    {"dilation": 2},
    {"dilation": 2, "padding": 2, "stride": 2},
    {"groups": 2},
    {"groups": 4, "padding": 1},
    {"groups": 2, "stride": 2, "dilation": 2, "padding": 3},
]
SIZES = {1: (4, 9), 2: (4, 9, 7)}


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "plain"


for rank, kernels in ((1, (2, 3)), (2, (1, 3, (2, 3), (4, 1)))):
    convolve = F.conv1d if rank == 1 else F.conv2d
    for kernel in kernels:
        for settings in CONV:
            made = {"kernel_size": kernel, **settings}
            tail = f"{rank}d kernel={kernel}, {_settings(settings)}"
            for home, name in ((nn, "nn"), (layer, "layer")):
                if home is layer and kernel != 3:
                    continue
                case(
                    f"{name}.Conv{tail}",
                    SIZES[rank],
                    lambda home=home, rank=rank, made=made: getattr(home, f"Conv{rank}d")(4, 8, **made),
                )
            case(
                f"F.conv{tail}",
                SIZES[rank],
                lambda rank=rank, made=made, settings=settings, convolve=convolve: Weighted(
                    convolve, getattr(nn, f"Conv{rank}d")(4, 8, **made), **settings
                ),
            )

for name, settings in {
    "stride and padding by axis": {"stride": (1, 2), "padding": (2, 0), "kernel_size": (3, 2)},
    "same, even by one axis, dilated by the other": {"padding": "same", "kernel_size": (2, 3), "dilation": (1, 2)},
    "same, even and dilated": {"padding": "same", "kernel_size": (4, 2), "dilation": (1, 3)},
    "no bias, depthwise": {"bias": False, "groups": 4, "kernel_size": 3},
    "padding as a one-tuple": {"padding": (1, 1), "stride": (2, 2), "kernel_size": (3, 3)},
}.items():
    case(f"nn.Conv2d {name}", SIZES[2], lambda settings=settings: nn.Conv2d(4, 4, **settings))

TRANSPOSE: list[dict[str, Any]] = [
    {},
    {"stride": 2},
    {"stride": 2, "padding": 1},
    {"stride": 2, "padding": 1, "output_padding": 1},
    {"stride": 3, "output_padding": 2},
    {"groups": 2, "stride": 2},
    {"dilation": 2, "padding": 2},
    {"dilation": 3, "output_padding": 1, "stride": 2, "groups": 2},
    {"stride": 2, "output_padding": 1, "padding": 0, "bias": False},
]
for rank in (1, 2):
    small = (4, 4) if rank == 1 else (4, 4, 3)
    for kernel in (2, 3):
        for settings in TRANSPOSE:
            made = {"kernel_size": kernel, **settings}
            tail = f"{rank}d kernel={kernel}, {_settings(settings)}"
            for home, name in ((nn, "nn"), (layer, "layer")):
                case(
                    f"{name}.ConvTranspose{tail}",
                    small,
                    lambda home=home, rank=rank, made=made: getattr(home, f"ConvTranspose{rank}d")(4, 6, **made),
                )
            without_bias = {key: value for key, value in settings.items() if key != "bias"}
            case(
                f"F.conv_transpose{tail}",
                small,
                lambda rank=rank, made=made, without_bias=without_bias: Weighted(
                    F.conv_transpose1d if rank == 1 else F.conv_transpose2d,
                    getattr(nn, f"ConvTranspose{rank}d")(4, 6, **made),
                    **without_bias,
                ),
            )
case(
    "nn.ConvTranspose2d by axis",
    (2, 3, 4),
    lambda: nn.ConvTranspose2d(2, 3, (2, 3), stride=(2, 1), padding=(0, 1), output_padding=(1, 0)),
)

# -- batch norm --------------------------------------------------------------------------------------------------------

for rank, shape in ((1, (3,)), (1, (3, 5)), (2, (3, 4, 5)), (3, (3, 2, 3, 2))):
    for affine in (True, False):
        tail = f"BatchNorm{rank}d of {list(shape)}, affine={affine}"
        case(f"nn.{tail}", shape, lambda rank=rank, affine=affine: getattr(nn, f"BatchNorm{rank}d")(3, affine=affine))
        if shape != (3, 5):
            case(
                f"layer.{tail}",
                shape,
                lambda rank=rank, affine=affine: getattr(layer, f"BatchNorm{rank}d")(3, eps=0.1, affine=affine),
            )


class BatchNormCall(nn.Module):
    def __init__(self, affine: bool) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        bn = self.bn
        return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, self.training, 0.1, bn.eps)


case("F.batch_norm", (3, 4, 5), lambda: BatchNormCall(True))
case("F.batch_norm not affine", (3, 4, 5), lambda: BatchNormCall(False))
for kernel in (2, 3):
    for padding in (0, 1, 2, "same"):
        case(
            f"BatchNorm2d before Conv2d kernel={kernel}, padding={padding}",
            (3, 5, 4),
            lambda kernel=kernel, padding=padding: nn.Sequential(
                nn.BatchNorm2d(3), nn.Conv2d(3, 2, kernel, padding=padding)
            ),
        )
case(
    "BatchNorm1d before ConvTranspose1d",
    (3, 5),
    lambda: nn.Sequential(nn.BatchNorm1d(3), nn.ConvTranspose1d(3, 2, 3, 2, 1, 1)),
)
case(
    "Conv2d, BatchNorm2d, AvgPool2d, BatchNorm2d",
    (3, 6, 6),
    lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, groups=1), nn.BatchNorm2d(4), nn.AvgPool2d(2, padding=1), nn.BatchNorm2d(4)
    ),
)

# -- pooling -----------------------------------------------------------------------------------------------------------

POOL: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 1},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 2, "padding": 1},
    {"kernel_size": 2, "ceil_mode": True},
    {"kernel_size": 3, "ceil_mode": True},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    {"kernel_size": 3, "stride": 5, "ceil_mode": True},
]
AVERAGE: list[dict[str, Any]] = [
    *POOL,
    *(
        {**settings, "count_include_pad": False}
        for settings in POOL
        if "padding" in settings or "ceil_mode" in settings
    ),
]
MAXIMUM: list[dict[str, Any]] = [
    *POOL,
    {"kernel_size": 2, "dilation": 2},
    {"kernel_size": 3, "dilation": 2, "padding": 1},
    {"kernel_size": 2, "dilation": 3, "stride": 2, "padding": 1, "ceil_mode": True},
]
OVERRIDE = [{"kernel_size": 2, "divisor_override": 3}, {"kernel_size": 3, "padding": 1, "divisor_override": 1}]
for rank in (1, 2):
    shape = (2, 8) if rank == 1 else (2, 8, 7)
    for kind, options in (("Avg", AVERAGE + (OVERRIDE if rank == 2 else [])), ("Max", MAXIMUM)):
        for settings in options:
            tail = _settings(settings)
            for home, name in ((nn, "nn"), (layer, "layer")):
                case(
                    f"{name}.{kind}Pool{rank}d {tail}",
                    shape,
                    lambda home=home, kind=kind, rank=rank, settings=settings: getattr(home, f"{kind}Pool{rank}d")(
                        **settings
                    ),
                )
            pool = getattr(F, f"{kind.lower()}_pool{rank}d")
            case(
                f"F.{kind.lower()}_pool{rank}d {tail}",
                shape,
                lambda pool=pool, settings=settings: Function(pool, **settings),
            )
function("torch.max_pool2d", (2, 6, 6), lambda x: torch.max_pool2d(x, 2))
function("F.avg_pool2d by position", (2, 6, 6), lambda x: F.avg_pool2d(x, 2, 2, 1))
function("F.max_pool2d by position", (2, 6, 6), lambda x: F.max_pool2d(x, (2, 3), (1, 2), (1, 1)))
case("nn.AvgPool2d by axis", (2, 6, 7), lambda: nn.AvgPool2d((1, 3), (2, 1), (0, 1), count_include_pad=False))
case("nn.MaxPool2d by axis", (2, 6, 7), lambda: nn.MaxPool2d((1, 3), (2, 1), (0, 1), (1, 2)))

for sizes, wanted in {
    (6,): (1, 2, 3, 4, 5, 6, 9),
    (6, 4): (1, 2, (3, 2), (4, 3), (5, 4), (None, 2), (6, 4), (7, 2)),
    (5, 5): (2, 3),
}.items():
    for output in wanted:
        rank = len(sizes)
        tail = f"{rank}d {list(sizes)} to {output}"
        for home, name in ((nn, "nn"), (layer, "layer")):
            case(
                f"{name}.AdaptiveAvgPool{tail}",
                (2, *sizes),
                lambda home=home, rank=rank, output=output: getattr(home, f"AdaptiveAvgPool{rank}d")(output),
            )
        pool = F.adaptive_avg_pool1d if rank == 1 else F.adaptive_avg_pool2d
        case(
            f"F.adaptive_avg_pool{tail}",
            (2, *sizes),
            lambda pool=pool, output=output: Function(pool, output_size=output),
        )

# -- upsampling --------------------------------------------------------------------------------------------------------

for name, settings in {
    "scale_factor=2": {"scale_factor": 2},
    "scale_factor=(1, 3)": {"scale_factor": (1, 3)},
    "size": {"size": (6, 4)},
    "mode=nearest-exact": {"scale_factor": 3, "mode": "nearest-exact"},
}.items():
    case(f"nn.Upsample {name}", (2, 3, 2), lambda settings=settings: nn.Upsample(**settings))
    case(f"layer.Upsample {name}", (2, 3, 2), lambda settings=settings: layer.Upsample(**settings))
    case(f"F.interpolate {name}", (2, 3, 2), lambda settings=settings: Function(F.interpolate, **settings))
case("nn.UpsamplingNearest2d", (2, 3, 2), lambda: nn.UpsamplingNearest2d(scale_factor=2))
case("nn.Upsample 1-d", (2, 3), lambda: nn.Upsample(scale_factor=4))
case("nn.Upsample, then pooled", (2, 3, 2), lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(3, 2, 1)))

# -- shapes, doing nothing, arithmetic ---------------------------------------------------------------------------------

IMAGE = (2, 3, 4)
case("nn.Flatten", IMAGE, nn.Flatten)
case("layer.Flatten", IMAGE, layer.Flatten)
case("nn.Flatten of places", IMAGE, lambda: nn.Flatten(2))
case("nn.Unflatten", (12,), lambda: nn.Unflatten(1, (3, 2, 2)))
case("nn.Identity", IMAGE, nn.Identity)
case("nn.Dropout", IMAGE, nn.Dropout)
case("nn.Dropout2d", IMAGE, nn.Dropout2d)
case("nn.Dropout1d", (2, 3), nn.Dropout1d)
case("nn.AlphaDropout", (5,), nn.AlphaDropout)
case("layer.Dropout", IMAGE, layer.Dropout)
case("layer.Dropout2d", IMAGE, layer.Dropout2d)
case("layer.VotingLayer", (12,), lambda: layer.VotingLayer(3))
case("layer.VotingLayer with a rest", (11,), lambda: layer.VotingLayer(3))
case(
    "nested nn.Sequential",
    IMAGE,
    lambda: nn.Sequential(nn.Sequential(), nn.Sequential(nn.Conv2d(2, 2, 1), nn.Dropout())),
)
case("parameters as constants", IMAGE, lambda: Constants(Draw(random.Random(1)), IMAGE))
for name, call in {
    "x.flatten(1)": lambda x: x.flatten(1),
    "torch.flatten": lambda x: torch.flatten(x, 1),
    "torch.flatten by name": lambda x: torch.flatten(x, start_dim=1, end_dim=2),
    "x.view": lambda x: x.view(x.shape[0], -1),
    "x.view by size": lambda x: x.view(x.size(0), 6, 4),
    "x.reshape to fixed": lambda x: x.reshape(-1, 24),
    "torch.reshape": lambda x: torch.reshape(x, (x.shape[0], 4, 6)),
    "x.unflatten": lambda x: x.unflatten(1, (2, 1)),
    "unsqueeze, squeeze": lambda x: x.unsqueeze(1).squeeze(1),
    "torch.unsqueeze": lambda x: torch.unsqueeze(x, 2).flatten(2),
    "transposed batch and back": lambda x: x.transpose(0, 1).transpose(1, 0),
    "permuted and back": lambda x: x.permute(1, 2, 3, 0).permute(3, 0, 1, 2).contiguous(),
    "x.contiguous().clone()": lambda x: x.contiguous().clone(),
    "F.dropout": lambda x: F.dropout(x, 0.3, training=False),
    "2 * x": lambda x: 2 * x,
    "x * 0.5 + 1": lambda x: x * 0.5 + 1,
    "1 - x": lambda x: 1 - x,
    "x / 3 - 0.2": lambda x: x / 3 - 0.2,
    "-x": lambda x: -x,
    "torch.add with alpha": lambda x: torch.add(x, 1.5, alpha=0.3),
    "torch.add of itself with alpha": lambda x: torch.add(x, x, alpha=0.3),
    "torch.sub of itself with alpha": lambda x: torch.sub(x, 2 * x, alpha=0.3),
    "torch.mul, torch.div": lambda x: torch.div(torch.mul(x, 3.0), 7.0),
    "x.mul.add.sub.div": lambda x: x.mul(2.0).add(1.0).sub(0.5).div(3.0),
    "x + x": lambda x: x + x,
    "x - 3 x": lambda x: x - 3 * x,
    "x.add(x, alpha)": lambda x: x.add(x, alpha=2),
    "+=": lambda x: _in_place(x),
    "constant tensor": lambda x: x * torch.tensor([0.5, 2.0], dtype=torch.float64).view(2, 1, 1),
    "number + tensor": lambda x: 0.25 + x,
    "number - tensor * number": lambda x: 4 - x * 2,
    "x.mean over places": lambda x: x.mean((2, 3)),
    "x.mean over places by name": lambda x: x.mean(dim=[-2, -1]),
    "x.mean, kept": lambda x: x.mean(dim=(2, 3), keepdim=True),
    "x.sum over places": lambda x: x.sum((-1, -2)),
    "torch.mean over places": lambda x: torch.mean(x, dim=(2, 3)),
    "torch.cat over channels": lambda x: torch.cat((x, 2 * x), 1),
    "torch.cat with itself, by name": lambda x: torch.cat([x, x, -x], dim=1),
    "torch.cat, axis from behind": lambda x: torch.cat((x, x + 1), dim=-3),
    "torch.cat over places": lambda x: torch.cat((x, 3 * x), dim=2),
    "torch.concat": lambda x: torch.concat((x, x), 1),
}.items():
    function(name, IMAGE, call)


def _in_place(x: Tensor) -> Tensor:
    y = x * 2
    y += x
    y -= 0.5
    y *= 3
    y /= 7
    return y


# -- in time -----------------------------------------------------------------------------------------------------------

STEPS = 3
READS: dict[str, Callable[[Tensor], Any]] = {
    "mean(0)": lambda x: x.mean(0),
    "mean(dim=0)": lambda x: x.mean(dim=0),
    "torch.mean": lambda x: torch.mean(x, 0),
    "sum(0)": lambda x: x.sum(0),
    "torch.sum": lambda x: torch.sum(x, dim=0),
    "[-1]": lambda x: x[-1],
    "[T - 1]": lambda x: x[STEPS - 1],
    "[-1, :]": lambda x: x[-1, :],
    "mean over time and places": lambda x: x.mean((0, 3, 4)),
    "sum over time and places": lambda x: x.sum(dim=(0, -1, -2)),
    "mean, then scaled": lambda x: x.mean(0) * 3 - 1,
    "sum, then scaled": lambda x: x.sum(0) * 3 - 1,
    "sum, then flattened": lambda x: x.sum(0).flatten(1),
    "mean of two": lambda x: x.mean(0) + (2 * x).mean(0),
    "sum of two": lambda x: x.sum(0) + (2 * x + 1).sum(0),
    "cat of two means": lambda x: torch.cat((x.mean(0), 2 * x.mean(0)), 1),
}


def _filled(make: Make) -> nn.Module:
    module = make()
    fill(module, Draw(random.Random(0)))
    return module.double().eval()


def _graphs(model: TorchModel) -> list[Any]:
    return [model.graph, run_passes(model.graph, REAL_PASSES)[0]]


def _hold(
    module: nn.Module, shape: tuple[int, ...], layout: Any, x: np.ndarray, expected: np.ndarray, read: Any
) -> None:
    model = TorchModel.from_module(module, shape, x.shape[1], layout, read)
    (name,) = model.input_shapes
    for graph in _graphs(model):
        found = interpret(graph, {name: x}, x.shape[1]).outputs["output"]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def _x(shape: tuple[int, ...], batch: int = 2, steps: int = STEPS) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, steps, *shape))


@pytest.mark.parametrize("name", CASES)
def test_one_step_at_a_time(name: str) -> None:
    make, shape = CASES[name]
    module, x = _filled(make), _x(shape)
    with torch.no_grad():
        expected = torch.stack([module(torch.from_numpy(x[:, t])) for t in range(STEPS)], dim=1).numpy()
    _hold(module, shape, "loop", x, expected, "sequence")


def _thinned() -> list[Any]:
    """A quarter of the cases; the rest is for the long run."""
    return [name if n % 4 == 0 else pytest.param(name, marks=pytest.mark.slow) for n, name in enumerate(CASES)]


@pytest.mark.parametrize("name", _thinned())
def test_over_all_steps(name: str) -> None:
    make, shape = CASES[name]
    module, x = SeqToAnn(_filled(make)), _x(shape, batch=4, steps=2)
    with torch.no_grad():
        expected = module(torch.from_numpy(x).transpose(0, 1)).transpose(0, 1).numpy()
    _hold(module.eval(), shape, "TN", x, expected, "sequence")


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("layer.")])
def test_spikingjelly_layers_in_multi_step_mode(name: str) -> None:
    make, shape = CASES[name]
    module, x = _filled(make), _x(shape)
    functional.set_step_mode(module, "m")
    with torch.no_grad():
        expected = module(torch.from_numpy(x).transpose(0, 1)).transpose(0, 1).numpy()
    _hold(module, shape, "TN", x, expected, "sequence")


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_threshold_dependent_batch_norm(rank: int) -> None:
    shape = (3, 2, 2, 2)[: rank + 1] if rank > 1 else (3,)
    for trained in (True, False):
        module = getattr(layer, f"ThresholdDependentBatchNorm{rank}d")(0.7, 1.3, 3)
        weight = module.weight.data.clone()
        fill(module, Draw(random.Random(0)))
        if not trained:
            module.weight.data = weight  # alpha * V_th, as it is initialised
        module, x = module.double().eval(), _x(shape)
        with torch.no_grad():
            expected = module(torch.from_numpy(x).transpose(0, 1)).transpose(0, 1).numpy()
        _hold(module, shape, "TN", x, expected, "sequence")


@pytest.mark.parametrize("name", READS)
def test_reading_over_time(name: str) -> None:
    module, x = Function(READS[name]).eval(), _x(IMAGE)
    expected = module(torch.from_numpy(x).transpose(0, 1)).numpy()
    _hold(module, IMAGE, "TN", x, expected, None)


@pytest.mark.parametrize("read", ["mean(0)", "sum(0)", "[-1]"])
@pytest.mark.parametrize("name", ["nn.Linear bias=True", "nn.BatchNorm1d of [3], affine=True", "2 * x", "1 - x"])
def test_layers_after_time_was_taken_out(read: str, name: str) -> None:
    make, shape = CASES[name]
    module, x = nn.Sequential(Function(READS[read]), _filled(make)).eval(), _x(shape)
    with torch.no_grad():
        expected = module(torch.from_numpy(x).transpose(0, 1)).numpy()
    _hold(module, shape, "TN", x, expected, None)


@pytest.mark.parametrize("kind", ["MultiStepContainer", "SeqToANNContainer", "StepModeContainer"])
@pytest.mark.parametrize("inner", ["nn.Conv2d", "nn.MaxPool2d", "nn.Flatten"])
def test_containers(kind: str, inner: str) -> None:
    made = {"nn.Conv2d": lambda: nn.Conv2d(2, 3, 2), "nn.MaxPool2d": lambda: nn.MaxPool2d(2), "nn.Flatten": nn.Flatten}
    part = _filled(made[inner])
    module = layer.StepModeContainer(False, "m", part) if kind == "StepModeContainer" else getattr(layer, kind)(part)
    x = _x(IMAGE)
    with torch.no_grad():
        expected = module(torch.from_numpy(x).transpose(0, 1)).transpose(0, 1).numpy()
    _hold(module.eval(), IMAGE, "TN", x, expected, "sequence")


@pytest.mark.parametrize("kind", ["TLastMultiStepContainer", "TLastSeqToANNContainer"])
def test_containers_with_time_last(kind: str) -> None:
    module = getattr(layer, kind)(_filled(lambda: nn.Conv2d(2, 3, 2)), _filled(lambda: nn.BatchNorm2d(3)))
    x = _x(IMAGE)
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(x).movedim(1, -1)).movedim(-1, 1).numpy()
    _hold(module, IMAGE, "N..T", x, expected, "sequence")
