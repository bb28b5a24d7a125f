"""Small networks as people write them: each comes out exact, or is refused with the line to change."""
