"""What hardware fired, as files have it (docs/recordings.md), and brought into the program's steps and neurons."""

from neurocompile.recordings.addresses import neurons_of
from neurocompile.recordings.alignment import Align, Aligned, Alignment, LayerAlignment, align
from neurocompile.recordings.arrays import arrays_found
from neurocompile.recordings.base import UNITS_S, Events, Found, Hints, Reader, Recorded, TimeUnit
from neurocompile.recordings.damage import Damage, damage_of
from neurocompile.recordings.distance import Distance, distance_of
from neurocompile.recordings.outputs import Counted, Said, counted, decisions, said
from neurocompile.recordings.reading import read_recordings
from neurocompile.recordings.steps import Rows, Timing, rows_of
from neurocompile.recordings.sure import Choice

__all__ = [
    "UNITS_S",
    "Align",
    "Aligned",
    "Alignment",
    "Choice",
    "Counted",
    "Damage",
    "Distance",
    "Events",
    "Found",
    "Hints",
    "LayerAlignment",
    "Reader",
    "Recorded",
    "Rows",
    "Said",
    "TimeUnit",
    "Timing",
    "align",
    "arrays_found",
    "counted",
    "damage_of",
    "decisions",
    "distance_of",
    "neurons_of",
    "read_recordings",
    "rows_of",
    "said",
]
