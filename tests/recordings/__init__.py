"""Recordings: their files, how they are brought into place, and what is measured of them."""
