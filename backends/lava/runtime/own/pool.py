"""Max-pooling of spikes: OR over each window."""

from collections import deque

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class MaxPool(AbstractProcess):
    """The largest spike of each window of a (width, height, channel) layer, `wait` steps later.

    Windows are `kernel` wide, in steps of `stride`, with gaps of `dilation`; `padding` is ((before, after), ...) for
    width and height.
    """

    def __init__(self, *, shape_in, shape_out, kernel, stride, padding, dilation, wait=0):
        super().__init__(kernel=kernel, stride=stride, padding=padding, dilation=dilation, wait=wait)
        self.s_in = InPort(shape=shape_in)
        self.s_out = OutPort(shape=shape_out)


@implements(proc=MaxPool, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyMaxPool(PyLoihiProcessModel):
    """One pass a step."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.held = deque()

    def run_spk(self):
        """One step of Lava."""
        params = self.proc_params
        self.held.append(self.s_in.recv())
        if len(self.held) <= params["wait"]:
            self.s_out.send(np.zeros(self.s_out.shape, np.int32))
            return
        lowest = np.iinfo(np.int32).min
        x = np.pad(self.held.popleft(), (*params["padding"], (0, 0)), constant_values=lowest)
        (kw, kh), (sw, sh), (dw, dh) = params["kernel"], params["stride"], params["dilation"]
        width, height, _ = self.s_out.shape
        best = np.full(self.s_out.shape, lowest, np.int32)
        for i in range(kw):
            for j in range(kh):
                across = slice(i * dw, i * dw + (width - 1) * sw + 1, sw)
                down = slice(j * dh, j * dh + (height - 1) * sh + 1, sh)
                best = np.maximum(best, x[across, down])
        self.s_out.send(best)
