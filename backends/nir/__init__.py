"""A Program as a ``.nir`` file: what NIR can say of its folded graph, as all readers take it (docs/nir.md)."""

from neurocompile.backends.nir.file import nir_files

__all__ = ["nir_files"]
