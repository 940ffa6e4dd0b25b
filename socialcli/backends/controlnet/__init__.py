"""ControlNets: drawings (skeletons, edges, depth) that a diffusion model follows."""
