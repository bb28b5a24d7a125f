"""What nodes compute of constants alone: exporters write the sizes of a Reshape or a Pad as such computations."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import prod

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from neurocompile.ir.ops import Array
from neurocompile.printable import first_line

__all__ = ["FOLDED", "MOVES", "folded"]

_MOST = 1 << 24
"""Numbers that such a node may give."""

FOLDED = frozenset(
    ("Identity", "Cast", "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Reshape", "Transpose", "ConstantOfShape",
     "Add", "Sub", "Mul", "Div", "Neg")
)  # fmt: skip
"""What is computed where all that a node reads is a constant."""

MOVES = frozenset(("Slice", "Split", "Transpose", "DepthToSpace", "SpaceToDepth", "Gather"))
"""What only moves numbers, or leaves some out: where each goes is told by moving their places."""

# These give as many numbers as they read, or fewer.
_NO_LARGER = frozenset(
    ("Identity", "Cast", "Unsqueeze", "Squeeze", "Concat", "Reshape", "Neg", *(MOVES - {"Gather"}))
)  # fmt: skip


def folded(
    node: onnx.NodeProto, inputs: Sequence[Array | None], opsets: Sequence[onnx.OperatorSetIdProto]
) -> list[Array]:
    """The outputs of a node that reads constants.

    Args:
        node: one of ``FOLDED``, or of ``MOVES``.
        inputs: by input; None for one that is left out.
        opsets: of the model.

    Raises:
        ValueError: if they do not fit the node, or it would give too much.
    """
    given = [each for each in inputs if each is not None]
    if node.op_type == "ConstantOfShape":
        sizes = [int(n) for n in given[0].ravel()[:32]] if given else []
        if min(sizes, default=0) < 0:
            raise ValueError("how large it is depends on how many samples there are")
        size = prod(sizes)
    elif node.op_type in _NO_LARGER:
        size = 0
    else:
        size = prod(each.size for each in given)
    if size > _MOST:
        raise ValueError(f"it could give {size:,} numbers, and {_MOST:,} are the most")
    names = [name if each is not None else "" for name, each in zip(node.input, inputs)]
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    shown = [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in dict.fromkeys(names) if name]
    told = [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in node.output]
    model = onnx.helper.make_model(onnx.helper.make_graph([alone], "folded", shown, told), opset_imports=list(opsets))
    try:
        values = {name: each for name, each in zip(names, inputs) if each is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers that overflow; what does not fit is told below
            return [np.asarray(each) for each in ReferenceEvaluator(model).run(None, values)]
    except Exception as error:  # whatever the evaluator's own code makes of constants that do not fit
        raise ValueError(f"{type(error).__name__}: {first_line(error)}") from error
