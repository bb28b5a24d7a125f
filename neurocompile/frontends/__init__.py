"""What reads the files of others into a graph: one package a source."""
