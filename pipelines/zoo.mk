# The miniatures from nothing: `make -f pipelines/zoo.mk zoo`. Each role is its own command, can be
# stopped at any moment and goes on where it was. `zoo-check` measures the committed weights again
# and fails when a card says something else.

PYTHON ?= python
WORK ?= zoo-work
ROLES ?= face identity pose gaze ground segment clip caption interaction dino vae diffusion ssr
# Only what is published has a card to be held to.
CARDS := $(wildcard $(dir $(lastword $(MAKEFILE_LIST)))../socialcli/weights/*/*.card.json)
PUBLISHED := $(patsubst %.card.json,%,$(notdir $(CARDS)))

.PHONY: zoo zoo-check $(ROLES:%=zoo-%) $(ROLES:%=zoo-check-%)

zoo: $(ROLES:%=zoo-%)
zoo-check: $(PUBLISHED:%=zoo-check-%)

$(ROLES:%=zoo-%): zoo-%:
	OMP_NUM_THREADS=1 $(PYTHON) -m socialcli.zoo $* --work $(WORK)

$(ROLES:%=zoo-check-%): zoo-check-%:
	OMP_NUM_THREADS=1 $(PYTHON) -m socialcli.zoo $* --check
