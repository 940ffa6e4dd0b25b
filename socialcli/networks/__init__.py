"""Our own torch networks for checkpoints no library loads, differentiable in their input."""
