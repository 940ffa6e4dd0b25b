# GazeFollow as in Social Context Feedback, section 4.1; gaze is ground truth and is kept.
#   make -f pipelines/gazefollow.mk -j8 GAZEFOLLOW=/data/gazefollow_extended SPLIT=train
GAZEFOLLOW ?= data/gazefollow_extended
SPLIT ?= train
OUT ?= shards/gazefollow-$(SPLIT)
WITH ?= identity,pose,gaze
include $(dir $(lastword $(MAKEFILE_LIST)))chain.mk

$(OUT)/images/.done:
	$(SOCIALCLI) import gazefollow $(GAZEFOLLOW) --split $(SPLIT) -o $(OUT)/images
	@touch $@
