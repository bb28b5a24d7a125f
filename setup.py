"""Builds the compiled parts of the simulators; everything else is in setup.cfg.

Without a C++ compiler the package installs without it, and simulates with NumPy. With one, a build that fails is an
installation that fails. ``NEUROCOMPILE_SANITIZE=address,undefined`` builds it with these sanitizers, for tests.
"""

import os
import shlex
import shutil
import sys
import sysconfig
from glob import glob

from setuptools import setup


def compiler():
    """The C++ compiler's command, or None."""
    named = os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++"
    found = [shlex.split(named)[0], "c++", "g++", "clang++"]
    if sys.platform == "win32":
        found.append("cl")
    return next((command for command in found if shutil.which(command)), None)


def extensions():
    """The functional engine and the timing simulators, where they can be built."""
    if compiler() is None:
        print("no C++ compiler: without compiled simulators NumPy will simulate, and nothing is timed", file=sys.stderr)
        return []
    from pybind11.setup_helpers import ParallelCompile, Pybind11Extension

    ParallelCompile(default=2).install()
    sanitizers = os.environ.get("NEUROCOMPILE_SANITIZE")
    checked = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-g", "-O1"] if sanitizers else []
    # GCC 12 takes its own AVX-512 intrinsics for uses of uninitialized values.
    quiet = ["-Wall", "-Wextra", "-Wno-maybe-uninitialized"] if sys.platform != "win32" else []
    return [
        Pybind11Extension(
            f"neurocompile.simulator.{part}._native",
            sorted(glob(os.path.join("simulator", part, "native", "*.cpp"))),
            depends=sorted(glob(os.path.join("simulator", part, "native", "*.h"))),
            cxx_std=17,
            extra_compile_args=[*quiet, f"-O{os.environ.get('NEUROCOMPILE_OPTIMIZE', '3')}", *checked],
            extra_link_args=[*checked, "-pthread"] if sys.platform != "win32" else [],
        )
        for part in ("engine", "timing")
    ]


setup(ext_modules=extensions())
