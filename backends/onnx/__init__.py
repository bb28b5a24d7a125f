"""A Program as ONNX files, and ONNX Runtime as what runs them (docs/onnx.md)."""

from neurocompile.backends.onnx.files import onnx_files

__all__ = ["onnx_files"]
