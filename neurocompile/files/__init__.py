"""Every file that is read or written: opened within limits, written complete or not at all and over nothing."""

from neurocompile.files.archives import Archive
from neurocompile.files.arrays import arrays_of, pack_arrays, read_arrays
from neurocompile.files.reading import HDF5, begins_with, content_of, json_of, opened, text_of
from neurocompile.files.rows import rows_below
from neurocompile.files.writing import check_output, completed, write_file, write_folder

__all__ = [
    "HDF5",
    "Archive",
    "arrays_of",
    "begins_with",
    "check_output",
    "completed",
    "content_of",
    "json_of",
    "opened",
    "pack_arrays",
    "read_arrays",
    "rows_below",
    "text_of",
    "write_file",
    "write_folder",
]
