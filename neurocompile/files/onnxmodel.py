"""ONNX models as bytes: they hold all that they need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from neurocompile.errors import BadInput, Problem
from neurocompile.printable import first_line

__all__ = ["onnx_model", "parts_of"]


def onnx_model(content: bytes, where: str, fix: str, name: str = "this") -> Any:
    """A model, as it is written; nothing of it was checked but where its tensors are.

    Args:
        content: of protobuf.
        where: it came from, for messages.
        fix: what to do where it cannot be read.
        name: what messages call it.

    Raises:
        BadInput: for one that is none, or reads other files: it could come from anybody, and read any.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
        outside = [x.name for x in parts_of(model) if getattr(x, "data_location", 0) or getattr(x, "external_data", ())]
    except Exception as error:  # protobuf's: whatever a damaged file makes of it
        raise BadInput(Problem(f"{name} is no ONNX model: {first_line(error)}", where, fix=fix)) from error
    if outside:
        what = f"{'this ONNX model' if name == 'this' else name} wants to read other files; nothing was read"
        raise BadInput(Problem(what, where, ", ".join(outside[:5]), "weights in the model itself", fix))
    return model


def parts_of(message: Any) -> Iterator[Any]:
    """All messages within a model, wherever they stand: tensors, operations."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in [value] if hasattr(value, "ListFields") else value:
            if hasattr(part, "ListFields"):
                yield part
                yield from parts_of(part)
