"""A Program for Loihi as a ``.net`` file, the HDF5 description that lava-dl's netx loads into Lava.

lava-dl reads it with::

    net = lava.lib.dl.netx.hdf5.Network("model.net", reset_interval=T, reset_offset=1, input_message_bits=BITS)

``reset_offset=1`` matters: layer k (counted from 1) is cleared at step k + 1, when its first data arrive, so that the
bias that it integrated before has no effect. ``T`` is the number of steps of a sample; BITS is 0 for spikes, and for
graded inputs what the file's attribute ``input_message_bits`` says. Layer k answers k steps late. A readout that never
fires is read from its membrane ``net.layers[-1].neuron.v``.

Samples may follow one another without a gap, unless a layer is recurrent: netx clears membranes, not spikes that are on
their way back, so that such a network starts anew for each sample.

``run_netx.py`` does this in lava-dl's own Python; ``fetch_netx.py`` brings lava-dl's loader there.
"""

from neurocompile.backends.netx.file import net_files, problems_with, write_net

__all__ = ["net_files", "problems_with", "write_net"]
