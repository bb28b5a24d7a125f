"""Architectures of SANA-FE's, a simulator of asynchronous chips: from its YAML to a chip's TOML file.

``architecture.py`` reads what the YAML says and refuses what no file of a target can say; ``chip.py`` writes the file.
"""

from neurocompile.targets.sanafe.architecture import Architecture, Note, architecture_of
from neurocompile.targets.sanafe.chip import missing_of, toml_for

__all__ = ["Architecture", "Note", "architecture_of", "missing_of", "toml_for"]
