"""Decoders: what makes pictures of latents in place of a diffusion model's own decoder."""
