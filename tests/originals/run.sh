#!/bin/sh
# Compare the original groundingdino-py and segment-anything with what the toolkit runs by default.
#
# Usage: tests/originals/run.sh [FOLDER]
#
# They need a torchvision that matches torch, which the default install goes without, so they get
# an environment of their own in FOLDER (default: build/originals): about 5.5 GB where the newest
# torch brings CUDA, two to three minutes the first time, seconds afterwards.
set -eu
cd "$(dirname "$0")/../.."
folder=${1:-build/originals}
python=${PYTHON:-python3}

if [ ! -f "$folder/ready" ]; then
    mkdir -p "$(dirname "$folder")"
    "$python" -m venv "$folder"
    # torch and torchvision in one command, so that the resolver picks two that match.
    "$folder/bin/pip" install --quiet torch torchvision
    "$folder/bin/pip" install --quiet "transformers>=5.0" safetensors pillow numpy pycocotools pytest \
        groundingdino-py==0.4.0 segment-anything==1.0
    touch "$folder/ready"
fi
# One thread: two that spin beside another process make this ten times slower.
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} "$folder/bin/python" -m pytest -q -m originals \
    --confcutdir=tests/originals tests/originals
