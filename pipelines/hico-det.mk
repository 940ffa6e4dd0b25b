# HICO-DET as in Social Context Feedback, section 4.1: BLIP-2 captions, spaCy entities,
# GroundingDINO boxes, SAM masks, ArcFace identities and keypoints; interactions are ground truth.
#   make -f pipelines/hico-det.mk -j8 HICO=/data/hico_20160224_det SPLIT=train
HICO ?= data/hico_20160224_det
SPLIT ?= train
OUT ?= shards/hico-det-$(SPLIT)
WITH ?= identity,pose,interaction
include $(dir $(lastword $(MAKEFILE_LIST)))chain.mk

$(OUT)/images/.done:
	$(SOCIALCLI) import hico-det $(HICO) --split $(SPLIT) -o $(OUT)/images
	@touch $@
