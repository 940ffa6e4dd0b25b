"""Adapters: what lets a diffusion model see pictures or faces beside the text."""
