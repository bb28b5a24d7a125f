"""nc1 in Verilog: the design, what its memories hold for a network, and a testbench that checks itself."""

from neurocompile.backends.rtl.bundle import bundle_files

__all__ = ["bundle_files"]
