"""ONNX: the host regions of a program, as files that ONNX Runtime runs."""

from neurocompile.backends.onnx.session import HostSession, sessions

__all__ = ["HostSession", "sessions"]
