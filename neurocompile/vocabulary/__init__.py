"""Torch modules that users write networks with: feedback, gains of steps, readouts, the papers' neurons."""
