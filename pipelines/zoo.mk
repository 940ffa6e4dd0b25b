# The miniatures from nothing: `make zoo`, or of this file alone `zoo`, `zoo-ROLE` with PYTHON=.
# Each role is its own command, can be stopped at any moment and goes on where it was; with -j2 two
# learn at once. `zoo-check` measures the committed weights again and fails when a card says
# something else.
#   make -f pipelines/zoo.mk zoo zoo-check PYTHON=python \
#       FLAGS='--weights zoo-short/weights --seconds 1 --batch 2 --scenes 8' WORK=zoo-short
# does everything once, in minutes, and leaves the published weights alone; ROLES='face pose' does
# these two.

PYTHON ?= python
WORK ?= zoo-work
# Of every role's command (python -m socialcli.miniature.zoo --help).
FLAGS ?=
ROLES ?= face identity pose gaze ground segment clip caption interaction dino vae decoder diffusion ssr \
  controlnet ip_adapter interactdiffusion
CARDS := $(wildcard $(dir $(lastword $(MAKEFILE_LIST)))../socialcli/miniature/weights/*/*.card.json)
PUBLISHED := $(filter $(ROLES),$(patsubst %.card.json,%,$(notdir $(CARDS))))

.PHONY: zoo zoo-check $(ROLES:%=zoo-%) $(ROLES:%=zoo-check-%)

zoo: $(ROLES:%=zoo-%)
zoo-check: $(PUBLISHED:%=zoo-check-%)
	@$(PYTHON) -m socialcli.miniature.zoo table $(FLAGS)

$(ROLES:%=zoo-%): zoo-%:
	OMP_NUM_THREADS=1 $(PYTHON) -m socialcli.miniature.zoo $* --work $(WORK) $(FLAGS)

# Who begins with whose weights, or is measured by them.
zoo-caption: zoo-clip zoo-vae
zoo-decoder: zoo-vae
zoo-diffusion: zoo-vae zoo-caption zoo-ground zoo-pose
zoo-controlnet: zoo-diffusion zoo-pose
zoo-ssr: zoo-clip zoo-diffusion zoo-face zoo-identity zoo-ground
zoo-ip_adapter: zoo-clip zoo-diffusion zoo-face zoo-identity zoo-ground
zoo-interactdiffusion: zoo-diffusion zoo-interaction zoo-ground

$(ROLES:%=zoo-check-%): zoo-check-%:
	OMP_NUM_THREADS=1 $(PYTHON) -m socialcli.miniature.zoo $* --check $(FLAGS)
