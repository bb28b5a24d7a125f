"""Files that hold anything, writers that are killed, and writers that race: what users have is safe from all of it."""
