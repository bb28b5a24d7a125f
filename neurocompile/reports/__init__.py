"""Every result as a dataclass, picklable, with units in its names; one writer for JSON, one for text.

What a clock reports is in :mod:`neurocompile.simulator.timing.report`, a bill in :mod:`neurocompile.simulator.energy`:
with those who make them.
"""

from neurocompile.reports.base import Report
from neurocompile.reports.plain import plain

__all__ = ["Report", "plain"]
