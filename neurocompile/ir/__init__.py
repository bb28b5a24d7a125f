"""The graph IR: operations, their meaning in float64, and their text."""

from neurocompile.ir.graph import Edge, Graph, InvalidGraph, Node
from neurocompile.ir.interpret import Run, interpret

__all__ = ["Edge", "Graph", "InvalidGraph", "Node", "Run", "interpret"]
