# HICO-DET as in Social Context Feedback (arXiv 2507.16095), section 4.1: BLIP-2 captions, spaCy
# entities, GroundingDINO boxes beside the annotated ones, SAM masks, ArcFace identities and keypoints;
# people, objects and interactions are annotated and stay so.
#   make -f pipelines/hico-det.mk -j8 HICO=/data/hico_20160224_det SPLIT=train
HICO ?= data/hico_20160224_det
SPLIT ?= train
OUT ?= shards/hico-det-$(SPLIT)
WITH ?= identity,pose,interaction
include $(dir $(lastword $(MAKEFILE_LIST)))chain.mk

$(OUT)/images/.done:
	$(SOCIALCLI) import hico-det $(HICO) --split $(SPLIT) -o $(OUT)/images
	@touch $@
