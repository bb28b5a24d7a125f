"""Files of other frameworks, read and held against what these fire: ``python -m benchmarks.nir``."""
