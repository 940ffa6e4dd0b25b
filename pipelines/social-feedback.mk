# Social Context Feedback (arXiv 2507.16095), section 4.1: 100 steps on HICO-DET, then 200 on
# GazeFollow, 1024 samples a step, from the published SSR-Encoder (docs/feedback.md).
#   make -f pipelines/social-feedback.mk HICO=shards/hico-det-train/annotated \
#       GAZEFOLLOW=shards/gazefollow-train/annotated SSR=models/ssr_encoder \
#       IDENTITY=models/arcface_r100/backbone.pth GAZE=models/gazefollow.pt
# The shards are those of pipelines/hico-det.mk and pipelines/gazefollow.mk. INTERACTION is a
# recogniser of HICO-DET's classes: CMMP's checkpoint (INTERACTION=models/ckpt_35175_15.pt) or the
# folder of one of our own; without one that feedback is left out, since the one in the package knows
# the rendered world alone.
#
# With the target `scores` the test pictures of both are drawn anew from their captions and scored
# (docs/score.md); SCORE names models, as in SCORE='--gaze-model models/gazefollow.pt':
#   make -f pipelines/social-feedback.mk scores HICO_TEST=shards/hico-det-test/annotated \
#       GAZEFOLLOW_TEST=shards/gazefollow-test/annotated ...
#
# The same in miniature, on rendered scenes, everything in the package, minutes on two cores:
#   make -f pipelines/social-feedback.mk PROFILE=mini
SOCIALCLI ?= socialcli
PROFILE ?= sd15
# Flags of every training, of both ways of drawing, and of both scores.
RUN ?=
DRAW ?=
SCORE ?=

empty :=
space := $(empty) $(empty)
comma := ,
list = $(subst $(space),$(comma),$(strip $(1)))

ifeq ($(PROFILE),mini)
OUT ?= runs/social-feedback-mini
SCENES ?= 512
HICO ?= $(OUT)/scenes
GAZEFOLLOW ?= $(OUT)/scenes
TEST_SCENES ?= 48
HICO_TEST ?= $(OUT)/test-scenes
GAZEFOLLOW_TEST ?= $(OUT)/test-scenes
HICO_STEPS ?= 20
GAZE_STEPS ?= 40
SIZES ?= --batch-size 32 --micro-batch 16 --variants 2
RATES ?= --learning-rate 5e-4 --aligner-learning-rate 5e-6
INTERACTION ?=
FIRST ?= boundary identity pose interaction
MODELS ?=
else
OUT ?= runs/social-feedback
HICO ?= shards/hico-det-train/annotated
GAZEFOLLOW ?= shards/gazefollow-train/annotated
HICO_TEST ?= shards/hico-det-test/annotated
GAZEFOLLOW_TEST ?= shards/gazefollow-test/annotated
HICO_STEPS ?= 100
GAZE_STEPS ?= 200
SSR ?= models/ssr_encoder
IDENTITY ?= models/arcface_r100/backbone.pth
GAZE ?= models/gazefollow.pt
INTERACTION ?=
SIZES ?= --batch-size 1024 --micro-batch 16
RATES ?= --learning-rate 5e-5 --aligner-learning-rate 5e-7
FIRST ?= boundary identity pose $(if $(INTERACTION),interaction)
MODELS ?= --identity-model $(IDENTITY)
endif
SECOND ?= boundary identity gaze pose
CMMP = $(if $(filter %.pt %.pth,$(INTERACTION)),--interaction-backend cmmp)
RECOGNISER = $(if $(INTERACTION),$(CMMP) --interaction-model $(INTERACTION))
TRAIN = $(SOCIALCLI) train --method feedback --profile $(PROFILE) $(SIZES) $(RATES) $(MODELS) $(RUN)

free := METRICS HICO_METRICS GAZE_METRICS SCORE HICO_SCORE GAZE_SCORE
include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk
.PHONY: all scores
all: $(OUT)/gazefollow/.done
	@echo "SSR-Encoder: $(abspath $(OUT)/gazefollow)"
scores: $(OUT)/scores/hico-det/score.json $(OUT)/scores/gazefollow/score.json
	@echo "scores: $(abspath $(OUT)/scores)"

$(OUT)/scenes/.done:
	$(SOCIALCLI) import world -o $(OUT)/scenes --scenes $(SCENES)
	@touch $@

$(OUT)/hico-det/.done: $(if $(filter mini,$(PROFILE)),$(OUT)/scenes/.done)
	$(TRAIN) $(HICO) -o $(OUT)/hico-det --steps $(HICO_STEPS) $(if $(SSR),--ssr-model $(SSR)) \
	    --feedback $(call list,$(FIRST)) \
	    $(RECOGNISER)
	@touch $@

$(OUT)/gazefollow/.done: $(OUT)/hico-det/.done
	$(TRAIN) $(GAZEFOLLOW) -o $(OUT)/gazefollow --steps $(GAZE_STEPS) \
	    --ssr-model $(OUT)/hico-det --feedback $(call list,$(SECOND)) \
	    $(if $(GAZE),--gaze-model $(GAZE))
	@touch $@

# Section 4.2: interactions are scored on HICO-DET, where somebody can recognise them, and gazes on
# GazeFollow.
METRICS ?= clip-t,clip-i,dino,face
HICO_METRICS ?= $(METRICS)$(if $(or $(INTERACTION),$(filter mini,$(PROFILE))),$(comma)hoi)
GAZE_METRICS ?= $(METRICS),gaze
HICO_SCORE ?= $(RECOGNISER)
GAZE_SCORE ?= $(if $(GAZE),--gaze-model $(GAZE))
$(OUT)/test-scenes/.done:
	$(SOCIALCLI) import world test -o $(OUT)/test-scenes --scenes $(TEST_SCENES)
	@touch $@

# $(call scored,NAME,PICTURES,METRICS,FLAGS)
define scored
$(OUT)/drawn/$(1)/.done: $(OUT)/gazefollow/.done $(if $(filter mini,$(PROFILE)),$(OUT)/test-scenes/.done)
	$(SOCIALCLI) generate $(2) -o $(OUT)/drawn/$(1) --method ssr --profile $(PROFILE) \
	    --ssr-model $(OUT)/gazefollow $(DRAW)
	@touch $$@
$(OUT)/scores/$(1)/score.json: $(call when,scores-$(1),$(3) $(4) $(SCORE)) $(OUT)/drawn/$(1)/.done
	$(SOCIALCLI) score $(OUT)/drawn/$(1) --reference $(2) --profile $(PROFILE) --metrics $(3) \
	    $(4) $(SCORE) -o $(OUT)/scores/$(1)
endef
$(eval $(call scored,hico-det,$(HICO_TEST),$(HICO_METRICS),$(HICO_SCORE)))
$(eval $(call scored,gazefollow,$(GAZEFOLLOW_TEST),$(GAZE_METRICS),$(GAZE_SCORE)))
