"""What hardware fired, as files have it, and as the program would have fired it."""
