"""Side-by-side measurements, printed; none of them is a test."""
