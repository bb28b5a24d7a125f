"""When things happen: in clock cycles for nc1."""
