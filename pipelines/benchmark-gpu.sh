#!/usr/bin/env bash
# What only a card can show, in less than eight minutes: training and resuming on it, Stable
# Diffusion 1.5's true size (random weights) in training steps and pictures, against diffusers.
#
#   pipelines/benchmark-gpu.sh --record docs/benchmarks.json   on a card
#   pipelines/benchmark-gpu.sh --dry                           does every line work? on the processor
set -euo pipefail
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "${PYTHON:-python}" -m socialcli.benchmarks.gpu "$@"
