"""Pictures and texts in one space (CLIP), for scores and for SSR-Encoder's image tower."""
