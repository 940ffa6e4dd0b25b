"""The training loop that all methods share, and what belongs to it: data, geometry, gates."""
