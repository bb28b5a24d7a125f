"""What changes shapes, or moves numbers: sizes that are computed, reshapes, parts of values, zeros around them."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from neurocompile.frontends.onnx.folding import MOVES, folded
from neurocompile.frontends.onnx.tensors import FLOATS
from neurocompile.frontends.onnx.values import Attributes, No, Values, needed, stem_of
from neurocompile.ir.ops import Array, Concat, Conv, Linear, Reshape, SumPool, Upsample

__all__ = ["MOVING", "axes_of", "fold"]

_MOST_MOVED = 1 << 20
"""Numbers of a value of which some are picked, or put elsewhere."""
_MOST_WEIGHTS = 1 << 22
"""Weights (ones and zeros) of a layer that does so."""


def fold(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    """A node that reads constants alone."""
    inputs = [to.constant(node, k) for k in range(len(node.input))]
    if node.op_type == "Cast" and attributes.get("to") in FLOATS:  # all that is real has 64 bits here
        to.constants[node.output[0]] = needed(inputs[0], "numbers").astype(np.float64)
        return
    to.constants |= zip(node.output, folded(node, inputs, to.opsets), strict=True)


def _sizes(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    """The sizes of a value, with -1 for the batch: what a Reshape that keeps it is given."""
    shape = np.array([-1, *to.shapes[to.value(node.input[0])]])
    to.constants[node.output[0]] = shape[attributes.get("start", 0) : attributes.get("end", len(shape))]


def _reshape(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    source = to.value(node.input[0])
    size = prod(to.shapes[source])
    if node.op_type == "Flatten":
        if attributes.get("axis", 1) != 1:
            raise No("it flattens the batch, too")
        to.given(node.output[0], stem_of(node), Reshape((size,)), source)
        return
    batch, *wanted = (int(n) for n in needed(to.constant(node, 1), "shape"))
    own = to.shapes[source]
    wanted = [own[k] if n == 0 and not attributes.get("allowzero", 0) else n for k, n in enumerate(wanted)]
    if wanted.count(-1) == 1:
        wanted[wanted.index(-1)] = size // max(1, -prod(wanted))
    if batch not in (-1, 0, 1) or prod(wanted) != size or min(wanted, default=1) < 1:
        raise No(f"it does not keep the batch: {own} becomes {(batch, *wanted)}")
    to.given(node.output[0], stem_of(node), Reshape(tuple(wanted)), source)


def axes_of(to: Values, node: onnx.NodeProto, attributes: Attributes) -> list[int]:
    """The axes that a node names, as it does (below 0: from the last one on); none where it names none."""
    given = attributes["axes"] if "axes" in attributes else to.constant(node, 1)
    return [] if given is None else [int(axis) for axis in np.ravel(given)]


def _squeezed(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    source = to.value(node.input[0])
    shape = list(to.shapes[source])
    more = node.op_type == "Unsqueeze"
    named = axes_of(to, node, attributes)
    if not named:
        raise No("it says no axes, and the batch may be 1")
    rank = len(shape) + 1 + (len(named) if more else 0)
    axes = sorted({axis + rank * (axis < 0) for axis in named})
    if any(not 1 <= axis < rank for axis in axes):
        raise No(f"it goes over the axes {axes} of {rank}, the batch among them")
    for axis in axes if more else reversed(axes):
        if more:
            shape.insert(axis - 1, 1)
        elif shape.pop(axis - 1) != 1:
            raise No(f"axis {axis} of {to.shapes[source]} is not 1")
    to.given(node.output[0], stem_of(node), Reshape(tuple(shape)), source)


def _padded(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Zeros around an image: windows of one pixel that reach beyond it."""
    source = to.value(node.input[0])
    rank = len(to.shapes[source]) + 1
    pads = np.asarray(attributes["pads"] if "pads" in attributes else needed(to.constant(node, 1), "pads"), np.int64)
    value = to.constant(node, 2) if len(node.input) > 2 else attributes.get("value", 0.0)
    if attributes.get("mode", b"constant") != b"constant" or np.any(value):
        raise No("it pads with something else than zeros")
    axes = needed(to.constant(node, 3), "axes") if len(node.input) > 3 and node.input[3] else np.arange(rank)
    both = np.zeros((2, rank), np.int64)
    both[:, axes] = pads.reshape(2, len(axes))
    if both[:, :2].any() or both.min() < 0 or rank not in (3, 4):
        raise No(f"it pads by {both.ravel().tolist()}: the axes behind the channels, of one or two, can grow")
    ones = (1,) * (rank - 2)
    padding = tuple((int(a), int(b)) for a, b in zip(*both[:, 2:]))
    to.given(node.output[0], stem_of(node), SumPool(ones, ones, padding), source)


def _resized(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Every pixel several times: what the nearest one gives, in images that are a whole number of times as large."""
    source = to.value(node.input[0])
    shape = to.shapes[source]
    old = node.op_type == "Upsample" or to.version < 11  # by scales alone, each pixel as often as they say
    scales = to.constant(node, 1 if old else 2)
    sizes = None if old else to.constant(node, 3)
    if sizes is not None and sizes.size:
        scales = np.asarray([1.0, *np.ravel(sizes)[1:] / np.asarray(shape)])
    if scales is None and "scales" in attributes:
        scales = np.asarray(attributes["scales"])
    scales = np.ravel(needed(scales, "scales"))
    if attributes.get("mode", b"nearest") != b"nearest":
        raise No(f"it is {attributes['mode'].decode()}: only the nearest pixel is known")
    if "axes" in attributes or len(scales) != len(shape) + 1 or len(shape) not in (2, 3):
        raise No(f"its scales are {scales[:8].tolist()}, for the axes of {('N', *shape)}")
    if np.any(scales != np.rint(scales)) or np.any(scales < 1) or np.any(scales[:2] != 1):
        raise No(f"its scales are {scales.tolist()}: whole numbers from 1 on are known, and 1 for batch and channels")
    where = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    nearest = attributes.get("nearest_mode", b"round_prefer_floor").decode()
    halves = where in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric") and nearest.startswith("round")
    if not old and not halves and (where, nearest) != ("asymmetric", "floor"):
        raise No(
            f"its pixels are found by {where}, {nearest}: known are half_pixel with rounding, asymmetric with floor"
        )
    to.given(node.output[0], stem_of(node), Upsample(tuple(int(n) for n in scales[2:])), source)


def _moved(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    source = to.value(node.input[0])
    shape = to.shapes[source]
    size = prod(shape)
    if size > _MOST_MOVED:
        raise No(f"it moves {size:,} numbers a sample, and {_MOST_MOVED:,} are the most")
    others = [to.constant(node, k) for k in range(1, len(node.input))]
    places = np.arange(2 * size).reshape(2, *shape)
    for name, moved in zip(node.output, folded(node, [places, *others], to.opsets), strict=True):
        if moved.shape[:1] != (2,) or moved.ndim < 2 or not moved.size or (moved[1] - moved[0] != size).any():
            raise No("it moves numbers from one sample to another, or leaves nothing")
        stem = stem_of(node) if len(node.output) == 1 else f"{stem_of(node)}.{list(node.output).index(name) + 1}"
        to.names[name] = _picked(to, source, moved[0], stem)


def _picked(to: Values, source: str, places: Array, stem: str) -> str:
    """What stands at these places of a value: whole channels, or any numbers of it."""
    channels, *size = to.shapes[source]
    pixels = prod(size)
    first = places.reshape(len(places), -1)[:, 0]
    if places.size == pixels * channels and (places.ravel() == np.arange(places.size)).all():
        return to.node(stem, Reshape(places.shape), source)
    whole = (first[:, None] + np.arange(pixels)).reshape(-1, *size)
    if size and places.shape == whole.shape and not (first % pixels).any() and (places == whole).all():
        weight = (first[:, None] // pixels == np.arange(channels)).astype(np.float64)
        one = (1,) * len(size)
        return to.node(stem, Conv(weight.reshape(*weight.shape, *one), None, one, ((0, 0),) * len(size), one), source)
    if places.size * pixels * channels > _MOST_WEIGHTS:
        said = f"it picks {places.size:,} of {pixels * channels:,} numbers one by one"
        raise No(f"{said}: {places.size * pixels * channels:,} weights, and {_MOST_WEIGHTS:,} are the most")
    flat = to.node(f"{stem}.flat", Reshape((channels * pixels,)), source) if size else source
    weight = (places.ravel()[:, None] == np.arange(channels * pixels)).astype(np.float64)
    vector = places.ndim == 1
    picked = to.node(stem if vector else f"{stem}.picked", Linear(weight, None, weight != 0), flat)
    return picked if vector else to.node(stem, Reshape(places.shape), picked)


def _concat(to: Values, node: onnx.NodeProto, attributes: Attributes) -> None:
    sources = [to.value(name) for name in node.input]
    axis = attributes["axis"]
    axis = axis + len(to.shapes[sources[0]]) + 1 if axis < 0 else axis
    if axis < 1:
        raise No("it joins samples")
    to.given(node.output[0], stem_of(node), Concat(axis - 1), *sources)


MOVING = {
    "Shape": _sizes,
    **dict.fromkeys(("Flatten", "Reshape"), _reshape),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _squeezed),
    "Pad": _padded,
    **dict.fromkeys(("Resize", "Upsample"), _resized),
    "Concat": _concat,
    **dict.fromkeys(sorted(MOVES), _moved),
}
