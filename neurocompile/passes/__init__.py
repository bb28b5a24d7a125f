"""Graph to graph: each pass in a file of its own, run in an explicit order."""

from neurocompile.passes.base import Pass, PassFailed, run_passes
from neurocompile.passes.common_threshold import CommonThreshold
from neurocompile.passes.fold_mpbn import FoldMpbn
from neurocompile.passes.fold_scale import FoldScale
from neurocompile.passes.host_currents import HostCurrents
from neurocompile.passes.or_neurons import OrNeurons
from neurocompile.passes.quantize_inputs import QuantizeInputs
from neurocompile.passes.synapses import Synapses
from neurocompile.passes.unit_amplitude import UnitAmplitude

__all__ = [
    "REAL_PASSES",
    "CommonThreshold",
    "FoldMpbn",
    "FoldScale",
    "HostCurrents",
    "OrNeurons",
    "Pass",
    "PassFailed",
    "QuantizeInputs",
    "Synapses",
    "UnitAmplitude",
    "run_passes",
]

REAL_PASSES: tuple[Pass, ...] = (FoldMpbn(), UnitAmplitude(), FoldScale())
"""What every target's compilation starts with; exact, and the same for all targets."""
