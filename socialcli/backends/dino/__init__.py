"""What a picture looks like, in one vector that knows nothing of words (DINO)."""
