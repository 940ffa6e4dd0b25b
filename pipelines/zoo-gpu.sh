#!/usr/bin/env bash
# The generative miniatures (autoencoder, captioner, UNet, ControlNet, SSR-Encoder, IP-Adapter,
# InteractDiffusion) in ten minutes of one GPU, and then their measures. Run it again where it was
# stopped: it goes on from there.
#
#   pipelines/zoo-gpu.sh                              ten minutes on CUDA, into zoo-gpu/
#   pipelines/zoo-gpu.sh --minutes 0.2 --device cpu   does everything work?
#   pipelines/zoo-gpu.sh --help
set -euo pipefail
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}  # the cores draw scenes
exec "${PYTHON:-python}" -m socialcli.miniature.zoo.gpu "$@"
