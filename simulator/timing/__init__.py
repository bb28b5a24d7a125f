"""When things happen: in clock cycles on nc1, in picoseconds on asynchronous chips."""
