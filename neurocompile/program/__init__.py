"""A Program: a network compiled for one target, as a folder that holds its reals, its integers and how they relate."""

from neurocompile.program.folder import is_program, load_program, program_from
from neurocompile.program.program import FORMAT_VERSION, Program, check_free

__all__ = ["FORMAT_VERSION", "Program", "check_free", "is_program", "load_program", "program_from"]
