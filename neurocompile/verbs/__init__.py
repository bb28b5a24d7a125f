"""What each command does, for the shell, for Python and for tests: a typed request in, a report out.

A request is a frozen dataclass with a field for each option of the command line. Each verb has a module of its name,
which is loaded when it is needed; ``progress`` is how it tells a person who waits.
"""
