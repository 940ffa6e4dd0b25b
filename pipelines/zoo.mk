# The miniatures from nothing: `make zoo`, or of this file alone `zoo`, `zoo-ROLE` with PYTHON=.
# Each role is its own command, can be stopped at any moment and goes on where it was; with -j2 two
# learn at once. `zoo-check` measures the committed weights again and fails when a card says
# something else.

PYTHON ?= python
WORK ?= zoo-work
ROLES ?= face identity pose gaze ground segment clip caption interaction dino vae diffusion ssr \
  controlnet
CARDS := $(wildcard $(dir $(lastword $(MAKEFILE_LIST)))../socialcli/miniature/weights/*/*.card.json)
PUBLISHED := $(patsubst %.card.json,%,$(notdir $(CARDS)))

.PHONY: zoo zoo-check $(ROLES:%=zoo-%) $(ROLES:%=zoo-check-%)

zoo: $(ROLES:%=zoo-%)
zoo-check: $(PUBLISHED:%=zoo-check-%)
	@$(PYTHON) -m socialcli.miniature.zoo table

$(ROLES:%=zoo-%): zoo-%:
	OMP_NUM_THREADS=1 $(PYTHON) -m socialcli.miniature.zoo $* --work $(WORK)

# Who begins with whose weights, or is measured by them.
zoo-caption: zoo-clip
zoo-diffusion: zoo-vae zoo-caption zoo-ground zoo-pose
zoo-controlnet: zoo-diffusion zoo-pose
zoo-ssr: zoo-clip zoo-diffusion zoo-face zoo-identity zoo-ground

$(ROLES:%=zoo-check-%): zoo-check-%:
	OMP_NUM_THREADS=1 $(PYTHON) -m socialcli.miniature.zoo $* --check
