# GazeFollow as in Social Context Feedback (arXiv 2507.16095), section 4.1: captions, entities, boxes,
# masks, identities and keypoints by models; who looks where is annotated and stays so.
#   make -f pipelines/gazefollow.mk -j8 GAZEFOLLOW=/data/gazefollow_extended SPLIT=train
# A model's gaze for the people without an annotated one, beside those (never a target, docs/feedback.md):
#   ... WITH=identity,pose,gaze PEOPLE='--gaze-model models/gazefollow.pt'
GAZEFOLLOW ?= data/gazefollow_extended
SPLIT ?= train
OUT ?= shards/gazefollow-$(SPLIT)
WITH ?= identity,pose
include $(dir $(lastword $(MAKEFILE_LIST)))chain.mk

$(OUT)/images/.done:
	$(SOCIALCLI) import gazefollow $(GAZEFOLLOW) --split $(SPLIT) -o $(OUT)/images
	@touch $@
