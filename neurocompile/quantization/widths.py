"""How many bits a weight has, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import Problem, UsageError
from neurocompile.ir.form import SynapticForm
from neurocompile.keys import nearest

__all__ = ["Bits", "Widths", "check_widths", "widths_of"]

Bits = int | Mapping[str, int]
"""Of a weight, sign included: of all, or by layer."""


@dataclass(frozen=True)
class Widths:
    """``usual`` bits, but for the layers (of neurons, by their names in synaptic form) that ``of`` names."""

    usual: int
    of: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> int:
        return self.of.get(layer, self.usual)


def widths_of(bits: Bits, usual: int, form: SynapticForm) -> Widths:
    """The widths that a user chose.

    Args:
        bits: of all layers; or by the name of a layer of neurons, or of what has its weights ("conv1"): all weights
            that meet in a neuron have its scale, and so its width.
        usual: of layers that ``bits`` does not name.
        form: of the network; its layers are named by their neurons.

    Raises:
        UsageError: with every name that is none of the network's, and every layer that was given two widths.
    """
    if isinstance(bits, int):
        return Widths(bits)
    known = {name: name for name in form.layers}
    known |= {each.name: name for name, layer in form.layers.items() for each in layer.synapses}
    problems, found, told = [], dict[str, int](), dict[str, str]()
    for name, width in bits.items():
        if name not in known:
            what = "the network has no such layer"
            near = nearest(name, known)
            fix = f"did you mean {near}?" if near else "name layers as the model does"
            problems.append(Problem(what, "--bits", name, ", ".join(_named(form)), fix))
            continue
        if not isinstance(width, int) or isinstance(width, bool):
            problems.append(Problem("a width is a whole number", "--bits", f"{name}={width!r}", fix="2 to 16"))
            continue
        layer = known[name]
        if found.setdefault(layer, width) != width:
            what = f"{told[layer]} and {name} meet in one layer, {layer}, whose weights have one scale"
            problems.append(Problem(what, "--bits", f"{found[layer]} and {width}", "one width", "give both the same"))
        told[layer] = name
    if problems:
        raise UsageError(problems)
    return Widths(usual, found)


def _named(form: SynapticForm) -> Iterator[str]:
    """What a user would call each layer: by its first weights."""
    return (layer.synapses[0].name if layer.synapses else name for name, layer in form.layers.items())


def check_widths(widths: Widths, arithmetic: Arithmetic) -> None:
    """Refuse widths that the target does not have, all at once.

    Raises:
        UsageError: if there are any.
    """
    least, most = arithmetic.weight_bits_min, arithmetic.weight_bits_max
    what, limit, fix = "the target has no weights of this width", f"{least} to {most}", "choose one that it has"
    asked = {"": widths.usual, **widths.of}
    problems = [
        Problem(what, "--bits", f"{name}={bits}" if name else str(bits), limit, fix)
        for name, bits in asked.items()
        if not least <= bits <= most
    ]
    if problems:
        raise UsageError(problems)
