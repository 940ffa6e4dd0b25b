"""Captioners (`roles.Captioner`), one file per model family."""
