"""The graph IR: operations, their meaning in float64, and their text."""

from neurocompile.ir.graph import Edge, Graph, InvalidGraph, Node
from neurocompile.ir.interpret import interpret
from neurocompile.ir.trace import Trace

__all__ = ["Edge", "Graph", "InvalidGraph", "Node", "Trace", "interpret"]
