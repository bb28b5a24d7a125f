"""What each operation of a trace means for the steps of one sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neurocompile.frontends.pytorch.operations import elementwise, layers, parts, pooling, shapes, sums, writes
from neurocompile.frontends.pytorch.operations.lowering import Lowering
from neurocompile.frontends.pytorch.operations.parts import Picked
from neurocompile.frontends.pytorch.operations.shapes import Merged

__all__ = ["HANDLERS", "Lowering", "Merged", "Picked"]

# Called with the lowering and the arguments of the operation (vocabulary.OPERATIONS).
HANDLERS: dict[str, Callable[..., Any]] = {
    **elementwise.HANDLERS,
    **layers.HANDLERS,
    **parts.HANDLERS,
    **pooling.HANDLERS,
    **shapes.HANDLERS,
    **sums.HANDLERS,
    **writes.HANDLERS,
}
