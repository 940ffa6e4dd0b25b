"""Diffusion models: what draws pictures from text states, part by part."""
