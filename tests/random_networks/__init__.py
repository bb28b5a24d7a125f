"""Random networks for every suite, from one source of choices.

``choices.py`` is what all is drawn from: a random.Random, seeded or Hypothesis's, or numpy's. Upon it stand two levels.
Torch modules, for what reads users' code: ``spellings.py`` (weights, and the ways to write a layer), ``neurons.py``,
``blocks.py`` (one strategy a kind of layer), ``modules.py`` (whole networks, calibrated). Graphs, for what reads these:
``graphs.py`` has one strategy a kind of operation, and each wrapper says what its suite wants of them:

* ``engine.py``: everything that an integer graph may hold, in any arithmetic; and small ones, untuned and without
  gains, for the mapper and for single layers;
* ``nc1.py``: what nc1 has, and chips of random sizes;
* ``loihi.py``: real graphs, deep, most of whose neurons Loihi has;
* ``netx.py``: chains that a ``.net`` file can hold.

What is drawn, and in which order, is what a seed means: figures in the docs are those of seeds.
"""
