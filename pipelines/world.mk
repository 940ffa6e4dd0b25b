# The chain on rendered scenes with the miniatures, offline, and how far it is from the truth.
#   make -f pipelines/world.mk             ends with a table of agreement, stage by stage
PROFILE ?= mini
OUT ?= world
SPLIT ?= test
SCENES ?= 200
SEED ?= 0
WITH ?= identity,pose,gaze,interaction
N ?= 2

.PHONY: agreement
agreement: $(OUT)/agreement.json
include $(dir $(lastword $(MAKEFILE_LIST)))chain.mk

# Pictures without a word about them for the stages; the truth stays aside.
$(OUT)/images/.done:
	$(SOCIALCLI) import world $(SPLIT) --scenes $(SCENES) --seed $(SEED) --no-truth \
	    --shard-size 100 -o $(OUT)/images
	@touch $@
$(OUT)/truth/.done:
	$(SOCIALCLI) import world $(SPLIT) --scenes $(SCENES) --seed $(SEED) --shard-size 100 \
	    -o $(OUT)/truth
	@touch $@

$(OUT)/agreement.json: $(OUT)/annotated/.done $(OUT)/truth/.done
	$(SOCIALCLI) compare $(OUT)/annotated $(OUT)/truth -o $(OUT)/agreement.md -o $@
