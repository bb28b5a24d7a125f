"""What a frontend gives: a model out of a file or a live object, and what runs its source for reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from neurocompile.errors import Problem, UsageError
from neurocompile.ir.graph import Graph
from neurocompile.ir.ops import Array, Neuron, Read
from neurocompile.ir.trace import Trace
from neurocompile.typed import Count, Positive, Steps, Typed

__all__ = ["Carries", "Frontend", "Judged", "Layout", "Model", "Reading", "Settings"]

Carries = Literal["real", "spikes"]
NirReset = Literal["hard", "hard-late", "soft", "soft-late", "none"]
NirFire = Literal["gt", "ge"]
NirSpikes = Literal["one", "many"]
NirDecay = Literal["euler", "exp"]
NirGain = Literal["file", "one", "norm"]
NirStart = Literal["zero", "leak", "reset"]
Layout = Literal["TN", "NT", "N..T", "NCT..", "fold", "loop", "N"]


@runtime_checkable
class Model(Protocol):
    """A network as its source has it, ready to be compiled, and an executor: its source can be run for reference.

    ``input_shapes`` are without time and batch, ``timesteps`` is T; ``example`` holds a few samples ``[n, ...]`` or
    ``[n, T, ...]`` for each input, if the source brings any; ``notes`` are what its owner should know. One whose source
    leaves its meaning open may have a ``reading`` besides (:attr:`Reading.said`), which programs keep.
    """

    timesteps: int
    input_shapes: dict[str, tuple[int, ...]]
    example: dict[str, Array]
    notes: list[str]

    @property
    def name(self) -> str:
        """What runs the source, and in which numbers."""

    @property
    def graph(self) -> Graph:
        """The network."""

    def run(self, inputs: Mapping[str, Array], *, membranes: bool = False) -> Trace:
        """Run the source itself, not the graph, in float64 from fresh state, on ``inputs[name][N, T, ...]``.

        ``membranes``: whether these are wanted, too, where the source lets them be seen.
        """


@dataclass(frozen=True, kw_only=True)
class Reading(Typed):
    """What a .nir file leaves open (docs/nir.md); None: what the dialect has, or the file lets be seen.

    Attributes:
        dialect: of the program that wrote the file: "snntorch", "norse", "sinabs", ..., or "text".
        dt: of a step, in the file's unit of time.
        reset: "hard", "hard-late", "soft", "soft-late" or "none".
        fire: above the threshold ("gt"), or from it on ("ge").
        spikes: "one" a step, or "many".
        decay: "euler" or "exp".
        gain: of inputs: as the "file" says, "one", or "norm" (1 - decay).
        start: of membranes: "zero", v_leak ("leak") or v_reset ("reset").
    """

    dialect: str | None = None
    dt: Positive | None = None
    reset: NirReset | None = None
    fire: NirFire | None = None
    spikes: NirSpikes | None = None
    decay: NirDecay | None = None
    gain: NirGain | None = None
    start: NirStart | None = None

    @property
    def said(self) -> dict[str, Any]:
        """What of it was told."""
        return {each.name: value for each in fields(Reading) if (value := getattr(self, each.name)) is not None}


@dataclass(frozen=True, kw_only=True)
class Settings(Reading):
    """What a user may say about a model; None: what its source says, or what the frontend finds out.

    Attributes:
        input_shape: without batch and time; by name where there are several.
        timesteps: T.
        layout: how forward takes time and batch.
        readout: how an output that still has time is read; None: its mean.
        carries: "spikes" if the inputs are 0 or 1.
        arch: ``package.module:factory``, which makes the module that a file of weights belongs to.
        trust: read anything, which runs whatever code the file holds.
        otherwise: the input shape and T for a source that does not say them, where the user gave none.
        recording: what the network of a .nir file fired where it was made (npz, or NIR's NIRGraphData), with what went
            in: the dialect that fires so is chosen.

    Raises:
        UsageError: for a layout, a readout or something carried that is none.
    """

    input_shape: tuple[Count, ...] | Mapping[str, tuple[int, ...]] | None = None
    timesteps: Steps | None = None
    layout: Layout | None = None
    readout: Read | None = None
    carries: Carries | None = None
    arch: str | None = None
    trust: bool = False
    otherwise: tuple[tuple[int, ...], int] | None = None
    recording: Path | Mapping[str, Array] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.readout == "weighted":
            fix = "name one, or leave it out; which weights, only a module says"
            allowed = ", ".join(read for read in get_args(Read) if read != "weighted")
            raise UsageError(Problem("readout cannot be this", "readout", repr(self.readout), allowed, fix))


@dataclass(frozen=True)
class Judged:
    """What a source is made of, and all that is known to be in the way, without a proof that it does the same.

    Attributes:
        nodes: what the source calls its parts, and what each of them is.
        graph: of all that can be lowered, with ordinary neurons where a layer cannot; None where there is none.
        alone: neurons of a source that cannot be put together, by name, with their shapes; to be judged each by itself.
        problems: of the source.
        notes: how it was taken.
    """

    nodes: Mapping[str, str]
    graph: Graph | None = None
    alone: Mapping[str, tuple[Neuron, tuple[int, ...]]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, graph: Graph) -> Judged:
        """Of a source that could be lowered whole: its graph's nodes."""
        return cls({node.name: type(node.op).__name__ for node in graph}, graph)


@dataclass(frozen=True)
class Frontend:
    """One kind of source.

    Attributes:
        recognizes: whether the content of a file (or a folder) is of this kind; the path exists, its name says nothing.
        load: the model in it.
        takes: whether a live object is of this kind; None: it takes none.
        from_live: the model that a live object is; a few samples for each input may show what these are.
        judge: everything in a file, with what is wrong with it; None: what ``load`` says.
    """

    recognizes: Callable[[Path], bool]
    load: Callable[[Path, Settings], Model]
    takes: Callable[[Any], bool] | None = None
    from_live: Callable[[Any, Settings, Mapping[str, Array] | None], Model] | None = None
    judge: Callable[[Path, Settings], Judged] | None = None
