"""Random graphs through every executor, each against every other: what disagrees is shrunk and kept (docs/fuzzing.md).

``tape.py`` (what is drawn, and drawn otherwise from a place on), ``cases.py`` (a recipe becomes a graph, a program and
inputs), ``executors.py`` (the table: who runs a case, and what it is held against), ``alike.py`` (real networks: exact,
but for ties), ``faithful.py`` (integers against reals), ``files.py`` and ``chips.py`` (executors that are files, and
other programs), ``reach.py`` and ``guide.py`` (what was reached, and what to draw next), ``shrink.py``, ``plain.py``
(a case as a small file), ``fuzzing.py`` (the run), ``found/`` (what was found once).
"""
