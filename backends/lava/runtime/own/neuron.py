"""A neuron with the whole neuron equation: its own threshold and decay, any reset, signed spikes, refractory steps."""

import equation
import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Neuron(AbstractProcess):
    """Neurons of `shape` with `parameters` as `equation.step` takes them.

    They are at rest and silent up to step `start - 1`, and start anew every `period` steps from step `start` on.
    `written` [*shape, steps] is what the host adds to their current, in steps of the membrane (None: nothing).
    """

    def __init__(self, *, shape, parameters, start, period, written=None):
        super().__init__(shape=shape, parameters=parameters, start=start, period=period, written=written)
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.u = Var(shape=shape, init=0)
        self.v = Var(shape=shape, init=0)


@implements(proc=Neuron, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNeuron(PyLoihiProcessModel):
    """The equation, step by step."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    u: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def run_spk(self):
        """One step of Lava."""
        a_in = self.a_in.recv()
        params = self.proc_params
        elapsed = self.time_step - params["start"]
        if elapsed < 0:
            self.s_out.send(np.zeros(a_in.shape, np.int32))
            return
        if elapsed % params["period"] == 0:
            self.state = equation.at_rest(params["parameters"], a_in.shape)
        current = a_in.astype(np.int64) << 6  # as Loihi does
        if params["written"] is not None:
            current += params["written"][..., self.time_step - 1]
        spikes = equation.step(self.state, current, params["parameters"])
        self.u[:], self.v[:] = self.state["u"], self.state["v"]
        self.s_out.send(spikes.astype(np.int32))
