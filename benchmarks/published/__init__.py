"""Networks that others published, as they published them: how much a user adds, and whether every spike agrees."""
