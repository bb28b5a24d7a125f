"""What the command line does, recorded: every word, number and file, so that two versions can be held side by side."""
