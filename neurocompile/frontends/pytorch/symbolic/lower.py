"""A traced torch graph becomes a graph of the IR."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import layer as sj_layer
from torch import fx, nn

from neurocompile.errors import Problem, UnsupportedModel
from neurocompile.frontends.pytorch.axes import Axes, features
from neurocompile.frontends.pytorch.onhost import is_host
from neurocompile.frontends.pytorch.symbolic.containers import (
    feedback,
    multi_step,
    recurrent,
    seq_to_ann,
    step_mode_container,
    t_last,
)
from neurocompile.frontends.pytorch.symbolic.functional import (
    f_adaptive_avg_pool,
    f_avg_pool,
    f_batch_norm,
    f_conv,
    f_conv_transpose,
    f_dropout,
    f_interpolate,
    f_linear,
    f_max_pool,
)
from neurocompile.frontends.pytorch.symbolic.host import (
    HOST_FUNCTIONS,
    HOST_METHODS,
    HOST_MODULES,
    host_call,
    host_module,
)
from neurocompile.frontends.pytorch.symbolic.layers import (
    adaptive_avg_pool,
    avg_pool,
    batch_norm,
    conv,
    conv_transpose,
    linear,
    max_pool,
    readout,
    spiking_neuron,
    tdbn,
    upsample,
    voting,
)
from neurocompile.frontends.pytorch.symbolic.lowering import (
    Build,
    Handler,
    HostCall,
    Lowering,
    Tables,
    Value,
    flat,
    unsupported,
)
from neurocompile.frontends.pytorch.symbolic.neurons import NEURONS, READOUTS
from neurocompile.frontends.pytorch.symbolic.tensors import (
    add,
    cat,
    div,
    getitem,
    identity,
    identity_module,
    mean_over,
    movedim,
    mul,
    neg,
    permute,
    repeat,
    reshape_call,
    reshape_module,
    stack,
    sub,
    sum_over,
    temporal_gain,
    transpose,
)
from neurocompile.frontends.pytorch.symbolic.trace import is_leaf
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import LINEAR_OPS, Input, Integrator, MaxPool, Output, Read
from neurocompile.vocabulary.feedback import Feedback
from neurocompile.vocabulary.temporal import TemporalGain
from neurocompile.vocabulary.versions import classes

__all__ = ["FUNCTIONS", "METHODS", "lower", "unsupported_modules"]


def lower(
    traced: fx.GraphModule,
    inputs: dict[str, torch.Tensor],
    axes: Mapping[str, Axes],
    timesteps: int,
    *,
    loop: bool,
    read: Read | None,
    carries: str = "real",
) -> tuple[Graph, tuple[Axes, ...], dict[str, HostCall]]:
    """The graph of a traced, prepared module, the axes of what its forward returns, and the calls that became regions.

    Args:
        traced: from :func:`neurocompile.frontends.pytorch.trace.trace_module`.
        inputs: a float64 example for each argument of forward.
        axes: the names of the axes of each input.
        timesteps: the number of steps T.
        loop: whether forward computes one step and is called T times.
        read: how outputs that still have time are read; None for the mean.
        carries: "real", or "spikes" if the inputs are 0 or 1.

    Raises:
        UnsupportedModel: with everything in the model that cannot be lowered exactly.
    """
    build = Build(timesteps)
    values = []
    for name, tensor in inputs.items():
        shape = features(axes[name], tensor.shape)
        build.emit(name, Input(shape, "spikes" if carries == "spikes" else "real"))
        values.append(Value(name, axes[name], tensor))
    lowering = Lowering(build, traced, "", loop, _TABLES)
    results = [
        lowering.settled(v) if isinstance(v, Value) and v.node not in build.hosts else v
        for v in flat(lowering.run(values))
    ]
    if not build.problems:
        for number, result in enumerate(results):
            _emit_output(build, result, "output" if number == 0 else f"output.{number + 1}", read)
    for node in build.nodes.values():
        if isinstance(node.op, Output) and node.op.read.startswith("step"):
            fix = "only the last step, [-1], can be read, or all that were stacked again"
            build.problems.append(Problem(f"it reads {node.op.read} alone", node.name, fix=fix))
    if build.problems:
        raise UnsupportedModel(build.problems)
    _drop_unread(build)
    wanted = {source for node in build.nodes.values() for source in node.inputs}
    given = {source.source for region in build.hosts.values() for source in region.reads if source.kind == "input"}
    nodes = [node for node in build.nodes.values() if node.name in wanted or node.name not in given]
    return Graph(nodes, build.hosts.values()), tuple(value.axes for value in results), build.host_calls


def _drop_unread(build: Build) -> None:
    """Leave out layers without state that nothing reads: those of all steps but one of a loop over time."""
    while True:
        wanted = {source for node in build.nodes.values() for source in node.inputs}
        unread = [
            n.name for n in build.nodes.values() if isinstance(n.op, (*LINEAR_OPS, MaxPool)) and n.name not in wanted
        ]
        if not unread:
            return
        for name in unread:
            del build.nodes[name]


def _emit_output(build: Build, value: Any, name: str, read: Read | None) -> None:
    if not isinstance(value, Value):
        build.problems.append(Problem("forward returns something that is not computed from its input", name))
        return
    node = value.node
    region = build.hosts.get(node)
    if region is not None and not region.output and not (value.read or "").startswith("step"):
        build.hosts[node] = replace(region, output=name, read=value.read or read or "mean")
        return
    if region is not None:
        build.feed(node)
    if name in build.nodes or name in build.hosts:
        what, fix = "a layer cannot be called so: a chip's files name outputs and layers alike", "name it otherwise"
        build.problems.append(Problem(what, name, fix=fix))
        return
    if not isinstance(build.nodes[node].op, Integrator):
        node = build.emit(f"{name}.integrator", Integrator(), node)
    build.emit(name, Output(value.read or read or "mean"), node)


_MODULES: dict[type, Handler] = {
    nn.Linear: linear,
    nn.Conv1d: conv,
    nn.Conv2d: conv,
    nn.Conv3d: conv,
    nn.ConvTranspose1d: conv_transpose,
    nn.ConvTranspose2d: conv_transpose,
    nn.ConvTranspose3d: conv_transpose,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.BatchNorm3d: batch_norm,
    sj_layer.ThresholdDependentBatchNorm1d: tdbn,
    sj_layer.ThresholdDependentBatchNorm2d: tdbn,
    sj_layer.ThresholdDependentBatchNorm3d: tdbn,
    nn.AvgPool1d: avg_pool,
    nn.AvgPool2d: avg_pool,
    nn.AvgPool3d: avg_pool,
    nn.MaxPool1d: max_pool,
    nn.MaxPool2d: max_pool,
    nn.MaxPool3d: max_pool,
    nn.AdaptiveAvgPool1d: adaptive_avg_pool,
    nn.AdaptiveAvgPool2d: adaptive_avg_pool,
    nn.AdaptiveAvgPool3d: adaptive_avg_pool,
    nn.Upsample: upsample,
    nn.UpsamplingNearest2d: upsample,
    sj_layer.VotingLayer: voting,
    nn.Flatten: reshape_module,
    nn.Unflatten: reshape_module,
    nn.Identity: identity_module,
    nn.Dropout: identity_module,
    nn.Dropout1d: identity_module,
    nn.Dropout2d: identity_module,
    nn.Dropout3d: identity_module,
    nn.AlphaDropout: identity_module,
    sj_layer.Dropout: identity_module,
    sj_layer.Dropout2d: identity_module,
    sj_layer.MultiStepContainer: multi_step,
    sj_layer.SeqToANNContainer: seq_to_ann,
    **dict.fromkeys(classes(sj_layer, "TLastMultiStepContainer", "TLastSeqToANNContainer"), t_last),
    sj_layer.StepModeContainer: step_mode_container,
    sj_layer.ElementWiseRecurrentContainer: recurrent,
    sj_layer.LinearRecurrentContainer: recurrent,
    **dict.fromkeys(NEURONS, spiking_neuron),
    **dict.fromkeys(READOUTS, readout),
    **dict.fromkeys(HOST_MODULES, host_module),
    Feedback: feedback,
    TemporalGain: temporal_gain,
}

FUNCTIONS: dict[Callable[..., Any], Handler] = {
    F.linear: f_linear,
    F.conv1d: f_conv,
    F.conv2d: f_conv,
    F.conv3d: f_conv,
    F.conv_transpose1d: f_conv_transpose,
    F.conv_transpose2d: f_conv_transpose,
    F.conv_transpose3d: f_conv_transpose,
    F.batch_norm: f_batch_norm,
    F.avg_pool1d: f_avg_pool,
    F.avg_pool2d: f_avg_pool,
    F.avg_pool3d: f_avg_pool,
    F.max_pool1d: f_max_pool,
    F.max_pool2d: f_max_pool,
    F.max_pool3d: f_max_pool,
    torch.max_pool1d: f_max_pool,
    torch.max_pool2d: f_max_pool,
    torch.max_pool3d: f_max_pool,
    F.adaptive_avg_pool1d: f_adaptive_avg_pool,
    F.adaptive_avg_pool2d: f_adaptive_avg_pool,
    F.adaptive_avg_pool3d: f_adaptive_avg_pool,
    F.interpolate: f_interpolate,
    F.upsample: f_interpolate,
    F.dropout: f_dropout,
    F.dropout2d: f_dropout,
    F.dropout3d: f_dropout,
    torch.flatten: reshape_call,
    torch.reshape: reshape_call,
    torch.unsqueeze: reshape_call,
    torch.squeeze: reshape_call,
    torch.unflatten: reshape_call,
    torch.permute: permute,
    torch.transpose: transpose,
    torch.movedim: movedim,
    torch.cat: cat,
    torch.concat: cat,
    torch.stack: stack,
    torch.add: add,
    operator.add: add,
    operator.iadd: add,
    torch.sub: sub,
    operator.sub: sub,
    operator.isub: sub,
    torch.mul: mul,
    operator.mul: mul,
    operator.imul: mul,
    torch.div: div,
    operator.truediv: div,
    operator.itruediv: div,
    operator.neg: neg,
    torch.mean: mean_over,
    torch.sum: sum_over,
    operator.getitem: getitem,
}

METHODS: dict[str, Handler] = {
    **dict.fromkeys(
        ("flatten", "reshape", "view", "unflatten", "squeeze", "unsqueeze", "squeeze_", "unsqueeze_"), reshape_call
    ),
    **dict.fromkeys(("contiguous", "clone", "detach", "float", "double", "to", "type_as", "cpu"), identity),
    **dict.fromkeys(("size", "dim", "numel"), lambda low, *args, **kwargs: low.result),
    "permute": permute,
    "transpose": transpose,
    "movedim": movedim,
    "repeat": repeat,
    "expand": repeat,
    "add": add,
    "add_": add,
    "sub": sub,
    "mul": mul,
    "div": div,
    "mean": mean_over,
    "sum": sum_over,
}

FUNCTIONS |= {f: host_call(f, f.__name__) for f in HOST_FUNCTIONS}
METHODS |= {name: host_call(getattr(torch.Tensor, name), name) for name in HOST_METHODS}

_TABLES = Tables(_MODULES, FUNCTIONS, METHODS, registered=spiking_neuron, host=host_module, is_host=is_host)


def unsupported_modules(model: nn.Module, prefix: str = "") -> list[Problem]:
    """Every layer and neuron of a model that nothing lowers, found without running it."""
    problems = []
    for name, child in model.named_children():
        path = f"{prefix}{name}"
        if not is_leaf(child):
            problems += unsupported_modules(child, f"{path}.")
        elif _TABLES.of_module(child) is None:
            refused = unsupported(child)
            problems.append(Problem(refused.what, f"{path} ({type(child).__name__})", fix=refused.fix))
    return problems
