"""Faults that are planted on purpose, and what ``neurocompile.validate`` says of them: ``python -m tests.faults``.

* ``networks.py``: healthy networks, small ones of torch and the digits of the demo; ``healthy.py``: hundreds more;
* ``chip.py``: the neuron equation once more, a layer a cell, whose rules a fault can change;
* ``faults.py``: the faults that the vocabulary of causes has names for, ``outside.py``: those that it has not;
* ``lava.py``, ``rtl.py``: faults in the files of a bundle, in the words of a chip's memories;
* ``kinds.py``: all of them, where each is planted, and how that is validated;
* ``cases.py``: what has to be said of a case, and whether it was said; ``run.py``: all cases, counted.

What is right is found by running the network, with the fault and without, and by nothing of what is tested.
"""
