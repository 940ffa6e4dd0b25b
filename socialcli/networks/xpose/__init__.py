"""X-Pose, file by file: Swin, deformable attention, encoder, decoder, the whole, checkpoints."""
