"""How many cores nengo-loihi takes for the small networks, by its own builder, splitter, allocator and validation.

``python -m benchmarks.yardsticks.nengo_side [NAME ...]``, in an environment that has nengo-loihi (``make
peers-mapping``); nothing here needs the chip. Prints one JSON object a network. nengo-loihi puts one block on a core,
and its users say how an ensemble is cut into blocks. So cuts are searched: boxes of a layer's shape and runs of its
neurons, channels first and last, spikes of 16 and 32 bits, for the fewest blocks that its validation accepts.
"""

from __future__ import annotations

import heapq
import json
import logging
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

import nengo
import nengo_loihi
import numpy as np
from nengo.exceptions import BuildError, NengoException
from nengo_loihi.builder import Model
from nengo_loihi.builder.builder import ValidationLevel
from nengo_loihi.builder.validate import validate_block
from nengo_loihi.hardware.allocators import Greedy
from nengo_loihi.hardware.validate import validate_board
from nengo_loihi.neurons import LoihiSpikingRectifiedLinear

from benchmarks.yardsticks.networks import SMALL, Network, Part, shapes

COMPARTMENTS = 1024
KEPT = 4
"""So many cuts of each layer are tried together with those of the others."""
TRIED_A_LAYER = 60
TRIED_TOGETHER = 40


@dataclass(frozen=True)
class Cut:
    """How a layer is cut: blocks of ``block`` neurons of it, seen as ``shape``."""

    block: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def blocks(self) -> int:
        """How many there are."""
        return prod(-(-n // own) for n, own in zip(self.shape, self.block))


@dataclass(frozen=True)
class Options:
    """What holds for a whole network: where its channels are, and how many bits a population's spikes have."""

    last: bool
    spike_bits: int


WAYS = (Options(False, 32), Options(True, 32), Options(True, 16))
"""Spikes of 16 bits need bases that are multiples of four, for which its documentation wants channels last."""


def counted(network: Network) -> dict[str, Any]:
    """The fewest cores that were found, and what was refused on the way."""
    before = time.process_time()
    found: dict[str, Any] = {"name": network.name}
    if len(network.given) == 2:
        found["refused_as_it_is"] = _refusal(
            network, Options(False, 32), [Cut(shape, shape) for shape in shapes(network)]
        )
        network = _in_two_axes(network)
    kernels = any(part.kernel and not part.depthwise for part in network.parts)
    least = sum(next(_cuts(shape)).blocks for shape in shapes(network))
    best: dict[str, Any] | None = None
    for options in WAYS if kernels else WAYS[:1]:
        if best is not None and best["cores"] == least:  # no way has fewer
            break
        told = _fewest(network, options)
        found.setdefault("ways", []).append(told)
        if "cores" in told and (best is None or told["cores"] < best["cores"]):
            best = told
    return {**found, **(best or {"refused": found["ways"][0]["why"]}), "seconds": time.process_time() - before}


def _in_two_axes(network: Network) -> Network:
    """The same network along one axis as one along two, the first of which has one place."""
    parts = [
        replace(part, kernel=(1, *part.kernel), stride=(1, *part.stride), padding=(0, *part.padding))
        if part.kernel
        else part
        for part in network.parts
    ]
    channels, places = network.given
    return replace(network, given=(channels, 1, places), parts=tuple(parts))


def _fewest(network: Network, options: Options) -> dict[str, Any]:
    told: dict[str, Any] = {"channels": "last" if options.last else "first", "spike_bits": options.spike_bits}
    layers: list[list[Cut]] = []
    refusals: list[dict[str, int]] = []
    tried = 0
    for number, (part, shape) in enumerate(zip(network.parts, shapes(network))):
        given = (network.given, *shapes(network))[number]
        alone = replace(network, given=given, parts=(part,))
        kept: list[Cut] = []
        refused: Counter[str] = Counter()
        for count, one in enumerate(_cuts(_seen(shape, options.last))):
            if len(kept) == KEPT or count == TRIED_A_LAYER:
                break
            tried += 1
            why = _refusal(alone, options, [one])
            if why is None:
                kept.append(one)
            elif not kept:
                refused[_kind(why)] += 1
        if not kept:
            return {**told, "why": f"layer {number + 1}: {why}"}
        print(f"{network.name}, layer {number + 1}: {kept[0]} of {tried} tried", file=sys.stderr, flush=True)
        layers.append(kept)
        refusals.append(dict(refused))
    why = ""
    for attempt, cuts in enumerate(_together(layers)):
        if attempt == TRIED_TOGETHER:
            break
        tried += 1
        last = _refusal(network, options, cuts)
        if last is None:
            blocks = [list(cut.block) for cut in cuts]
            by_layer = [cut.blocks for cut in cuts]
            return {**told, "cores": sum(by_layer), "by_layer": by_layer, "blocks": blocks, "tried": tried,
                    "refusals": refusals, "refused_together": why}  # fmt: skip
        why = last
    return {**told, "why": why}


def _seen(shape: tuple[int, ...], last: bool) -> tuple[int, ...]:
    """Channels first or last."""
    return (*shape[1:], shape[0]) if last else shape


def _cuts(shape: tuple[int, ...]) -> Iterator[Cut]:
    """Boxes of a layer, and runs of its neurons, the fewest first."""
    whole = (prod(shape),)
    found = {
        Cut(block, seen)
        for seen in {shape, whole}
        for block in product(*map(_sizes, seen))
        if prod(block) <= COMPARTMENTS
    }
    yield from sorted(found, key=lambda cut: (cut.blocks, sum(cut.block), cut.block, cut.shape))


def _sizes(n: int) -> list[int]:
    return sorted({-(-n // parts) for parts in range(1, n + 1)}, reverse=True)


def _together(layers: Sequence[Sequence[Cut]]) -> Iterator[list[Cut]]:
    """One cut of each layer, the fewest blocks in all first."""
    start = (0,) * len(layers)
    queue = [(sum(cuts[0].blocks for cuts in layers), start)]
    known = {start}
    while queue:
        _, at = heapq.heappop(queue)
        yield [cuts[k] for cuts, k in zip(layers, at)]
        for axis, cuts in enumerate(layers):
            following = (*at[:axis], at[axis] + 1, *at[axis + 1 :])
            if following[axis] < len(cuts) and following not in known:
                known.add(following)
                heapq.heappush(queue, (sum(c[k].blocks for c, k in zip(layers, following)), following))


def _refusal(network: Network, options: Options, cuts: Sequence[Cut]) -> str | None:
    """Why nengo-loihi does not take the network so cut; None if it does."""
    try:
        model = _built(network, options, cuts)
        for block in model.blocks:
            try:
                validate_block(block)
            except AttributeError as error:  # its message for one refusal reads a name that is not there
                raise BuildError("compartment bases of spikes of 16 bits that are no multiples of 4") from error
            for synapse in block.synapses:
                if synapse.atom_bits_extra() > 0:
                    raise BuildError("populations of more than 32 in spikes of 16 bits: its emulator only")
        board = Greedy()(model, n_chips=64)
        validate_board(board)
        cores = sum(chip.n_cores for chip in board.chips)
        if cores != sum(cut.blocks for cut in cuts):
            raise BuildError(f"{cores} cores where {sum(cut.blocks for cut in cuts)} blocks were asked for")
    except (NengoException, AssertionError, NotImplementedError) as error:
        return f"{type(error).__name__}: {error}" if str(error) else f"{type(error).__name__}"
    return None


def _kind(why: str) -> str:
    """What a refusal is about: its text without names and numbers."""
    limit = re.search(r"(Output axons|Input axons|Total synapse bits|Number of compartments|compartment bases?)", why)
    return limit.group(1).lower() if limit else why.split("\n")[0][:100]


def _built(network: Network, options: Options, cuts: Sequence[Cut]) -> Model:
    random = np.random.default_rng(0)
    with nengo.Network(seed=0) as net:
        nengo_loihi.add_params(net)
        given = nengo.Ensemble(prod(network.given), 1, neuron_type=nengo.SpikingRectifiedLinear(), label="inputs")
        net.config[given].on_chip = False
        shape, before = network.given, given
        for number, (part, own, cut) in enumerate(zip(network.parts, shapes(network), cuts)):
            layer = nengo.Ensemble(
                prod(own), 1, neuron_type=LoihiSpikingRectifiedLinear(), gain=nengo.dists.Choice([1.0]),
                bias=nengo.dists.Choice([0.0]), label=f"layer{number + 1}",
            )  # fmt: skip
            net.config[layer].on_chip = True
            net.config[layer].block_shape = nengo_loihi.BlockShape(cut.block, cut.shape)
            transform = _transform(part, shape, options.last, random)
            feeds = nengo.Connection(before.neurons, layer.neurons, transform=transform, synapse=None)
            if isinstance(transform, nengo.Convolution):
                net.config[feeds].pop_type = options.spike_bits
            if part.recurrent:
                back = nengo.transforms.Dense((part.size, part.size), init=random.normal(0.1, 1.0, (part.size,) * 2))
                nengo.Connection(layer.neurons, layer.neurons, transform=back, synapse=None)
            shape, before = own, layer
    model = Model(dt=0.001)
    model.validation_level = ValidationLevel.NONE  # each block is validated by name, and the board behind it
    model.build(net, precompute=False)
    return model


def _transform(part: Part, given: tuple[int, ...], last: bool, random: Any) -> Any:
    if not part.kernel:
        return nengo.transforms.Dense((part.size, prod(given)), init=random.normal(0.1, 1.0, (part.size, prod(given))))
    if part.depthwise:
        return _listed(part, given, last, random)
    same = any(part.padding)
    return nengo.Convolution(
        part.size,
        nengo.transforms.ChannelShape(_seen(given, last), channels_last=last),
        kernel_size=part.kernel,
        strides=part.stride,
        padding="same" if same else "valid",
        channels_last=last,
        init=random.normal(0.1, 1.0, (*part.kernel, given[0], part.size)),
    )


def _listed(part: Part, given: tuple[int, ...], last: bool, random: Any) -> Any:
    """A convolution of each channel, of which it has none, connection by connection."""
    own = part.shape(given)
    source = np.arange(prod(given)).reshape(_seen(given, last))
    target = np.arange(prod(own)).reshape(_seen(own, last))
    if last:
        source, target = (np.moveaxis(each, -1, 0) for each in (source, target))
    weights = random.normal(0.1, 1.0, (part.size, *part.kernel))
    rows, columns, values = [], [], []
    for (channel, *place), neuron in np.ndenumerate(target):
        for tap in product(*map(range, part.kernel)):
            at = [p * step + t - pad for p, step, t, pad in zip(place, part.stride, tap, part.padding)]
            if all(0 <= a < n for a, n in zip(at, given[1:])):
                rows.append(neuron)
                columns.append(source[(channel, *at)])
                values.append(weights[(channel, *tap)])
    indices = np.stack([np.array(rows), np.array(columns)], axis=1)
    return nengo.transforms.Sparse((target.size, source.size), indices=indices, init=np.array(values))


def main() -> None:
    """Count, and print."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for network in SMALL:
        if not sys.argv[1:] or network.name in sys.argv[1:]:
            print(json.dumps({**counted(network), "version": nengo_loihi.__version__}), flush=True)


if __name__ == "__main__":
    main()
