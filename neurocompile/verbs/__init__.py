"""What each command does, for the shell, for Python and for tests: a typed request in, a report out."""
