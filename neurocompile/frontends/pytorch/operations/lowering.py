"""The state of one lowering, and what a host computes in it."""

# mypy: disable-error-code="arg-type,index,misc,no-any-return"
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch

from neurocompile.errors import Problem
from neurocompile.frontends.pytorch.axes import Axes
from neurocompile.frontends.pytorch.places import problem_at
from neurocompile.frontends.pytorch.rolling import Roller
from neurocompile.frontends.pytorch.terms import NotAlike, Terms
from neurocompile.frontends.pytorch.trace import Call, Trace, references
from neurocompile.frontends.pytorch.values import Value

Ints = Sequence[int]
# Above this many numbers a pooling with uneven windows is not written out as a matrix.
LARGEST_MATRIX = 1 << 24
_LAYERS = frozenset({"convolve", "mm", "addmm", "bmm", "mv", "max_pool", "avg_pool"})


class Lowering:
    """The state of one lowering: the terms, the roller, what could not be lowered.

    ``call`` is what is being lowered; ``spikes`` tells for each comparison the value that it was.
    """

    def __init__(
        self, trace: Trace, timesteps: int, neurons: Mapping[str, Any], regions: Mapping[str, Any],
        examples: Callable[[Sequence[int]], Mapping[int, torch.Tensor]] | None, handled: Collection[str],
    ) -> None:  # fmt: skip
        self.trace = trace
        self.timesteps = timesteps
        self.batch = trace.batch
        self.terms = Terms(timesteps)
        self.roller = Roller(self.terms, trace.remembers)
        self.neurons = neurons
        self.regions = regions
        self.examples = examples
        self.handled = handled
        self.problems: list[Problem] = []
        self.call: Call = Call("", (), -1, ())
        self.spikes: dict[int, tuple[int, Axes, int]] = {}
        self.module_classes: Mapping[str, str] = {}
        self.stepped_inputs = ""
        self.counts: dict[str, int] = {}
        self.host_calls: dict[int, Any] = {}
        self.values: dict[int, Any] = {}
        self._examples: Mapping[int, torch.Tensor] = {}
        self.layer_modules: set[str] = set()
        self.neuron_modules: set[str] = set()

    def report(self, what: str, module: str, line: str, fix: str, name: str = "") -> None:
        """Note a problem, once."""
        times = self._calls_a_step(module) if self.module_classes.get(module, "").startswith("spikingjelly.") else 1
        if times > 1:
            what = f"it is called {times} times a step, and these share its state: {what}"
            fix = "give each place a neuron of its own"
        problem = problem_at(what, module, line, fix, self.module_classes, name)
        if problem not in self.problems:
            self.problems.append(problem)

    def _calls_a_step(self, module: str) -> int:
        """How often a neuron without loops of its own compares its membrane at each step."""
        each = Counter(call.site for call in self.trace.calls if call.module == module and call.operation == "ge")
        return max(each.values(), default=0) // self.timesteps

    def report_unlike(self, error: NotAlike) -> None:
        """Note steps that could not be rolled up."""
        error = self.roller.explained(error)
        place = error.term.place if error.term is not None else None
        self.report(error.what, place.module if place else "", place.line if place else "", error.fix)

    def note(self, call: Call, value: Any) -> None:
        """Remember which value of the trace a comparison was."""
        if call.operation in _LAYERS and isinstance(value, Value):
            self.layer_modules.add(call.module)
        if isinstance(value, Value):
            for step, term in enumerate(value.steps):
                if term.kind == "cmp":
                    self.neuron_modules.add(term.place.module)
                if term.kind in ("cmp", "mul", "registered") and term.uid not in self.spikes:
                    self.spikes[term.uid] = (call.out, value.axes, step if value.timed else -1)

    def value(self, number: int) -> Any:
        """What became of a value of the trace."""
        return self.values.get(number)

    def example(self, number: int) -> torch.Tensor:
        """A value of the trace on the example."""
        if number not in self._examples:
            assert self.examples is not None
            wanted = {
                n
                for call in self.trace.calls
                if call.leaf or call.operation not in self.handled
                for n in references(call.args)
            }
            wanted = {n for n in (*wanted, number) if n not in self.trace.constants}
            self._examples = self.examples(sorted(wanted))
        return self._examples[number]

    # -- what is no operation of the IR --------------------------------------------------------------------------------

    def leaf(self, call: Call, args: Any) -> Any:
        """A module that is one whole: a registered neuron, or what a host computes."""
        positional, named = args
        if call.leaf in self.neurons:
            return self.neurons[call.leaf](self, call, *positional, **named)
        return self.regions[call.leaf](self, call, positional, named)
