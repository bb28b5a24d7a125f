"""``neurocompile.compile``: a model as a Program in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from neurocompile.compiler import Encode, Options, compile_graph
from neurocompile.data import Data
from neurocompile.errors import Problem, UsageError
from neurocompile.ir.graph import Graph
from neurocompile.program import Program
from neurocompile.quantization import Bits, Scales
from neurocompile.typed import Count
from neurocompile.verbs.given import Inputs, SourceOptions, check_carried, data_of, model_of

if TYPE_CHECKING:
    from neurocompile.frontends import Model
    from neurocompile.verbs.given import Source

__all__ = ["CompileRequest", "calibration_of", "compile", "compiled"]


@dataclass(frozen=True, kw_only=True)
class CompileRequest(SourceOptions):
    """How a model is compiled.

    Attributes:
        model: a file that :func:`neurocompile.save` or torch.save wrote; or a live module in eval mode.
        target: a name from ``neurocompile targets``.
        bits: of a weight, 2 to 16, or by layer (layers that are not named have the target's); None: the target's.
        per_channel: one weight scale for each output channel, or one for each layer.
        scale: how weight scales are chosen.
        input_bits: of a real-valued input.
        calibrate: samples that choose ranges; None: the model's own.
        chips: how many chips it may take.
        encode: how real-valued inputs reach a Loihi: as "graded" spikes, or turned into spikes on the "host"; None:
            graded, where the chip has such spikes.
    """

    model: Source
    target: str = "generic"
    bits: Bits | None = None
    per_channel: bool = True
    scale: Scales = "auto"
    input_bits: int = 8
    calibrate: Inputs | None = None
    chips: Count = 1
    encode: Encode | None = None


def compile(request: CompileRequest) -> Program:
    """Compile a model for a target.

    Raises:
        UnsupportedModel, DoesNotFit, BadInput, UsageError: see :mod:`neurocompile.errors`.
    """
    model = model_of(request.model, request, request.calibrate)
    return compiled(request, model, calibration_of(request, model))


def calibration_of(request: CompileRequest, model: Model) -> Data | None:
    """The samples that were given to choose ranges, if any.

    Raises:
        BadInput: if they are not what the model takes.
    """
    if request.calibrate is None:
        return None
    samples = data_of(request.calibrate, model.graph.given_inputs, model.timesteps, lines=model.graph.lines)
    check_carried(model.graph, samples)
    return samples


def compiled(
    request: CompileRequest, model: Model, samples: Data | None, *, plain_weights: bool = False,
    after: Callable[[str, Graph], None] | None = None, check: bool = True,
) -> Program:  # fmt: skip
    """A model that was loaded, compiled as :func:`neurocompile.compiler.compile_graph` says."""
    if plain_weights and isinstance(request.bits, Mapping):
        what, fix = "the weights of a .net file have one width", "give --bits one number, or leave out --emit netx"
        raise UsageError(Problem(what, "--bits", ", ".join(request.bits), "one width", fix))
    options = Options(
        request.bits, request.per_channel, request.scale, request.input_bits, request.chips, request.encode,
        plain_weights,
    )  # fmt: skip
    seen = None if samples is None else samples.inputs
    program = compile_graph(
        model.graph, request.target, model.timesteps, options, calibration=seen, example=model.example, after=after,
        check=check,
    )  # fmt: skip
    reading = getattr(model, "reading", None)
    return replace(program, settings={**program.settings, "reading": reading}) if reading else program
