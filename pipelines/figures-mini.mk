# Figures 1 and 3 of Social Context Feedback (arXiv 2507.16095) for the miniature: what estimates of
# a picture still show at each timestep, and how each loss grows with the noise. Gates are chosen by
# looking at them (--gate-identity and its like).
#   make -f pipelines/figures-mini.mk        ten minutes on two cores; goes on where it was
#   make -f pipelines/figures-mini.mk TRAIN=100 STEPS=5 MEASURED=8      a first look
# Ends with OUT/estimates.png, OUT/estimates.md, OUT/curves.svg, and OUT/signals.md: how long the
# gradients are, from which the table's weights are chosen.
SOCIALCLI ?= socialcli
PYTHON ?= python
PROFILE ?= mini
OUT ?= runs/figures-mini
TRAIN ?= 600
STEPS ?= 60
BATCH ?= 16
MEASURED ?= 64
SIGNALS ?= 32
FIT = --method feedback --profile $(PROFILE) --batch-size $(BATCH) --micro-batch $(BATCH) --variants 1

include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk
.PHONY: figures-mini
figures-mini: $(OUT)/estimates.md $(OUT)/curves.svg $(OUT)/signals.md
	@echo "figures: $(abspath $(OUT)/estimates.png) $(abspath $(OUT)/curves.svg)"

$(OUT)/train/.done:
	$(SOCIALCLI) import world train --scenes $(TRAIN) -o $(OUT)/train && touch $@
# Figure 3, right: the same pictures without their fine details.
$(OUT)/blurred/.done: $(OUT)/train/.done
	$(PYTHON) -m socialcli.benchmarks.curves blur $(OUT)/train $(OUT)/blurred && touch $@
$(OUT)/curves.json: $(OUT)/train/.done
	$(SOCIALCLI) train $(OUT)/train $(FIT) -o $(OUT)/measure --steps $(STEPS) --feedback all \
	    --write-curves $@
$(OUT)/blurred.json: $(OUT)/blurred/.done
	$(SOCIALCLI) train $(OUT)/blurred $(FIT) -o $(OUT)/measure-blurred --steps $(STEPS) \
	    --feedback boundary --write-curves $@
$(OUT)/curves.svg: $(OUT)/curves.json $(OUT)/blurred.json
	$(PYTHON) -m socialcli.benchmarks.curves figure $^ -o $@
$(OUT)/estimates.md: $(OUT)/train/.done
	$(PYTHON) -m socialcli.benchmarks.curves estimates $(OUT)/train --measured $(MEASURED) \
	    -o $(OUT)/estimates.png > $@.tmp
	mv $@.tmp $@
$(OUT)/signals.md: $(OUT)/train/.done
	$(PYTHON) -m socialcli.benchmarks.signals $(OUT)/train --measured $(SIGNALS) > $@.tmp
	mv $@.tmp $@
